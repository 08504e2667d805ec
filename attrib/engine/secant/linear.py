"""Views, sums and averages: op(v1) - op(v0) = op(v1 - v0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from attrib.engine.secant.pair import NoRule, Pair, has_pair, values
from attrib.engine.secant.rules import rule

aten = torch.ops.aten

VIEWS = (
    *(aten.reshape, aten.alias, aten.clone, aten.contiguous, aten.expand),
    *(aten.permute, aten.transpose, aten.t, aten.squeeze, aten.unsqueeze, aten.flip, aten.roll, aten.repeat),
    *(aten.select, aten.slice, aten.unbind, aten.split, aten.split_with_sizes, aten.narrow, aten.diagonal),
    *(aten.unsafe_split, aten.unsafe_split_with_sizes, aten.unfold, aten.view_as_real),
    *(aten.view_as_complex, aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle, aten.rot90),
)
GATHERS = (
    *(aten.index, aten.index_select, aten.gather, aten.take, aten.masked_select),
    *(aten.im2col, aten.col2im, aten.tril, aten.triu),
    *(aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d),
    *(aten.replication_pad1d, aten.replication_pad2d, aten.replication_pad3d),
)
SUMS = (
    *(aten.sum, aten.mean, aten.cumsum, aten.neg, aten.trace, aten.real, aten.imag),
    *(aten._fft_r2c, aten._fft_c2r, aten._fft_c2c, aten._conj, aten._conj_physical, aten.resolve_conj),
)
AVERAGES = (
    *(aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d),
    *(aten.adaptive_avg_pool1d, aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d),
    *(aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d),
    *(aten._upsample_nearest_exact1d, aten._upsample_nearest_exact2d, aten._upsample_nearest_exact3d),
    *(aten.upsample_linear1d, aten.upsample_bilinear2d, aten.upsample_bicubic2d, aten.upsample_trilinear3d),
    *(aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa),
)


@rule(*VIEWS, *GATHERS, *SUMS, *AVERAGES)
def linear(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair | list[Pair]:
    """d op(v) = op(dv)."""
    x, *options = args
    if has_pair(options) or has_pair(kwargs) or not isinstance(x, Pair):
        raise NoRule("it takes an index or an option that depends on the inputs")
    v0, v1 = values(op, args, kwargs)
    dv = op(x.dv, *options, **kwargs)
    if isinstance(v0, (list, tuple)):
        return [Pair(*parts) for parts in zip(v0, v1, dv, strict=True)]
    return Pair(v0, v1, dv)


@rule(aten._to_copy)
def cast(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """A change of type is the identity; to integers (truncation) and to bools (v != 0) it is a step function."""
    (x,) = args
    v0, v1 = values(op, args, kwargs)
    if v0.is_floating_point() or v0.is_complex():
        return Pair(v0, v1, x.dv.to(v0.dtype))
    if x.v0.dtype == torch.bool or (x.is_discrete and v0.dtype != torch.bool):
        return Pair(v0, v1, x.dv)
    changed = x.change != 0
    steps = v1.to(x.dv.dtype) - v0.to(x.dv.dtype)
    return Pair(v0, v1, torch.where(changed, steps / torch.where(changed, x.change, 1), 0) * x.dv)
