"""All weights of some modules, trained as float32 copies that replace them meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from .contract import LowRank


class FullWeights:
    """Copies of all parameters, in the parameters' places while entered.

    The given parameters are set aside, not written to: the same objects come back afterwards, even after an error.

    Args:
        modules: by the prefix of their parameters' names. A parameter that is used twice stays one.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self.trained: dict[str, nn.Parameter] = {}
        self._given: dict[str, nn.Parameter] = {}
        self._places: list[tuple[nn.Module, str, nn.Parameter, nn.Parameter]] = []
        self._swaps = ExitStack()
        copies: dict[int, nn.Parameter] = {}
        for prefix, module in modules.items():
            for path, owner in module.named_modules():
                for key, given in owner.named_parameters(recurse=False):
                    if not given.is_floating_point():
                        continue
                    if id(given) not in copies:
                        name = ".".join(filter(None, (prefix.rstrip("."), path, key)))
                        copies[id(given)] = nn.Parameter(given.detach().float().clone())
                        self.trained[name], self._given[name] = copies[id(given)], given
                    self._places.append((owner, key, given, copies[id(given)]))

    def __enter__(self) -> FullWeights:
        with ExitStack() as stack:
            for owner, key, given, copy in self._places:
                stack.callback(setattr, owner, key, given)
                setattr(owner, key, copy)
            self._swaps = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._swaps.close()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """For a while the given parameters are back."""
        try:
            for owner, key, given, _ in self._places:
                setattr(owner, key, given)
            yield
        finally:
            for owner, key, _, copy in self._places:
                setattr(owner, key, copy)

    def cast(self, dtype: torch.dtype) -> AbstractContextManager[None]:
        """Nothing: a half copy of all weights would be there for all of the step."""
        return nullcontext()

    def low_rank(self) -> dict[str, LowRank]:
        """None: the differences have full rank."""
        return {}

    def differences(self) -> dict[str, Tensor]:
        """Trained minus given, by parameter, float32 on the CPU."""
        return {name: (self.trained[name].detach() - given.detach()).cpu() for name, given in self._given.items()}
