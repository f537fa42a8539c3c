"""Files: written completely or not at all; and the model that one holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pack.scenescope.errors import FileError, SceneScopeError
from pack.scenescope.files.atomic import write_whole
from PIL import Image
from safetensors import safe_open


def write(file: Path, text: str) -> None:
    """Write a text."""
    write_whole(lambda out: out.write(text.encode()), file, "Bench")


def write_picture(file: Path, picture: np.ndarray) -> None:
    """Write a picture as PNG.

    Args:
        file: its name.
        picture: (height width 3) float, 0 to 1.
    """
    write_whole(partial(Image.fromarray(np.uint8(picture.clip(0, 1) * 255)).save, format="PNG"), file, "Bench")


def load_model(file: Path) -> tuple[Any, Any, Any]:
    """Load MODEL, CLIP and VAE as the host's loader does, or the demo model.

    Raises:
        FileError: it is no checkpoint, or one without a text encoder or a VAE.
    """
    import comfy.sd
    from pack.host.demo import load_demo_model

    try:
        if _is_demo_file(file):
            return load_demo_model(file)
        model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(str(file), output_vae=True, output_clip=True)
    except SceneScopeError:
        raise
    except Exception as error:  # the loaders raise of all kinds
        said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:300]
        raise FileError(f"the model {file} can't be loaded ({said}). Choose an SD1.5 checkpoint.") from error
    if clip is None or vae is None or vae.first_stage_model is None:
        raise FileError(
            f"the model {file} has no text encoder or no VAE. Choose an SD1.5 checkpoint that holds U-Net, text "
            "encoder and VAE."
        )
    return model, clip, vae


def _is_demo_file(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    with safe_open(path, "pt") as file:
        return "scenescope_demo" in (file.metadata() or {})
