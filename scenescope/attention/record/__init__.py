"""Recording: queries and keys are observed, scored, reduced, and kept.

Reading order: `layers` (where attention happens), `observers` (hooks on queries and keys), `block_shapes` (the shape
log), `scores` (the softmax), `pairs` (what layers showed), `selection` and `choices` (what a user asks for),
`recording` (what a run leaves), `reducers` (what is kept of a map), `clock` (which sampler step a call belongs to),
`steps` (which of them are kept), `budget` (bytes, known before sampling), `evaluation` (maps on their way to the CPU),
`recorder` (one run).
"""
