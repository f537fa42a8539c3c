"""What the ablation is made of: the ways to train, one trial of one way on one scene, and what all trials say.

Reading order: `variants` (the ways to train), `trial` (one of them on one scene), `probe` (where the model looks),
`bounds` (floors and ceilings), `tables`, `scatter`, `sheet`, `report` and `markdown` (results as text and pictures),
`photo` (a scene of one's own), `plain_loop` (the reference's loop), `meter` (time and memory), `progress`, `files`, and
`mistakes` (planted ones, for the rehearsal).
"""
