"""Pooling: the largest, the smallest or the sum of each window of an array."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from attrib.interop.jaxpr.contractions import CONVOLVE
from attrib.interop.jaxpr.program import Number, Step
from attrib.interop.jaxpr.shaping import others, padded, permuted, restored, shaped, sizes, spread
from attrib.interop.jaxpr.table import refuse, translation

LARGEST: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEAN: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
OPTIONS = ("window_dimensions", "window_strides", "padding", "window_dilation")


@translation("reduce_window_max")
def largest(step: Step, x: Tensor) -> Tensor:
    """The largest of each window; padding is minus infinity."""
    return _pooled(step, x, -math.inf, _largest)


@translation("reduce_window_min")
def smallest(step: Step, x: Tensor) -> Tensor:
    """The smallest of each window, as -max(-x)."""
    return -_pooled(step, -x, -math.inf, _largest)


@translation("reduce_window_sum")
def total(step: Step, x: Tensor) -> Tensor:
    """The sum of each window; padding is zero."""
    return _pooled(step, x, 0.0, _total)


def _pooled(step: Step, x: Tensor, outside: Number, pool: Callable[..., Tensor]) -> Tensor:
    """Pool over the dims that have windows, after moving these to the end and joining the others but the first."""
    if not x.is_floating_point():
        refuse(step, "it pools whole numbers")
    x = spread(x, step.params["base_dilation"], outside)
    pooled = _pooled_dims(step.params)
    if not 0 < len(pooled) <= 3:
        return x if not pooled else refuse(step, "its windows have more than three dims")
    unpooled = others(x.ndim, pooled)
    order = [*unpooled, *pooled]
    x = permuted(x, order)
    n = len(unpooled)
    flat = shaped(x, [x.shape[0] if unpooled else 1, math.prod(sizes(x, range(1, n))), *x.shape[n:]])
    size, stride, padding, dilation = ([step.params[o][d] for d in pooled] for o in OPTIONS)
    y = pool(flat, size, stride, padding, dilation)
    return restored(shaped(y, [*sizes(x, range(n)), *y.shape[2:]]), order)


def _pooled_dims(options: dict[str, Any]) -> list[int]:
    """The dims that the pool changes."""
    each = zip(options["window_dimensions"], options["window_strides"], options["padding"], strict=True)
    return [d for d, (size, stride, pad) in enumerate(each) if size > 1 or stride > 1 or tuple(pad) != (0, 0)]


def _largest(x: Tensor, size: Sequence[int], stride: Sequence[int], padding: Any, dilation: Any) -> Tensor:
    even = all(low == high and 0 <= 2 * low <= k for (low, high), k in zip(padding, size, strict=True))
    x = x if even else padded(x, [(0, 0), (0, 0), *padding], -math.inf)
    inside = [low for low, _ in padding] if even else 0
    return LARGEST[len(size)](x, size, stride, inside, dilation)


def _total(x: Tensor, size: Sequence[int], stride: Sequence[int], padding: Any, dilation: Any) -> Tensor:
    x = padded(x, [(0, 0), (0, 0), *padding], 0.0)
    if all(d == 1 for d in dilation):
        return MEAN[len(size)](x, size, stride) * math.prod(size)
    channels = x.shape[1]
    ones = x.new_ones(channels, 1, *size)
    return CONVOLVE[len(size)](x, ones, None, stride, 0, dilation, channels)
