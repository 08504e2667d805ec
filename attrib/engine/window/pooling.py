"""Max and average pools, computed one axis after the other."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.graph import Node
from attrib.engine.window.channels import single_source
from attrib.engine.window.convolution import Kernel, Sliding, per_dim, under
from attrib.engine.window.rule import Layout, Reader, Rule, Span, bound, only_first_is_read, rule

aten = torch.ops.aten

IDENTITY = Kernel(size=1, stride=1, dilation=1, padding=0)


@rule(aten.max_pool2d_with_indices, aten.max_pool3d_with_indices)
def max_pool(node: Node, layout: Layout) -> Rule | None:
    """The largest value under the kernel; padding counts as minus infinity."""
    if not only_first_is_read(node, layout):
        return None
    return _pool(node, layout, torch.maximum, -math.inf, lambda size: 1.0)


@rule(aten.avg_pool2d, aten.avg_pool3d)
def average_pool(node: Node, layout: Layout) -> Rule | None:
    """The mean under the kernel; padding counts as zero."""
    b = bound(node)
    if b["divisor_override"] is not None or (any(per_dim(b["padding"], 1)) and not b["count_include_pad"]):
        return None
    return _pool(node, layout, torch.add, 0.0, lambda size: 1.0 / size)


def _pool(
    node: Node,
    layout: Layout,
    join: Callable[[Tensor, Tensor], Tensor],
    fill: float,
    factor: Callable[[int], float],
) -> Rule | None:
    source, b = single_source(node, layout), bound(node)
    if source is None or 1 in layout.axes[source]:
        return None
    shape, out, axes = layout.shape[source], layout.shape[node.writes[0]], layout.axes[source]
    dims = 2 if node.op.overloadpacket in (aten.max_pool2d_with_indices, aten.avg_pool2d) else 3
    first = len(shape) - dims
    sizes = per_dim(b["kernel_size"], dims)
    strides = per_dim(b["stride"] or b["kernel_size"], dims)
    paddings, dilations = per_dim(b["padding"], dims), per_dim(b.get("dilation", 1), dims)
    kernels = [Kernel(*k) for k in zip(sizes, strides, dilations, paddings, strict=True)]
    for d, k in enumerate(kernels, first):
        floored = (shape[d] + 2 * k.padding - k.extent - 1) // k.stride + 1  # ceil_mode has more
        if out[d] != floored:
            return None
    if any(a < first for a in axes):
        return None
    sliding = tuple(kernels[a - first] for a in axes)
    in_full = [(d, k) for d, k in enumerate(kernels, first) if d not in axes and k != IDENTITY]
    scale = math.prod(factor(k.size) for k in kernels)
    owns = any(k.size > 1 for k in sliding)

    def compute(at: Reader, span: Span) -> Tensor:
        t = at.read(source, under(sliding, span), fill)
        for axis, k, (lo, hi) in zip(axes, sliding, span, strict=True):
            t = _along(t, axis, k, hi - lo, join)
        for d, k in in_full:
            t = F.pad(t, (0, 0) * (t.ndim - 1 - d) + (k.padding, k.padding), value=fill)
            t = _along(t, d, k, out[d], join)
        return t if scale == 1.0 else t * scale

    return Sliding(node, (source,), axes, compute, owns=owns, kernels=sliding)


def _along(t: Tensor, axis: int, k: Kernel, count: int, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The strided slices of `t` under the taps of a kernel, joined."""
    taps = []
    for j in range(k.size):
        at = j * k.dilation
        index = [slice(None)] * t.ndim
        index[axis] = slice(at, at + (count - 1) * k.stride + 1, k.stride)
        taps.append(t[tuple(index)])
    return functools.reduce(join, taps)
