"""Attention maps: recorded in the U-Net, read as heatmaps, drawn as pictures.

Reading order of the rooms: `words` (which token is whose), `record` (from queries and keys to kept maps), `read` (from
kept maps to one map for each word), `draw` (pictures of maps), `shapes` (the per-block shape log), `files` (maps and
viewer data on disk). No room imports one that comes after it, but for `shapes`, which needs `record` alone.
"""
