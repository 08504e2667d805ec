"""Linear maps of a carrier of which only the transpose is run.

Nobody reads a carrier's numbers, so the heavy ops need not compute them: forward hands on any tensor of the right
shape, here the change that is known already; backward is the transpose. There are two classes, because torch.func asks
for a `setup_context`, which costs a tenth of a millisecond a call where it is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket

from attrib.engine.graph import transformed
from attrib.engine.secant.pair import Twin

aten = torch.ops.aten


def matmul_carry(dv: Tensor, change: Tensor, w: Tensor, side: int) -> Tensor:
    """dv -> dv @ w, or w @ dv for side 1, whose value is `change`."""
    return _carry(dv, change, _times_transposed if side == 0 else _transposed_times, w)


def convolution_carry(dv: Tensor, change: Tensor, w: Tensor, options: tuple) -> Tensor:
    """dv -> convolution(dv, w), whose value is `change`; `options` are the op's arguments from the stride on."""
    return _carry(dv, change, partial(_deconvolved, options), dv, w)


def _times_transposed(g: Tensor, w: Tensor) -> Tensor:
    return g @ w.mT


def _transposed_times(g: Tensor, w: Tensor) -> Tensor:
    return w.mT @ g


def _deconvolved(options: tuple, g: Tensor, dv: Tensor, w: Tensor) -> Tensor:
    return aten.convolution_backward(g, dv, w, None, *options, [True, False, False])[0]


def _carry(dv: Tensor, change: Tensor, transpose: Callable[..., Tensor], *needed: Tensor) -> Tensor:
    return (_CarryOfFunc if transformed() else _Carry).apply(dv, change, transpose, *needed)


class _Carry(torch.autograd.Function):
    """dv -> change; backward is `transpose(g, *needed)`."""

    @staticmethod
    def forward(
        ctx: Any, dv: Tensor, change: Tensor, transpose: Callable[..., Tensor], *needed: Tensor
    ) -> Tensor:
        """A value that is known already."""
        _CarryOfFunc.setup_context(ctx, (dv, change, transpose, *needed), change)
        return change.view_as(change)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """The transpose."""
        return ctx.transpose(g, *ctx.saved_tensors), *[None] * (2 + len(ctx.saved_tensors))


class _CarryOfFunc(torch.autograd.Function):
    """The same for torch.func."""

    generate_vmap_rule = True
    backward = _Carry.backward

    @staticmethod
    def forward(dv: Tensor, change: Tensor, transpose: Callable[..., Tensor], *needed: Tensor) -> Tensor:
        """A value that is known already."""
        return change.view_as(change)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keep what the transpose needs."""
        _, _, ctx.transpose, *needed = inputs
        ctx.save_for_backward(*needed)


# FOLDED attrib/engine/secant/linear_change.py: """One baseline for all rows: its values are computed once, as long as an op keeps the rows apart.
aten = torch.ops.aten

Keep = Callable[[Sequence[Any]], Sequence[Any] | None]  # arguments to arguments, or None where rows may mix

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
    """Whether a value is a twin with one row at the baseline for all rows at the input."""
    return type(value) is Twin and value.v0.shape != value.v1.shape


def sharing(op: OpOverload, args: Sequence[Any]) -> Sequence[Any]:
    """An op's arguments as it takes them: shared twins as they are where it keeps rows apart, else spread."""
    if not _any(args):
        return args
    keep = _KEEPS.get(op)
    kept = None if keep is None else keep(args)
    return [_spread(a) for a in args] if kept is None else kept


def spread(twin: Twin) -> Twin:
    """A twin whose values at the baseline are there for every row."""
    if not is_shared(twin):
        return twin
    return Twin(twin.v0.expand_as(twin.v1), twin.v1, twin._carrier, twin._change)


def _any(args: Sequence[Any]) -> bool:
    return any(_any(a) if type(a) in (list, tuple) else is_shared(a) for a in args)


def _spread(value: Any) -> Any:
    if type(value) in (list, tuple):
        return [_spread(v) for v in value]
    return spread(value) if type(value) is Twin else value


# ---------------------------------------------------------------------- which ops keep rows apart


def _as_they_are(args: Sequence[Any]) -> Sequence[Any]:
    return args


def _of_equal_dims(args: Sequence[Any]) -> Sequence[Any] | None:
    """A twin's rows meet those of the other argument only if neither has more dims in front."""
    dims = [a.v1.ndim if type(a) is Twin else getattr(a, "ndim", 0) for a in args[:2]]
    return args if all(d == max(dims) for a, d in zip(args, dims, strict=False) if type(a) is Twin) else None


def _rows_times_weights(args: Sequence[Any]) -> Sequence[Any] | None:
    *bias, rows, weights = args[:3]
    if type(rows) is not Twin or any(type(a) is Twin for a in (*bias, weights)):
        return None
    return args if all(b.ndim < 2 or len(b) == 1 for b in bias) else None  # a bias may have a row for each


def _by_weights(args: Sequence[Any]) -> Sequence[Any] | None:
    return args if not any(type(a) is Twin for a in args[1:3]) else None


def _images(dims: int) -> Keep:
    return lambda args: args if args[0].v1.ndim == dims else None


def _other_dims(args: Sequence[Any]) -> Sequence[Any] | None:
    """A sum over dims that are not the rows'."""
    dims = args[1] if len(args) > 1 else None
    return args if dims and all(d % args[0].v1.ndim for d in dims) else None


def _rows_first(args: Sequence[Any]) -> Sequence[Any] | None:
    """Another shape with the same rows in front: of as many rows as there are."""
    x, sizes = args
    same = len(sizes) > 1 and sizes[0] == len(x.v1) and -1 not in sizes
    return [x, [-1, *sizes[1:]]] if same and x.v0.numel() else None


def _overloads(*ops: OpOverload | OpOverloadPacket) -> list[OpOverload]:
    return [o for op in ops for o in ([op] if isinstance(op, OpOverload) else [op.default])]


_KEEPS: dict[OpOverload, Keep] = {
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
