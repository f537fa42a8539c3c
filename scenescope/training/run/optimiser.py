"""A phase's optimiser: the scaled loss, the clip, AdamW in full or small, and what is kept of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...host_copies import HostCopies
from ..settings import Settings
from ..step.schedule import Phase
from .small_moments import AdamRule, SmallAdamW
from .state import check_count, check_shapes, shapes_of

FUSED = {"cuda", "xpu", "mps"}
"""Devices with a kernel of torch's that steps many parameters at once."""
AT_ONCE = 64 * 2**20
"""Bytes of parameters that are stepped together on the CPU, which meanwhile needs that much memory again."""
EMBEDDINGS, MOMENTS = "rows", ("exp_avg", "exp_avg_sq")


class LossScale:
    """What float16's loss is multiplied by, so that small gradients are not zero; it lives on the host.

    Source: torch 2.11 `torch.amp.GradScaler`, with its numbers: halved where a gradient is not finite, and doubled
    after 2,000 steps without.
    """

    GROWS_AFTER = 2000

    def __init__(self) -> None:
        self.scale, self.good = 65536.0, 0

    def note(self, finite: bool) -> None:
        """Take note of a step."""
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.scale /= 2
        elif self.good == self.GROWS_AFTER:
            self.scale, self.good = self.scale * 2, 0


class Optimiser:
    """Steps what a phase trains; each phase has its own optimiser, while the code keeps using the first one's.

    In `full` and half precision the weights are `SmallAdamW`'s, and single-precision moments of earlier states go on in
    it. The embeddings are always torch's.

    Args:
        embeddings: (concept channel) float32.
        weights: what else is trained, float32, by name.
        settings: the method's.
        phase: whose rates it takes.
    """

    def __init__(self, embeddings: nn.Parameter, weights: Mapping[str, nn.Parameter], settings: Settings, phase: Phase):
        self._clip = settings.clip or math.inf
        self.scale = LossScale() if settings.precision == "float16" else None
        rule = AdamRule(
            settings.weights_rate, settings.beta1, settings.beta2, settings.adam_epsilon, settings.weight_decay
        )
        self._small: SmallAdamW | None = None
        self._whole: dict[str, nn.Parameter] = {EMBEDDINGS: embeddings}
        groups = [
            {"params": [embeddings], "lr": settings.phase1_rows_rate if phase == 1 else settings.phase2_rows_rate}
        ]
        if weights and settings.mode == "full" and settings.precision != "float32":
            self._small = SmallAdamW(weights, settings.dtype, rule)
        elif weights:
            self._whole |= weights
            groups.append({"params": list(weights.values()), "lr": rule.rate})
        self._fused = embeddings.device.type in FUSED
        self._adam = torch.optim.AdamW(
            groups if self._fused else [part for group in groups for part in _in_parts(group)],
            betas=(rule.beta1, rule.beta2),
            eps=rule.epsilon,
            weight_decay=rule.decay,
            foreach=not self._fused,  # the bits of its loop in Python, which takes half as long again
            fused=self._fused,  # there one kernel for each is slow
        )

    def close(self) -> None:
        """Let go of the parameters."""
        self.forget_gradients()
        if self._small is not None:
            self._small.close()

    def backward(self, loss: Tensor) -> None:
        """Backpropagate a loss."""
        (loss if self.scale is None else loss * self.scale.scale).backward()

    def norm(self) -> Tensor:
        """The length of all gradients together, () float32, as if the loss had no scale."""
        own = [parameter.grad for parameter in self._whole.values() if parameter.grad is not None]
        if self.scale is not None and own:
            torch._foreach_mul_(own, 1 / self.scale.scale)
        parts = [torch.stack(torch._foreach_norm(own, 2))] if own else []
        if self._small is not None and (norms := self._small.norms()):
            parts.append(torch.stack(norms) * (1.0 if self.scale is None else 1 / self.scale.scale))
        return torch.linalg.vector_norm(torch.cat(parts))

    def step(self, norm: float) -> None:
        """Clip and step; a scaled step with a gradient that is not finite is skipped.

        Args:
            norm: what `norm` gave, read.
        """
        if self.scale is None or math.isfinite(norm):
            shrink = min(1.0, self._clip / (norm + 1e-6))
            self._step(shrink)
        if self.scale is not None:
            self.scale.note(math.isfinite(norm))

    def forget_gradients(self) -> None:
        """Free the gradients' memory."""
        self._adam.zero_grad(set_to_none=True)
        if self._small is not None:
            self._small.forget_gradients()

    def moments(self, copies: HostCopies) -> Callable[[], dict[str, Tensor]]:
        """Queue what AdamW keeps to be copied to the CPU; gives it by parameter and kind, such as `rows exp_avg`."""
        queued = {
            f"{name} {kind}": copies.add(value if value.ndim else value.clone())  # counts go on in place
            for name, parameter in self._whole.items()
            for kind, value in self._adam.state.get(parameter, {}).items()
        }
        small = self._small.moments(copies) if self._small is not None else dict
        return lambda: {name: copy.get() for name, copy in queued.items()} | small()

    def restore(self, moments: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> None:
        """Restore the optimiser's state; on the CPU it continues with the saved tensors themselves.

        Args:
            moments: as `moments` gave them.
            trained: all that is trained, by name.

        Raises:
            FileError: their shapes do not fit, or a parameter's count of steps is none.
        """
        stepped = {name: item for name, item in trained.items() if f"{name} step" in moments}
        wanted = {f"{name} {kind}": tuple(item.shape) for name, item in stepped.items() for kind in MOMENTS}
        check_shapes(shapes_of(moments), wanted | {f"{name} step": () for name in stepped})
        for name in stepped:
            check_count(name, float(moments[f"{name} step"]))
        if self._small is not None:
            self._small.restore(moments)
        for name, parameter in self._whole.items():
            if name in stepped:
                place = parameter.device if self._fused else "cpu"
                own = {kind: _laid_out(moments[f"{name} {kind}"], parameter) for kind in MOMENTS}
                self._adam.state[parameter] = {"step": moments[f"{name} step"].to(place, torch.float32), **own}

    def _step(self, shrink: float) -> None:
        own = [parameter.grad for parameter in self._whole.values() if parameter.grad is not None]
        if shrink < 1 and own:
            torch._foreach_mul_(own, shrink)
        self._adam.step()
        if self._small is not None:
            self._small.step(shrink if self.scale is None else shrink / self.scale.scale)


def _laid_out(moment: Tensor, parameter: Tensor) -> Tensor:
    """A moment where its parameter is, and in the same order in memory, as kernels for many at once demand it."""
    moved = moment.to(parameter.device, torch.float32)
    return moved if moved.stride() == parameter.stride() else torch.empty_like(parameter).copy_(moved)


def _in_parts(group: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A group of parameters as several, each of `AT_ONCE` bytes or of one parameter."""
    parts: list[list[nn.Parameter]] = [[]]
    for parameter in group["params"]:
        if parts[-1] and sum(other.nbytes for other in parts[-1]) + parameter.nbytes > AT_ONCE:
            parts.append([])
        parts[-1].append(parameter)
    return [{**group, "params": part} for part in parts]
