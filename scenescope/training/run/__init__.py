"""A training run.

Reading order: `trainer` (the loop), `optimiser` and `small_moments` (a step of what is trained), `state` (an
interrupted run, resumed), `lease` (one worker a run), `history` (its losses), `history_picture`.
"""
