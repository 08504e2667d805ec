"""One baseline for all rows: its values are computed once, as long as an op keeps the rows apart.

A `Pair` is shared where `v0` has one row and `v1` has more; both broadcast against each other. The ops that are listed
here take and give shared pairs; for any other op, the values at the baseline are expanded to all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._ops import OpOverload, OpOverloadPacket

from attrib.engine.secant.pair import Pair

aten = torch.ops.aten

SharedArguments = Callable[[Sequence[Any]], Sequence[Any] | None]  # None where the op may mix rows

POINTWISE = (
    *(
        aten.relu,
        aten.relu6,
        aten.leaky_relu,
        aten.hardtanh,
        aten.hardsigmoid,
        aten.abs,
        aten.clamp_min.default,
    ),
    *(aten.gelu, aten.silu, aten.sigmoid, aten.tanh, aten.softplus, aten.mish, aten.elu, aten.hardswish),
    *(
        aten.exp,
        aten.erf,
        aten.sin,
        aten.cos,
        aten.log,
        aten.log1p,
        aten.sqrt,
        aten.rsqrt,
        aten.neg,
        aten.clamp.default,
    ),
    *(aten.add.Scalar, aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar, aten.pow.Tensor_Scalar),
)
BROADCAST = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
IMAGES = {  # how many dims a batch of what they take has
    **dict.fromkeys((aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default), 3),
    **dict.fromkeys((aten.avg_pool2d.default, aten._adaptive_avg_pool2d.default), 4),
    **dict.fromkeys((aten.avg_pool3d.default, aten._adaptive_avg_pool3d.default), 5),
    aten.max_pool2d_with_indices.default: 4,
    aten.max_pool3d_with_indices.default: 5,
}


def is_shared(value: Any) -> bool:
    """Whether a value is a pair with one row at the baseline and several rows at the input."""
    return type(value) is Pair and value.v0.shape != value.v1.shape


def shared_arguments(op: OpOverload, args: Sequence[Any]) -> Sequence[Any]:
    """An op's arguments: shared pairs stay shared if the op keeps rows apart, else they are expanded."""
    if not _has_shared(args):
        return args
    arguments = SHARED_ARGUMENTS[op](args) if op in SHARED_ARGUMENTS else None
    return [_expanded(a) for a in args] if arguments is None else arguments


def _has_shared(args: Sequence[Any]) -> bool:
    return any(is_shared(a) or (type(a) in (list, tuple) and _has_shared(a)) for a in args)


def _expanded(value: Any) -> Any:
    """Arguments in which the baseline of each pair has as many rows as the input."""
    if type(value) in (list, tuple):
        return [_expanded(v) for v in value]
    if not is_shared(value):
        return value
    return Pair(value.v0.expand_as(value.v1), value.v1, value._dv, value._change)


# ---------------------------------------------------------------------- ops that keep rows apart


def _as_they_are(args: Sequence[Any]) -> Sequence[Any]:
    return args


def _of_equal_dims(args: Sequence[Any]) -> Sequence[Any] | None:
    """Broadcasting: rows meet rows only where no argument has more dims than a pair."""
    dims = [a.v1.ndim if type(a) is Pair else getattr(a, "ndim", 0) for a in args[:2]]
    return args if all(d == max(dims) for a, d in zip(args, dims, strict=False) if type(a) is Pair) else None


def _rows_times_weights(args: Sequence[Any]) -> Sequence[Any] | None:
    *bias, rows, weights = args[:3]
    if type(rows) is not Pair or any(type(a) is Pair for a in (*bias, weights)):
        return None
    return args if all(b.ndim < 2 or len(b) == 1 for b in bias) else None  # a bias may differ between rows


def _by_weights(args: Sequence[Any]) -> Sequence[Any] | None:
    return args if not any(type(a) is Pair for a in args[1:3]) else None


def _images(dims: int) -> SharedArguments:
    return lambda args: args if args[0].v1.ndim == dims else None


def _other_dims(args: Sequence[Any]) -> Sequence[Any] | None:
    """A sum over other dims than that of the rows."""
    dims = args[1] if len(args) > 1 else None
    return args if dims and all(d % args[0].v1.ndim for d in dims) else None


def _rows_first(args: Sequence[Any]) -> Sequence[Any] | None:
    """A shape that keeps the rows in front; the new size -1 fits one row and many."""
    x, sizes = args
    same = len(sizes) > 1 and sizes[0] == len(x.v1) and -1 not in sizes
    return [x, [-1, *sizes[1:]]] if same and x.v0.numel() else None


def _overloads(*ops: OpOverload | OpOverloadPacket) -> list[OpOverload]:
    return [o for op in ops for o in ([op] if isinstance(op, OpOverload) else [op.default])]


SHARED_ARGUMENTS: dict[OpOverload, SharedArguments] = {
    **dict.fromkeys(_overloads(*POINTWISE), _as_they_are),
    **dict.fromkeys(BROADCAST, _of_equal_dims),
    **{op: _images(dims) for op, dims in IMAGES.items()},
    aten.addmm.default: _rows_times_weights,
    aten.mm.default: _rows_times_weights,
    aten.convolution.default: _by_weights,
    aten.mean.dim: _other_dims,
    aten.sum.dim_IntList: _other_dims,
    aten.reshape.default: _rows_first,
}
