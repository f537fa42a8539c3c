"""The hand: from one picture, masks and words to learned tokens (Break-a-Scene, arXiv 2305.16311).

Reading order: `scene`, `colours` and `doubts` (what is learned from), `settings` (every knob of the method), `prompts`
(which concepts a step draws), `schedule` (phases, timesteps, noise), `rows` (the new tokens), `losses`.
"""
