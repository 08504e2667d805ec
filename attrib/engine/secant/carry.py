"""Linear maps of a carrier of which only the transpose is run.

Nobody reads a carrier's numbers, so the heavy ops need not compute them: forward hands on any tensor of the right
shape, here the change that is known already; backward is the transpose. Each map has two classes: torch.func asks for a
`setup_context`, which costs a tenth of a millisecond a call where it is not needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrib.engine.graph import transformed

aten = torch.ops.aten


def matmul_carry(dv: Tensor, change: Tensor, w: Tensor, side: int) -> Tensor:
    """dv -> dv @ w, or w @ dv for side 1; `change` is its value."""
    return (_MatmulOfFunc if transformed() else _Matmul).apply(dv, change, w, side)


def convolution_carry(dv: Tensor, change: Tensor, w: Tensor, options: tuple) -> Tensor:
    """dv -> convolution(dv, w), whose value is `change`; `options` are the op's arguments from the stride on."""
    return (_ConvolutionOfFunc if transformed() else _Convolution).apply(dv, change, w, options)


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dv: Tensor, change: Tensor, w: Tensor, side: int) -> Tensor:
        """A value that is known already."""
        _MatmulOfFunc.setup_context(ctx, (dv, change, w, side), change)
        return change.view_as(change)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """The transpose."""
        (w,) = ctx.saved_tensors
        return (g @ w.mT if ctx.side == 0 else w.mT @ g), None, None, None


class _MatmulOfFunc(torch.autograd.Function):
    generate_vmap_rule = True
    backward = _Matmul.backward

    @staticmethod
    def forward(dv: Tensor, change: Tensor, w: Tensor, side: int) -> Tensor:
        """A value that is known already."""
        return change.view_as(change)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keep what the transpose needs."""
        _, _, w, ctx.side = inputs
        ctx.save_for_backward(w)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dv: Tensor, change: Tensor, w: Tensor, options: tuple) -> Tensor:
        """A value that is known already."""
        _ConvolutionOfFunc.setup_context(ctx, (dv, change, w, options), change)
        return change.view_as(change)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """The transpose."""
        dv, w = ctx.saved_tensors
        found = aten.convolution_backward(g, dv, w, None, *ctx.options, [True, False, False])
        return found[0], None, None, None


class _ConvolutionOfFunc(torch.autograd.Function):
    generate_vmap_rule = True
    backward = _Convolution.backward

    @staticmethod
    def forward(dv: Tensor, change: Tensor, w: Tensor, options: tuple) -> Tensor:
        """A value that is known already."""
        return change.view_as(change)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keep what the transpose needs."""
        dv, _, w, ctx.options = inputs
        ctx.save_for_backward(dv, w)
