"""Linear maps of a carrier of which only the transpose is run.

Nobody reads a carrier's numbers, so the heavy ops need not compute them: forward hands on any tensor of the right
shape, here the change that is known already; backward is the transpose. There are two classes, because torch.func asks
for a `setup_context`, which costs a tenth of a millisecond a call where it is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attrib.engine.graph import transformed

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
