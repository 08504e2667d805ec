"""The autograd functions that run a bridge: torch's transforms come in here, and go on with bridges of derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.autograd import forward_ad

from attrib.interop.jax.pullback import floats

if TYPE_CHECKING:
    from attrib.interop.jax.bridge import Bridge, Dims, Kept

Tensors = tuple[Tensor, ...]


class Call(torch.autograd.Function):
    """Runs a Bridge; its derivatives run Bridges in their turn."""

    @staticmethod
    def forward(bridge: Bridge, kept: Kept | None, *xs: Tensor) -> Tensors:
        """Outputs."""
        return bridge.values(xs, kept)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        """Note the inputs, and whether the residuals are theirs."""
        ctx.bridge, kept, *xs = inputs
        ctx.save_for_backward(*xs)
        ctx.save_for_forward(*xs)
        ctx.floats, ctx.count = floats(output), len(output)
        ctx.mark_non_differentiable(*(y for y in output if not y.is_floating_point()))
        ctx.kept = kept if kept and kept.residuals and all(map(_innermost, xs)) else None

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple:
        """From residuals; with the function run again where derivatives of this are wanted."""
        xs = ctx.saved_tensors  # raises if an input was written to meanwhile
        some = [gs[j] for j in ctx.floats]
        if ctx.kept and not torch.is_grad_enabled():
            found = Pull.apply(ctx.bridge, ctx.kept, (), *some)
        else:
            found = ctx.bridge.vjp(len(xs))(*xs, *some)
        each = dict(zip(floats(xs), found, strict=True))  # type: ignore[arg-type]
        if not any(map(is_functorch_wrapped_tensor, (*xs, *gs))):
            for j in [j for j, g in each.items() if not bool(g.any()) and j in ctx.bridge.severed(xs)]:
                each.pop(j)  # as torch says that there is no path: None, not zeros
        return None, None, *(each.get(j) for j in range(len(xs)))

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *ts: Tensor | None) -> Any:
        """Tangents."""
        xs = ctx.saved_tensors
        some = [torch.zeros_like(xs[j]) if ts[j] is None else ts[j] for j in floats(xs)]
        found = dict(zip(ctx.floats, ctx.bridge.jvp(len(xs))(*xs, *some), strict=True))  # type: ignore[arg-type]
        return tuple(found.get(j) for j in range(ctx.count))

    @staticmethod
    def vmap(info: Any, dims: tuple, bridge: Bridge, kept: Kept | None, *xs: Tensor) -> tuple:
        """The vmapped function."""
        found = bridge.vmap(dims[2:])(*xs)
        return found, (0,) * len(found)


class Pull(torch.autograd.Function):
    """Runs a backward program on residuals; what it gives has no derivative."""

    @staticmethod
    def forward(bridge: Bridge, kept: Kept, dims: tuple[Dims, ...], *gs: Tensor) -> Tensors:
        """Gradients."""
        return bridge.pull(kept, dims, gs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        """Nothing."""

    @staticmethod
    def vmap(
        info: Any, dims: tuple, bridge: Bridge, kept: Kept, inner: tuple[Dims, ...], *gs: Tensor
    ) -> tuple:
        """Several cotangents in one program."""
        found: Tensors = Pull.apply(bridge, kept, (*inner, dims[3:]), *gs)  # type: ignore[assignment]
        return found, (0,) * len(found)


def _innermost(x: Tensor) -> bool:
    """Whether nothing but the innermost reverse pass works on a tensor, so that its residuals hold no derivatives."""
    inner = get_unwrapped(x) if is_functorch_wrapped_tensor(x) else x
    if is_functorch_wrapped_tensor(inner):
        return False
    return forward_ad._current_level < 0 or forward_ad.unpack_dual(inner).tangent is None
