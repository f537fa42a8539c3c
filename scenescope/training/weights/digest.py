"""How a base model's weights are named: every host enters the same tensors under the same names."""

from __future__ import annotations

import hashlib

from torch import Tensor

SAMPLED = 2048
"""Values of a tensor that count for the name."""


def base_digest() -> hashlib.blake2b:
    """An empty name, to enter weights in: 32 hexadecimal digits."""
    return hashlib.blake2b(digest_size=16)


def enter_tensor(digest: hashlib.blake2b, value: Tensor) -> None:
    """Enter a tensor's shape and some of its values, which are the same in single and in half precision.

    >>> import torch
    >>> names = []
    >>> for dtype in (torch.float32, torch.float16):
    ...     digest = base_digest()
    ...     enter_tensor(digest, torch.linspace(0, 1, 9).half().to(dtype))
    ...     names.append(digest.hexdigest())
    >>> names[0] == names[1]
    True
    """
    # Not `detach`: what others moved outside of inference mode, where it was created, torch refuses to view (2.11).
    flat = value.data.reshape(-1)
    digest.update(repr(tuple(value.shape)).encode())
    # By way of half precision: a host may load one file in either, as the device and its options have it.
    values = flat[:: max(1, len(flat) // SAMPLED)].cpu().half().float()
    digest.update(values.numpy().tobytes())
