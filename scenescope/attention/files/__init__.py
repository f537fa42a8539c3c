"""Attention maps on disk.

Reading order: `maps` (a whole recording), `viewer_plan` (which maps the viewer gets, within a size), `viewer` (the file
that the viewer in the editor reads).
"""
