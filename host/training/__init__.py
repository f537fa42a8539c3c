"""Training in ComfyUI.

Reading order: `plan` (what the node's widgets set), `text_encoder`, `copies` and `models` (what the core's ports are
made of), `memory` (how much a run takes), `origin` (everything that a run learns from), `class_pictures` (for prior
preservation), `run` (one run of the node), `monitor` (history and dashboard), `samples` (pictures on the way),
`progress` (the node's bar and text).
"""
