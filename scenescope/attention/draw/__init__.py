"""Pictures of maps.

Reading order: `render` (a map, a sheet of maps, an overlay), `figure` (a view of a recording as pictures),
`comparison` (two runs side by side), `affinity` (self-attention).
"""
