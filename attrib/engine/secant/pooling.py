"""Max pooling in one to three dims, overlapping, dilated, padded or adaptive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.secant.extrema import winner
from attrib.engine.secant.rules import rule
from attrib.engine.secant.twin import Twin, values

aten = torch.ops.aten

SPATIAL_DIMS = {
    aten.max_pool2d_with_indices.default: 2,
    aten.max_pool3d_with_indices.default: 3,
    aten.adaptive_max_pool2d.default: 2,
    aten.adaptive_max_pool3d.default: 3,
    aten.fractional_max_pool2d.default: 2,
    aten.fractional_max_pool3d.default: 3,
}


@rule(*SPATIAL_DIMS)
def max_pool(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Twin]:
    """Each window gives its change to one element (see `winner`), found by its index in the flattened image."""
    n = SPATIAL_DIMS[op]
    (y0, i0), (y1, i1) = values(op, args, kwargs)

    def take(v: Tensor, i: Tensor) -> Tensor:
        return v.flatten(-n).gather(-1, i.flatten(-n)).view(i.shape)

    return [winner(args[0], y0, y1, i0, i1, take), Twin(i0, i1, None)]
