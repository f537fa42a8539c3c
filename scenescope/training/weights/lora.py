"""Low-rank additions to chosen layers by forward hooks: the layers' own weights are never touched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...errors import HostError, InputError
from .contract import LowRank

UNET_LAYERS = ("transformer_blocks.", "proj_in", "proj_out")
"""Parts of a U-Net's layer names: attention, feed-forward and the projections around them (as in MagicTailor)."""


def layers_of(module: nn.Module, prefix: str, parts: tuple[str, ...] = ("",)) -> dict[str, nn.Module]:
    """Choose the layers of a module that can take a low-rank addition.

    Args:
        module: a U-Net or a text encoder.
        prefix: put before the names.
        parts: a chosen layer's name holds one of these.

    Returns:
        Linear layers and 1x1 convolutions by name.

    Raises:
        HostError: there is none.

    >>> list(layers_of(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Conv2d(2, 2, 1)), "unet."))
    ['unet.0', 'unet.2']
    """
    found = {
        f"{prefix}{name}": layer
        for name, layer in module.named_modules()
        if _is_adaptable(layer) and any(part in name for part in parts)
    }
    if not found:
        raise HostError(
            f"Low-rank layers: {type(module).__name__} has no linear layer or 1x1 convolution named after "
            f"{' or '.join(filter(None, parts)) or 'anything'}, as SD1.5 has. Load an SD1.5 checkpoint."
        )
    return found


class Lora:
    """Low-rank additions that train while entered.

    Source: Hu et al. 2021: W x + (alpha / rank) up down x, up begins at zero, down even over +-1 / sqrt(in), as kohya
    and peft begin it. The layers' type is the arithmetic's, the additions are float32.

    Args:
        layers: linear layers and 1x1 convolutions by name.
        rank: of each addition.
        alpha: see the formula.
        generator: of the first values.
        device: of the additions.

    Raises:
        InputError: a layer is of another kind.
    """

    def __init__(
        self, layers: Mapping[str, nn.Module], *, rank: int, alpha: float, generator: Generator, device: torch.device
    ) -> None:
        self.trained: dict[str, nn.Parameter] = {}
        self._layers, self._alpha, self._scale = dict(layers), alpha, alpha / rank
        self._hooks, self._enabled = ExitStack(), True
        self._cast: dict[str, Tensor] = {}
        for name, layer in layers.items():
            if not _is_adaptable(layer):
                raise InputError(
                    f"Low-rank layers: {name} is a {type(layer).__name__}, neither a linear layer nor a 1x1 "
                    "convolution. Choose others."
                )
            shape = layer.get_parameter("weight").shape
            first = torch.rand((rank, shape[1], *shape[2:]), generator=generator) * 2 - 1
            self.trained[f"{name}.down"] = nn.Parameter((first / math.sqrt(shape[1])).to(device))
            self.trained[f"{name}.up"] = nn.Parameter(torch.zeros((shape[0], rank, *shape[2:]), device=device))

    def __enter__(self) -> Lora:
        with ExitStack() as stack:
            for name, layer in self._layers.items():
                stack.callback(layer.register_forward_hook(self._hook(name)).remove)
            self._hooks = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """For a while nothing is added."""
        self._enabled = False
        try:
            yield
        finally:
            self._enabled = True

    @contextmanager
    def cast(self, dtype: torch.dtype) -> Iterator[None]:
        """For a step's passes and their gradients: additions are cast in one row, where each would be cast apart."""
        if dtype != torch.float32:
            row = torch.cat([own.view(-1) for own in self.trained.values()]).to(dtype)
            parts = row.split([own.numel() for own in self.trained.values()])
            self._cast = {
                name: part.view(own.shape) for (name, own), part in zip(self.trained.items(), parts, strict=True)
            }
        try:
            yield
        finally:
            self._cast = {}

    def low_rank(self) -> dict[str, LowRank]:
        """The additions by layer, copied to the CPU."""
        return {
            name: LowRank(_copy(self.trained[f"{name}.down"]), _copy(self.trained[f"{name}.up"]), float(self._alpha))
            for name in self._layers
        }

    def differences(self) -> dict[str, Tensor]:
        """None: no parameter of the layers is changed."""
        return {}

    def _in_type(self, name: str, dtype: torch.dtype) -> Tensor:
        cast = self._cast.get(name)
        return self.trained[name].to(dtype) if cast is None else cast

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        names = f"{name}.down", f"{name}.up"
        apply = functional.linear if self.trained[names[0]].ndim == 2 else functional.conv2d

        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not self._enabled:
                return None
            values = inputs[0]
            down, up = (self._in_type(its, values.dtype) for its in names)
            added = apply(apply(values, down), up)
            return torch.add(output, added.to(output.dtype), alpha=self._scale)

        return hook


def _is_adaptable(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0) and layer.groups == 1
    return isinstance(layer, nn.Linear)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
