"""Small text encoders: the host's own classes and its own tokenizers, random weights, one layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import safetensors.torch
import torch

WIDTH = 32
_CONFIG = {
    "hidden_act": "quick_gelu",
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "max_position_embeddings": 77,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "eos_token_id": 49407,
    "vocab_size": 49408,
}


class _Encoder(comfy.sd1_clip.SDClipModel):
    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None, pad: int = 49407) -> None:
        tokens = {"start": 49406, "end": 49407, "pad": pad}
        super().__init__(device=device, dtype=dtype, textmodel_json_config=dict(_CONFIG), special_tokens=tokens)


class _EncoderG(_Encoder):
    def __init__(self, **options: Any) -> None:
        super().__init__(pad=0, **options)


class SmallSD1(comfy.sd1_clip.SD1ClipModel):
    """SD1.5's encoder, small."""

    def __init__(self, **options: Any) -> None:
        super().__init__(clip_model=_Encoder, **options)


class SmallSDXL(comfy.sdxl_clip.SDXLClipModel):
    """SDXL's pair of encoders, small."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
        torch.nn.Module.__init__(self)
        self.clip_l = _Encoder(device=device, dtype=dtype)
        self.clip_g = _EncoderG(device=device, dtype=dtype)
        self.dtypes = {dtype}


class _Target:
    def __init__(self, clip: type, tokenizer: type) -> None:
        self.clip, self.tokenizer, self.params = clip, tokenizer, {}


@torch.inference_mode()
def build(clip: type, tokenizer: type, embeddings: Path | None) -> Any:
    """Make a CLIP as a core loader would hand it over.

    Args:
        clip: SmallSD1 or SmallSDXL
        tokenizer: the host's, with the full vocabulary
        embeddings: the folder of embedding files

    Returns:
        clip: comfy.sd.CLIP on the CPU
    """
    folder = None if embeddings is None else str(embeddings)
    options = {"load_device": torch.device("cpu"), "offload_device": torch.device("cpu"), "dtype": torch.float32}
    made = comfy.sd.CLIP(_Target(clip, tokenizer), embedding_directory=folder, model_options=options)
    generator = torch.Generator().manual_seed(0)
    for weight in made.cond_stage_model.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
    return made


def sd15(embeddings: Path | None = None) -> Any:
    """A small CLIP of SD1.5."""
    return build(SmallSD1, comfy.sd1_clip.SD1Tokenizer, embeddings)


def sdxl(embeddings: Path | None = None) -> Any:
    """A small CLIP of SDXL."""
    return build(SmallSDXL, comfy.sdxl_clip.SDXLTokenizer, embeddings)


def write_embeddings(folder: Path) -> Path:
    """Write embedding files of one, two, three and eighty vectors, one in a sub-folder, and one of another width."""
    (folder / "style").mkdir()
    vectors = {"moss": 1, "bad-hands_5": 3, "style/ink": 2, "much(too)": 1, "long": 80}
    for name, count in vectors.items():
        values = {key: torch.randn(count, WIDTH) for key in ("clip_l", "clip_g")}
        safetensors.torch.save_file(values, folder / f"{name}.safetensors")
    safetensors.torch.save_file({"clip_l": torch.randn(2, 768)}, folder / "wide.safetensors")
    return folder
