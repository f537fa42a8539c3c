"""The drawn world of the demo model: pictures of things by code, with captions and true masks.

Reading order: `vocabulary` (its words), `shapes` (outlines), `surfaces` (textures and backgrounds), `scene` (a drawn
picture), `unseen` (things kept back from training), `latent` (a picture's latent, in closed form), `demo_file` (the
model's file).
"""
