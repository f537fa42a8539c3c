"""Recording: queries and keys are observed, scored, reduced, and kept.

Reading order: `layers` (where attention happens), `observers` (hooks on queries and keys), `pairs` (what a layer
showed), `scores` (the softmax), `reducers` (what is kept of a map), `clock` (which sampler step a call belongs to),
`selection` and `choices` (what a person asks for), `budget` (bytes, known before sampling), `recorder` (one run),
`recording` (what a run leaves).
"""
