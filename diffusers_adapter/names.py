"""A pipeline's layers under the names that SD1.5's checkpoints have, by which the core and concept files know them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

_ORDERS = (
    ("attn1", "ff", "attn2", "norm2", "norm1", "norm3"),
    ("layer_norm1", "self_attn", "layer_norm2", "mlp"),
    ("q_proj", "k_proj", "v_proj", "out_proj"),
)
"""Host contract, ComfyUI 0.33 `BasicTransformerBlock`, `CLIPLayer`, `CLIPAttention`: the order of their parts. First
values of low-rank additions are drawn, and weights entered in a base model's name, in this order."""


class UnetNames(nn.Module):
    """A diffusers U-Net's own modules in the tree of the original checkpoints; nothing is copied, and nothing computed.

    Args:
        unet: `UNet2DConditionModel` with SD1.5's blocks.
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        embedding = unet.time_embedding
        self.time_embed = nn.ModuleDict({"0": embedding.linear_1, "2": embedding.linear_2})
        self.input_blocks = nn.ModuleList([nn.ModuleList([unet.conv_in])])
        for block in unet.down_blocks:
            self.input_blocks.extend(nn.ModuleList(parts) for parts in _layers(block))
            for sampler in block.downsamplers or ():
                self.input_blocks.append(nn.ModuleList([nn.ModuleDict({"op": sampler.conv})]))
        middle = unet.mid_block
        self.middle_block = nn.ModuleList(
            [_resnet(middle.resnets[0]), middle.attentions[0], _resnet(middle.resnets[1])]
        )
        self.output_blocks = nn.ModuleList()
        for block in unet.up_blocks:
            layers = _layers(block)
            layers[-1] += [nn.ModuleDict({"conv": sampler.conv}) for sampler in block.upsamplers or ()]
            self.output_blocks.extend(nn.ModuleList(parts) for parts in layers)
        self.out = nn.ModuleDict({"0": unet.conv_norm_out, "2": unet.conv_out})


class TextNames(nn.Module):
    """A CLIP text model's own modules in the tree of the original checkpoints.

    Args:
        encoder: `CLIPTextModel`.
        table: whether the token table is among them; what is trained goes without.
    """

    def __init__(self, encoder: Any, *, table: bool) -> None:
        super().__init__()
        model = text_layers(encoder)
        embeddings = nn.ModuleDict({"token_embedding": model.embeddings.token_embedding} if table else {})
        embeddings["position_embedding"] = model.embeddings.position_embedding
        layers = {"embeddings": embeddings, "encoder": model.encoder, "final_layer_norm": model.final_layer_norm}
        self.text_model = nn.ModuleDict(layers)


def text_layers(encoder: Any) -> Any:
    """The layers of a CLIP text model: its own since transformers 5.21, those of `text_model` before."""
    return getattr(encoder, "text_model", encoder)


def in_checkpoint_order(module: nn.Module) -> None:
    """Put each layer's parts into the original code's order; only for our own copies."""
    for part in module.modules():
        part._modules = dict(_ordered(part))


def named_weights(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Parameters by name, in the original code's order."""
    for name, weight in module.named_parameters(recurse=False):
        yield f"{prefix}{name}", weight
    for name, part in _ordered(module):
        if part is not None:
            yield from named_weights(part, f"{prefix}{name}.")


def _ordered(module: nn.Module) -> list[tuple[str, nn.Module | None]]:
    parts = list(module._modules.items())
    there = {name for name, _ in parts}
    order = next((order for order in _ORDERS if there >= set(order)), ())
    return sorted(parts, key=lambda item: order.index(item[0]) if item[0] in order else len(order))


def _layers(block: Any) -> list[list[nn.Module]]:
    """For each place in a block of the U-Net, its residual layer and its spatial transformer, if it has one."""
    attentions = getattr(block, "attentions", None)
    layers: list[list[nn.Module]] = [[_resnet(layer)] for layer in block.resnets]
    for parts, attention in zip(layers, attentions or (), strict=attentions is not None):
        parts.append(attention)
    return layers


def _resnet(layer: Any) -> nn.ModuleDict:
    parts: dict[str, nn.Module] = {
        "in_layers": nn.ModuleDict({"0": layer.norm1, "2": layer.conv1}),
        "emb_layers": nn.ModuleDict({"1": layer.time_emb_proj}),
        "out_layers": nn.ModuleDict({"0": layer.norm2, "3": layer.conv2}),
    }
    if layer.conv_shortcut is not None:
        parts["skip_connection"] = layer.conv_shortcut
    return nn.ModuleDict(parts)
