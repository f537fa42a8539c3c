"""The hand: from one picture, masks and words to learned tokens (Break-a-Scene, arXiv 2305.16311).

Reading order: `scene`, `colours` and `doubts` (what is learned from), `settings` (every knob of the method), `prompts`
(which concepts a step draws), `schedule` (phases, timesteps, noise), `ports` (what the host supplies), `rows` (the new
tokens), `weights`, `lora` and `whole` (what of the model is trained, and how it is left as it was), `sight` (the maps
that are supervised), `losses`, `objective` (one step), `concepts` (what was learned), `state` (a run broken off) and
`storage` (their files), `trainer` (the run).
"""
