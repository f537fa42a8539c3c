"""AdamW for all weights of a model: moments of one byte each, gradients in the arithmetic's own type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ...host_copies import HostCopies

BLOCK = 256
"""Neighbouring numbers that share their largest exponent."""
MANTISSA = 20
"""Bits of a float32's mantissa that a code leaves out: three are kept."""
GROUP = 2**23
"""Numbers that are stepped together: few kernels, and little extra memory."""
SIGN, MAGNITUDE = 0x80, 0x7FFFFFFF


@dataclass(frozen=True)
class AdamRule:
    """AdamW's numbers.

    Source: Loshchilov and Hutter 2019, algorithm 2; torch's `AdamW` computes the same.
    """

    rate: float
    beta1: float
    beta2: float
    epsilon: float
    decay: float


@dataclass(frozen=True)
class Packed:
    """Numbers of one byte: their leading bits, counted from the largest of their block.

    Args:
        codes: (block 256) uint8; 0 is zero.
        base: (block 1) int32, what is added to a code.
    """

    codes: Tensor
    base: Tensor


def pack(values: Tensor, *, signed: bool, dither: Tensor | int = 0) -> Packed:
    """Keep a float's exponent and three bits of its mantissa.

    The leading bits of a float32 grow with its logarithm, so their difference from the block's largest is a code:
    255 codes are 32 octaves, 127 and a sign are 16. What is left out is rounded by the dither, so that changes that are
    smaller than a code count on average: with beta2 = 0.999 a moment changes by a thousandth of itself. A second moment
    that is not zero never becomes zero, because it is divided by.

    Source: the idea is that of Dettmers et al. 2022, 8-bit optimizers via block-wise quantization; the reference offers
    it as `--use_8bit_adam`. The code is our own.

    Args:
        values: (block 256) float32; 0 or more where they are not signed.
        signed: whether a bit is the sign.
        dither: (1 256) int32, 0 to 2**20 - 1; 0 cuts off, which keeps what was packed before exactly.

    >>> values = torch.tensor([[1.0, -0.75, 2.0**-15, 0.0] * 64])
    >>> torch.equal(unpack(pack(values, signed=True), signed=True), values)
    True
    """
    bits = values.contiguous().view(torch.int32)
    leading = ((bits & MAGNITUDE) + dither) >> MANTISSA
    base = (leading.amax(dim=1, keepdim=True) - (SIGN - 1 if signed else 2 * SIGN - 1)).clamp_(min=0)
    codes = (leading - base).clamp_(min=0)
    if signed:
        return Packed((codes + SIGN * ((bits < 0) & (codes > 0))).to(torch.uint8), base)
    return Packed(codes.clamp_(min=1).mul_(bits > 0).to(torch.uint8), base)


def unpack(packed: Packed, *, signed: bool) -> Tensor:
    """The numbers again: (block 256) float32."""
    codes = packed.codes.int()
    size = codes & (SIGN - 1) if signed else codes
    values = ((size + packed.base) << MANTISSA).view(torch.float32) * (size > 0)
    return values * (1 - 2 * (codes >> 7)) if signed else values


def dither_at(step: int, device: torch.device) -> Tensor:
    """Where a step rounds each number of a block: (1 256) int32, so that 256 steps have every level once."""
    level = (torch.arange(BLOCK, device=device, dtype=torch.int32) * 97 + step * 159) % BLOCK
    return (level * (2**MANTISSA // BLOCK) + 2 ** (MANTISSA - 9))[None]


class _Group:
    """Some parameters and their moments, as one row of numbers."""

    def __init__(self, trained: Mapping[str, nn.Parameter]) -> None:
        self.trained = dict(trained)
        self.sizes = [parameter.numel() for parameter in trained.values()]
        self.blocks = -(-sum(self.sizes) // BLOCK)
        self.device = next(iter(trained.values())).device
        nothing = torch.zeros(self.blocks, BLOCK, device=self.device)
        self.first, self.second = pack(nothing, signed=True), pack(nothing, signed=False)

    def row(self, parts: Iterable[Tensor]) -> Tensor:
        """Tensors, one for each parameter, as (block 256) float32."""
        room = self.blocks * BLOCK - sum(self.sizes)
        pieces = [part.reshape(-1).float() for part in parts]
        return torch.cat([*pieces, torch.zeros(room, device=self.device)]).view(-1, BLOCK)

    def pieces(self, row: Tensor) -> dict[str, Tensor]:
        """A row, split into the parameters' shapes."""
        split = row.view(-1)[: sum(self.sizes)].split(self.sizes)
        return {name: part.view_as(own) for (name, own), part in zip(self.trained.items(), split, strict=True)}

    def step(self, gradients: dict[str, Tensor], factor: float, rule: AdamRule, taken: int) -> None:
        """Step the parameters that have a gradient, which is taken out: its memory is free again."""
        none = torch.zeros((), device=self.device)
        moved = [name for name in self.trained if name in gradients]
        gradient = self.row(gradients.pop(name, none.expand_as(own)) for name, own in self.trained.items())
        gradient.mul_(factor)
        dither = dither_at(taken, self.device)
        first = unpack(self.first, signed=True).lerp_(gradient, 1 - rule.beta1)
        self.first = pack(first, signed=True, dither=dither)
        second = unpack(self.second, signed=False).mul_(rule.beta2).addcmul_(gradient, gradient, value=1 - rule.beta2)
        del gradient
        self.second = pack(second, signed=False, dither=dither)
        root = second.sqrt_().div_((1 - rule.beta2**taken) ** 0.5).add_(rule.epsilon)
        change = first.div_(root).mul_(-rule.rate / (1 - rule.beta1**taken))
        parameters: list[Tensor] = [self.trained[name] for name in moved]
        changes = self.pieces(change)
        if moved:
            torch._foreach_mul_(parameters, 1 - rule.rate * rule.decay)
            torch._foreach_add_(parameters, [changes[name] for name in moved])


class SmallAdamW:
    """AdamW over many weights; gradients are taken from the parameters as soon as the backward pass has them.

    A weight that computes in half precision has a gradient of half precision, which the float32 parameter only makes
    longer: kept as it was it is the same number. So the memory of a weight's copy in half precision passes to its
    gradient, and all of them can be clipped together before the first weight moves.

    Args:
        trained: parameters, float32, by name.
        dtype: of the arithmetic.
        rule: AdamW's numbers.
    """

    def __init__(self, trained: Mapping[str, nn.Parameter], dtype: torch.dtype, rule: AdamRule) -> None:
        self._dtype, self._rule, self._taken = dtype, rule, 0
        self._groups = [_Group(group) for group in _grouped(trained)]
        self._gradients: dict[str, Tensor] = {}
        self._seen: set[str] = set()
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._take, name))
            for name, parameter in trained.items()
        ]

    def close(self) -> None:
        """Let go of the parameters."""
        for hook in self._hooks:
            hook.remove()
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """Free the gradients' memory."""
        self._gradients.clear()

    def norms(self) -> list[Tensor]:
        """Lengths of parts of the gradient, () float32 each."""
        norms: list[Tensor] = []
        for kind in dict.fromkeys((self._dtype, torch.float32)):
            part = [gradient for gradient in self._gradients.values() if gradient.dtype == kind]
            norms += torch._foreach_norm(part, 2, dtype=torch.float32) if part else []
        return norms

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Step all, with the gradients times a factor; afterwards they are gone."""
        self._taken += 1
        self._seen |= self._gradients.keys()
        for group in self._groups:
            group.step(self._gradients, factor, self._rule, self._taken)

    def moments(self, copies: HostCopies) -> Callable[[], dict[str, Tensor]]:
        """Queue what it keeps to be copied to the CPU, as bfloat16, which holds a code exactly.

        Returns:
            Gives it, by parameter and kind as torch's AdamW names it.
        """
        rows = [
            (group, kind, copies.add(unpack(packed, signed=signed).to(torch.bfloat16)))
            for group in self._groups
            for kind, packed, signed in (("exp_avg", group.first, True), ("exp_avg_sq", group.second, False))
        ]
        seen, taken = sorted(self._seen), self._taken

        def arrived() -> dict[str, Tensor]:
            found = {f"{name} step": torch.tensor(float(taken)) for name in seen}
            for group, kind, copy in rows:
                pieces = group.pieces(copy.get())
                found |= {f"{name} {kind}": pieces[name].clone() for name in seen if name in pieces}
            return found

        return arrived

    def restore(self, moments: Mapping[str, Tensor]) -> None:
        """Go on from moments that this or torch's AdamW kept."""
        self._seen = {name for group in self._groups for name in group.trained if f"{name} step" in moments}
        self._taken = int(max((float(moments[f"{name} step"]) for name in self._seen), default=0))
        for group in self._groups:
            rows = [
                group.row(
                    moments[f"{name} {kind}"].to(group.device) if name in self._seen else torch.zeros_like(own)
                    for name, own in group.trained.items()
                )
                for kind in ("exp_avg", "exp_avg_sq")
            ]
            group.first, group.second = pack(rows[0], signed=True), pack(rows[1], signed=False)

    def _take(self, name: str, parameter: Tensor) -> None:
        gradient, earlier = parameter.grad, self._gradients.get(name)
        parameter.grad = None
        assert gradient is not None, "contract: torch calls it with a gradient"
        if earlier is not None:
            gradient = gradient + earlier  # of the step's other pass
        self._gradients[name] = gradient.to(self._dtype) if gradient.ndim > 1 else gradient


def _grouped(trained: Mapping[str, nn.Parameter]) -> Sequence[Mapping[str, nn.Parameter]]:
    groups: list[dict[str, nn.Parameter]] = []
    room = 0
    for name, parameter in trained.items():
        if parameter.numel() > room:
            groups.append({})
            room = GROUP
        groups[-1][name] = parameter
        room -= parameter.numel()
    return groups
