"""The eye: what is attended to, where it is recorded, and how it becomes a picture.

Reading order: `sites` (where attention happens), `observers` (queries and keys), `scores` (maps), `reducers` (what is
kept), `clock` (which sampler step), `recorder` (one run), `recording` (what one run left), `tokens`, `heatmap`, `render`.
"""
