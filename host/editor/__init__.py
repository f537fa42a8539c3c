"""What the editor shows: `messages` (text on a node), `viewer` (the viewer's file), `shapes` (the shape panel)."""
