"""Max and average pools, one axis after the other."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.graph import Node
from attrib.engine.window.channels import alone
from attrib.engine.window.convolution import Kernel, Sliding, per_dim, under
from attrib.engine.window.rule import Known, Reader, Rule, Span, bound, only_first_is_read, rule

aten = torch.ops.aten


@rule(aten.max_pool2d_with_indices, aten.max_pool3d_with_indices)
def max_pool(node: Node, known: Known) -> Rule | None:
    """The largest value under the kernel; padding never wins."""
    if not only_first_is_read(node, known):
        return None
    return _pool(node, known, torch.maximum, -math.inf, lambda size: 1.0)


@rule(aten.avg_pool2d, aten.avg_pool3d)
def average_pool(node: Node, known: Known) -> Rule | None:
    """The mean under the kernel, padding counted as zero."""
    b = bound(node)
    if b["divisor_override"] is not None or (any(per_dim(b["padding"], 1)) and not b["count_include_pad"]):
        return None
    return _pool(node, known, torch.add, 0.0, lambda size: 1.0 / size)


def _pool(
    node: Node,
    known: Known,
    join: Callable[[Tensor, Tensor], Tensor],
    fill: float,
    factor: Callable[[int], float],
) -> Rule | None:
    source, b = alone(node, known), bound(node)
    if source is None or 1 in known.axes[source]:
        return None
    shape, out, axes = known.shape[source], known.shape[node.writes[0]], known.axes[source]
    first = 2 if node.op.overloadpacket in (aten.max_pool2d_with_indices, aten.avg_pool2d) else 3
    first = len(shape) - first
    dims = len(shape) - first
    sizes = per_dim(b["kernel_size"], dims)
    strides = per_dim(b["stride"] or b["kernel_size"], dims)
    paddings, dilations = per_dim(b["padding"], dims), per_dim(b.get("dilation", 1), dims)
    kernels = [Kernel(*k) for k in zip(sizes, strides, dilations, paddings, strict=True)]
    for d, k in enumerate(kernels, first):
        plain = (shape[d] + 2 * k.padding - k.extent - 1) // k.stride + 1  # ceil_mode has more
        if out[d] != plain:
            return None
    if any(a < first for a in axes):
        return None
    own = tuple(kernels[a - first] for a in axes)
    whole = [
        (d, k)
        for d, k in enumerate(kernels, first)
        if d not in axes and (k.size, k.stride, k.padding) != (1, 1, 0)
    ]
    scale = math.prod(factor(k.size) for k in kernels)
    owns = any(k.size > 1 for k in own)

    def compute(at: Reader, span: Span) -> Tensor:
        t = at.read(source, under(own, span), fill)
        for axis, k, (lo, hi) in zip(axes, own, span, strict=True):
            t = _along(t, axis, k, hi - lo, join)
        for d, k in whole:
            t = F.pad(t, (0, 0) * (t.ndim - 1 - d) + (k.padding, k.padding), value=fill)
            t = _along(t, d, k, out[d], join)
        return t if scale == 1.0 else t * scale

    return Sliding(node, (source,), axes, compute, owns=owns, kernels=own)


def _along(t: Tensor, axis: int, k: Kernel, count: int, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The kernel's taps, strided slices of the source, joined."""
    taps = []
    for j in range(k.size):
        at = j * k.dilation
        index = [slice(None)] * t.ndim
        index[axis] = slice(at, at + (count - 1) * k.stride + 1, k.stride)
        taps.append(t[tuple(index)])
    found = taps[0]
    for tap in taps[1:]:
        found = join(found, tap)
    return found
