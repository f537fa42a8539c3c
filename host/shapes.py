"""The shape log of a model that is not run: its own U-Net class on meta tensors, which have shapes and no numbers.

Host contracts, ComfyUI 0.33.0:

| contract | file, symbol |
|---|---|
| `model_config.unet_config`: the arguments that built the U-Net | `comfy/model_base.py` `BaseModel.__init__` |
| the U-Net takes x, timesteps, context, y, transformer_options | `openaimodel.py` `UNetModel.forward` |
| `optimized_attention_override` stands in for every attention kernel | `comfy/ldm/modules/attention.py` `wrap_attn` |
| with dynamic memory, a layer with no loader of its own gets no weights | `comfy/ops.py` `disable_weight_init.Linear` |
| a latent cell covers eight pixels | `nodes.py` `EmptyLatentImage` |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.ops
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ..scenescope.attention.record.block_shapes import BlockShape, ShapeProbe
from ..scenescope.attention.record.layers import find_layers
from ..scenescope.attention.record.recording import Recording
from ..scenescope.attention.shapes.diagram import draw_unet
from ..scenescope.attention.shapes.tables import shape_csv, shape_json, shape_markdown
from ..scenescope.dims import Grid, counted
from ..scenescope.drawing.pixels import to_tensor
from ..scenescope.errors import HostError, InputError, RecordingError

PIXELS = 8  # of a latent cell's edge, for every model family whose U-Net this can be
META = torch.device("meta")


class _Operations(comfy.ops.disable_weight_init):
    """The host's layers, always with weights: on its dynamic-memory path it leaves them out until a file is loaded."""

    class Linear(comfy.ops.disable_weight_init.Linear):
        """A layer with a loader of its own, which the host takes as the sign to make the weights at once."""

        def _load_from_state_dict(self, *args, **kwargs):
            torch.nn.Linear._load_from_state_dict(self, *args, **kwargs)


@dataclass(frozen=True)
class ShapeLog:
    """A shape log and where it comes from.

    Args:
        rows: the blocks, in forward order.
        latent: the latent's grid.
        source: a line for people.
        patches: kinds of other nodes' patches that the log does not follow.
    """

    rows: tuple[BlockShape, ...]
    latent: Grid
    source: str
    patches: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """A headline for the diagram."""
        picture = Grid(self.latent.height * PIXELS, self.latent.width * PIXELS)
        return f"A {picture} picture in the U-Net: a latent of {self.latent}"

    def markdown(self) -> str:
        """The table, under a line that says where it comes from."""
        return shape_markdown(self.rows, self.source)

    def json(self) -> str:
        """The log for programs."""
        return shape_json(self.rows)

    def csv(self) -> str:
        """The log for a spreadsheet."""
        return shape_csv(self.rows)

    def picture(self) -> torch.Tensor:
        """The diagram, (1 height width 3) float32 0..1."""
        return to_tensor(draw_unet(self.rows, self.latent, title=self.title))


def shape_log(
    model: Any, recording: Recording | None, *, width: int, height: int, batch_size: int, tokens: int
) -> ShapeLog:
    """Take the log from whichever source is given.

    Args:
        model: a ModelPatcher around a U-Net, or None.
        recording: a run, or None.
        width: of the picture in pixels, for a model only; so are the others.
        height: of the picture in pixels.
        batch_size: rows of the call.
        tokens: columns of the text.

    Returns:
        The log.

    Raises:
        InputError: both sources are given, or none.
    """
    if (model is None) == (recording is None):
        given = "neither is" if model is None else "both are"
        raise InputError(
            "Block Shapes: connect either a MODEL, to see what would run at a size, or ATTENTION_MAPS, to see what "
            f"has run; {given} connected."
        )
    if recording is not None:
        return log_of_recording(recording)
    return log_of_model(model, Grid(height, width), batch=batch_size, tokens=tokens)


def log_of_model(model: Any, picture: Grid, *, batch: int = 1, tokens: int = 77) -> ShapeLog:
    """Find the shapes of one model call with nothing computed and no weight moved.

    What other nodes patched into the MODEL is not followed; a recorded run shows that.

    Args:
        model: a ModelPatcher around a U-Net.
        picture: the picture's size in pixels, multiples of 8.
        batch: rows of the call: images, times two with a negative prompt.
        tokens: columns of the text: 77 for each chunk.

    Returns:
        The log.

    Raises:
        InputError: the size is not a multiple of 8.
        HostError: the model is not a U-Net for pictures, or another node replaced parts of it.
    """
    latent, config = _latent(picture), _unet_config(model)
    with torch.inference_mode():
        unet = type(model.model.diffusion_model)(**config, device=META, operations=_Operations)
        with ShapeProbe(find_layers(unet)) as probe:
            unet(**_call(config, latent, batch, tokens))
    source = f"From the model, nothing computed: {picture} pixels (height x width), batch {batch}, {tokens} tokens."
    patches = _patches(model)
    return ShapeLog(probe.rows(), latent, source + _patches_text(patches), patches)


def log_of_recording(recording: Recording) -> ShapeLog:
    """Take the shapes that a run left in its recording.

    Raises:
        RecordingError: the recording holds no shapes.
    """
    if not recording.shapes:
        raise RecordingError(
            "Block Shapes: this recording has no shape log. Record the run again, or connect a MODEL instead."
        )
    source = f"From a recorded run: its first model call, with {recording.shapes[0].features_in[0]} rows."
    return ShapeLog(recording.shapes, recording.latent, source)


def _latent(picture: Grid) -> Grid:
    for side, pixels in (("height", picture.height), ("width", picture.width)):
        if pixels < PIXELS or pixels % PIXELS:
            nearest = max(PIXELS, round(pixels / PIXELS) * PIXELS)
            raise InputError(
                f"Block Shapes: the {side} is {pixels} pixels, but it has to be a multiple of {PIXELS}, because each "
                f"latent cell covers {PIXELS} pixels. Use {nearest}, the nearest."
            )
    return Grid(picture.height // PIXELS, picture.width // PIXELS)


def _unet_config(model: Any) -> dict[str, Any]:
    """The arguments that build the model's U-Net again, in the type that it computes in."""
    inner = model.model
    unet = getattr(inner, "diffusion_model", None)
    config = getattr(getattr(inner, "model_config", None), "unet_config", None) or {}
    if not isinstance(unet, UNetModel) or not config or config.get("use_temporal_attention"):
        raise HostError(
            f"Block Shapes: this model ({type(inner).__name__} with a {type(unet).__name__}) has no U-Net of SD1.5, "
            "SD2 or SDXL. Load such a checkpoint, or connect the attention maps of a recorded run."
        )
    replaced = sorted(name for name in model.object_patches if name.startswith("diffusion_model"))
    if replaced:
        raise HostError(
            f"Block Shapes: another node has replaced the U-Net's {replaced[0]} ({counted(len(replaced), 'part')} in "
            "all). Connect the MODEL from before that node, or the maps of a run."
        )
    return {**config, "dtype": inner.get_dtype_inference()}


def _call(config: dict[str, Any], latent: Grid, batch: int, tokens: int) -> dict[str, Any]:
    """What the U-Net is called with: shapes without numbers."""
    kind = {"device": META, "dtype": config["dtype"]}
    label = None
    if config.get("num_classes") == "sequential":  # SDXL's pooled text and sizes
        label = torch.empty(batch, config["adm_in_channels"], **kind)
    elif config.get("num_classes") is not None:  # the upscaler's noise level
        label = torch.empty(batch, device=META, dtype=torch.long)
    return {
        "x": torch.empty(batch, config["in_channels"], *latent, **kind),  # (batch channel height width)
        "timesteps": torch.empty(batch, device=META),
        "context": torch.empty(batch, tokens, config["context_dim"], **kind),  # (batch token channel)
        "y": label,
        "transformer_options": {"optimized_attention_override": _no_attention},
    }


def _no_attention(kernel: Any, query, key, value, heads, *args, **options) -> torch.Tensor:
    """Stand in for every attention kernel: an answer of the right shape."""
    batch, queries = query.shape[0], query.shape[-2]
    width = value.shape[-1] if options.get("skip_reshape") else value.shape[-1] // heads
    apart = options.get("skip_output_reshape")
    return query.new_empty((batch, heads, queries, width) if apart else (batch, queries, heads * width))


def _patches(model: Any) -> tuple[str, ...]:
    options = model.model_options.get("transformer_options", {})
    return tuple(sorted({*options.get("patches", {}), *options.get("patches_replace", {})}))


def _patches_text(patches: tuple[str, ...]) -> str:
    if not patches:
        return ""
    return f" Not followed: patches of other nodes ({', '.join(patches)}); record a run to see what they change."
