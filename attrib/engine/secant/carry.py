"""Linear maps of a carrier of which only the transpose is run.

Nobody reads a carrier's numbers, so the heavy ops need not compute them: forward hands on any tensor of the right
shape, here the change that is known already; backward is the transpose.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


class MatmulCarry(torch.autograd.Function):
    """dv -> dv @ w, or w @ dv for side 1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(dv: Tensor, change: Tensor, w: Tensor, side: int) -> Tensor:
        """A value that is known already."""
        return change.view_as(change)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keep what the transpose needs."""
        _, _, w, ctx.side = inputs
        ctx.save_for_backward(w)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """The transpose."""
        (w,) = ctx.saved_tensors
        return (g @ w.mT if ctx.side == 0 else w.mT @ g), None, None, None


class ConvolutionCarry(torch.autograd.Function):
    """dv -> convolution(dv, w); `options` are the op's arguments from the stride on."""

    generate_vmap_rule = True

    @staticmethod
    def forward(dv: Tensor, change: Tensor, w: Tensor, options: tuple) -> Tensor:
        """A value that is known already."""
        return change.view_as(change)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        """Keep what the transpose needs."""
        dv, _, w, ctx.options = inputs
        ctx.save_for_backward(dv, w)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """The transpose."""
        dv, w = ctx.saved_tensors
        found = aten.convolution_backward(g, dv, w, None, *ctx.options, [True, False, False])
        return found[0], None, None, None
