"""The eye: what is attended to, where it is recorded, and how it becomes a picture.

Reading order: `sites` (where attention happens), `observers` (queries and keys), `scores` (maps), `reducers` (what is
kept), `clock` (which sampler step), `plan` and `recorder` (one run), `recording` (what it left), `tokens` and `words`
(whose column is whose), `view` and `heatmap` (one map for each word), `normalise` and `cautions` (how far to trust
it), `render` and `figure` (pictures), `segment` (masks), `ask` and `compare` (questions to finished runs), `mapfile`.
"""
