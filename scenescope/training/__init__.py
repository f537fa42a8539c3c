"""Break-a-Scene (arXiv 2305.16311): from one picture, masks and words to learned tokens.

Reading order: `settings` (every choice of the method), `ports` (what the host supplies), `noise` (the noise schedule);
then the rooms `scene` (what is learned from), `step` (one training step), `weights` (what of the model is trained),
`learned` (what comes of it) and `run` (the loop, its state and its history).
"""
