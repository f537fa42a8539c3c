"""Concepts in ComfyUI.

Reading order: `apply` (to a MODEL and a CLIP), `export` (files that core loaders read), `generate` (pictures of them).
"""
