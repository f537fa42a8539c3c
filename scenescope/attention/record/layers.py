"""Where attention happens: the attention layers of a U-Net, found in the model rather than listed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from ...dims import Grid
from ...errors import HostError

Kind = Literal["cross", "self"]
Place = Literal["down", "middle", "up"]

KINDS: tuple[Kind, ...] = get_args(Kind)
PLACES: tuple[Place, ...] = get_args(Place)

_SECTIONS: dict[str, tuple[str, Place]] = {
    "input_blocks": ("input", "down"),
    "middle_block": ("middle", "middle"),
    "output_blocks": ("output", "up"),
}
_TRANSFORMER = re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d+)(?:\.\d+)?\.transformer_blocks\.(\d+)$")


@dataclass(frozen=True)
class AttentionLayer:
    """One attention layer of the U-Net.

    Args:
        order: place of its transformer block in forward order, from 0.
        block: the host's name of the block, `input 1`, `middle 0`, `output 11`; with several transformer blocks in one
            spatial transformer (SDXL) the later ones are `input 7.1`, `input 7.2`, ...
        place: which arm of the U.
        kind: cross-attention (keys are text) or self-attention (keys are the picture).
        level: how often the latent was halved before it: 0 is the latent's own grid.
        heads: attention heads.
        head_width: channels per head.
    """

    order: int
    block: str
    place: Place
    kind: Kind
    level: int
    heads: int
    head_width: int

    def grid(self, latent: Grid) -> Grid:
        """The grid of its queries for a latent of this size."""
        return latent.coarser(2**self.level)

    @property
    def name(self) -> str:
        """`input 1 cross`: block and kind."""
        return f"{self.block} {self.kind}"


@dataclass(frozen=True)
class LayerModules:
    """A layer together with the modules to observe; lives only as long as the model does.

    Args:
        layer: the address.
        attention: the layer with `to_q` and `to_k`.
        transformer: the spatial transformer around it, whose input is the feature map.
    """

    layer: AttentionLayer
    attention: nn.Module
    transformer: nn.Module


def find_layers(
    unet: nn.Module, kinds: Iterable[Kind] = KINDS, who: str = "Record Attention"
) -> tuple[LayerModules, ...]:
    """Find every attention layer of a U-Net in forward order.

    Source: host contract, ComfyUI 0.33 `openaimodel.UNetModel`: module names
    `input_blocks.N.M.transformer_blocks.D.attn1|attn2`, and `heads`, `dim_head` on the attention.

    Args:
        unet: the diffusion model; SD1.5, SD2 and SDXL layouts are found alike.
        kinds: which attentions to look for.
        who: begins the message.

    Returns:
        The layers; cross before self within a block, blocks as they run.

    Raises:
        HostError: there is no transformer block (not a U-Net, or a compiled one).
    """
    found: list[LayerModules] = []
    wanted, order, levels = tuple(kinds), 0, _levels(unet)
    for name, module in _in_forward_order(unet):
        match = _TRANSFORMER.search(name)
        if match is None:
            continue
        section, number, depth = match.group(1), int(match.group(2)), int(match.group(3))
        word, place = _SECTIONS[section]
        block = f"{word} {0 if word == 'middle' else number}" + (f".{depth}" if depth else "")
        transformer = unet.get_submodule(name.rsplit(".transformer_blocks.", 1)[0])
        for kind, attribute in (("cross", "attn2"), ("self", "attn1")):
            attention = getattr(module, attribute, None)
            if kind in wanted and attention is not None:
                level = levels[word, number if word != "middle" else 0]
                heads = int(attention.heads)
                layer = AttentionLayer(order, block, place, kind, level, heads, _head_width(attention))
                found.append(LayerModules(layer, attention, transformer))
        order += 1
    if not order:
        raise HostError(
            f"{who}: this model ({type(unet).__name__}) has no transformer blocks of an SD1.5, SD2 or SDXL "
            "U-Net. Load such a checkpoint, and leave it uncompiled."
        )
    return tuple(found)


def _head_width(attention: nn.Module) -> int:
    """Channels per head; not every host keeps the number (host contract: `dim_head`; diffusers has none)."""
    kept: int | None = getattr(attention, "dim_head", None)
    if kept is not None:
        return int(kept)
    heads: int = getattr(attention, "heads", 1)
    return len(attention.get_submodule("to_q").get_parameter("weight")) // heads


def _levels(unet: nn.Module) -> dict[tuple[str, int], int]:
    """Halvings before each block; an output block works on the grid of the input block whose skip it takes."""
    downs = [_halves(block) for block in getattr(unet, "input_blocks", ())]
    levels = {("input", index): sum(downs[: index + 1]) for index in range(len(downs))}
    levels["middle", 0] = sum(downs)
    for index in range(len(downs)):
        levels["output", index] = levels["input", len(downs) - 1 - index]
    return levels


def _halves(block: nn.Module) -> bool:
    """Whether a block strides by two (host contract: `openaimodel.Downsample.op` is the strided layer)."""
    strides = (getattr(module, "stride", 1) for module in block.modules())
    return any(stride in (2, (2, 2)) for stride in strides)


def _in_forward_order(unet: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules of the U's arms, each arm in the order of its numbers."""
    sections = ((name, getattr(unet, name, None)) for name in _SECTIONS)
    return [item for name, section in sections if section is not None for item in section.named_modules(prefix=name)]
