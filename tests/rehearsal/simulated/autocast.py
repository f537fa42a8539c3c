"""Autocast on the simulated device, after CUDA's table: what multiplies in half precision, norms and losses in single.

Source: torch 2.11, `aten/src/ATen/autocast_mode.h` (AT_FORALL_LOWER_PRECISION_FP, AT_FORALL_FP32).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import library

from .device import NAME, Far, aten

_HALF = """conv1d conv2d conv3d addmm addmv addr matmul einsum mm mv linear addbmm baddbmm bmm
    scaled_dot_product_attention conv_transpose2d.input"""
_SINGLE = """exp log log2 reciprocal rsqrt pow.Tensor_Scalar pow.Tensor_Tensor softplus layer_norm group_norm mse_loss
    l1_loss smooth_l1_loss softmax.int log_softmax.int cumsum sum sum.dim_IntList prod linalg_vector_norm norm.Scalar
    norm.ScalarOpt_dim upsample_nearest2d upsample_bilinear2d logsumexp cosine_similarity"""
_SKIP = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
_PASS = library.Library("_", "IMPL")
_PASS.fallback(library.fallthrough_kernel, "AutocastPrivateUse1")
_TABLE = library.Library("aten", "IMPL")


def _casting(operation: Any, single: bool) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_SKIP):
            dtype = torch.float32 if single else torch.get_autocast_dtype(NAME)

            def cast(item: Any) -> Any:
                if isinstance(item, Far):
                    return item.to(dtype) if item.dtype != dtype and item.is_floating_point() else item
                return type(item)(map(cast, item)) if isinstance(item, tuple | list) else item

            return operation(*map(cast, args), **{name: cast(item) for name, item in kwargs.items()})

    return run


for _names, _single in ((_HALF, False), (_SINGLE, True)):
    for _name in _names.split():
        _base, _, _overload = _name.partition(".")
        _operation = getattr(getattr(aten, _base), _overload or "default")
        _TABLE.impl(_name, _casting(_operation, _single), "AutocastPrivateUse1")
