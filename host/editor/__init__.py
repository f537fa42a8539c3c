"""What the editor shows.

Reading order: `messages` (text on a node), `viewer` (the viewer's file), `shapes` (the shape panel), `painting`
(whether a painting is still there).
"""
