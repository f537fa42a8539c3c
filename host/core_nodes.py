"""ComfyUI's own nodes, imported in this one file, so that nobody takes its module `nodes` for the pack's."""

from __future__ import annotations

from nodes import CLIPTextEncode, EmptyLatentImage, LoraLoader, VAEDecode, common_ksampler

__all__ = ["CLIPTextEncode", "EmptyLatentImage", "LoraLoader", "VAEDecode", "common_ksampler"]
