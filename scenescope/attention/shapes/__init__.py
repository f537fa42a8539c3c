"""The per-block shape log: how a latent becomes feature maps, queries, keys and attention maps.

Reading order: `tables` (the log as text), `diagram` (the log as a picture of the U-Net).
"""
