"""Attention maps on disk.

Reading order: `check` (whether a recording is consistent), `maps` (a whole recording), `viewer_plan` (which maps the
viewer gets, within a size), `viewer` (the file that the viewer in the editor reads).
"""
