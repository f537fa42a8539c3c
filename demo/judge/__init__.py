"""Judges without learning: what a picture of the drawn world shows, and how like its things are to others.

In reading order: silhouette (whole outlines and how they are compared), checker (names), likeness (degrees), retrieval
(which of sixteen).
"""
