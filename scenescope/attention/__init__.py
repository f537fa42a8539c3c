"""Attention maps: recorded in the U-Net, read as heatmaps, drawn as pictures, and acted on.

Reading order of the rooms: `words` (which token belongs to which word), `record` (from queries and keys to kept maps),
`read` (from kept maps to one map for each word), `draw` (pictures of maps), `act` (steering and replay), `doctor` (why
a word was ignored), `shapes` (the per-block shape log), `files` (maps and viewer data on disk). No room imports one
that comes after it.
"""
