"""One training step.

Reading order: `prompts` (which concepts a step draws, and its sentence), `schedule` (phases and timesteps),
`supervision` (the attention maps that are supervised), `losses`, `objective` (both losses of one step).
"""
