"""Pooling: the largest, the smallest or the sum of each window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib.interop.jaxpr.contractions import others, permuted, restored, shaped, sizes
from attrib.interop.jaxpr.program import Number, Step, dtype_of
from attrib.interop.jaxpr.shaping import padded, spread
from attrib.interop.jaxpr.table import refuse, translation

LARGEST: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEAN: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
OPTIONS = ("window_dimensions", "window_strides", "padding", "window_dilation")


@translation("reduce_window_max")
def largest(step: Step, x: Tensor) -> Tensor:
    """Largest of each window, outside which everything is minus infinity."""
    return _pooled(step, x, -math.inf, _largest)


@translation("reduce_window_min")
def smallest(step: Step, x: Tensor) -> Tensor:
    """-max(-x)."""
    return -_pooled(step, -x, -math.inf, _largest)


@translation("reduce_window_sum")
def total(step: Step, x: Tensor) -> Tensor:
    """Sum of each window, outside which everything is zero."""
    return _pooled(step, x, 0.0, _total)


def _pooled(step: Step, x: Tensor, outside: Number, pool: Callable[..., Tensor]) -> Tensor:
    """Pool over the dims that have windows, moved to the end; the first of the others stays in front."""
    if not x.is_floating_point():
        refuse(step, "it pools whole numbers")
    x = spread(x, step.params["base_dilation"], outside)
    moving = _moving(step.params)
    if not 0 < len(moving) <= 3:
        return x if not moving else refuse(step, "its windows have more than three dims")
    rest = others(x.ndim, moving)
    order = [*rest, *moving]
    x = permuted(x, order)
    flat = shaped(
        x, [x.shape[0] if rest else 1, math.prod(sizes(x, range(1, len(rest)))), *x.shape[len(rest) :]]
    )
    size, stride, padding, dilation = ([step.params[o][d] for d in moving] for o in OPTIONS)
    y = pool(flat, size, stride, padding, dilation)
    return restored(shaped(y, [*sizes(x, range(len(rest))), *y.shape[2:]]), order)


def _moving(options: dict[str, Any]) -> list[int]:
    """The dims that pooling changes."""
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


# FOLDED attrib/interop/jaxpr/windows.py: """Convolutions in one to three dims, of any layout, padding, stride, dilation and grouping."""
CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@translation("conv_general_dilated")
def convolution(step: Step, x: Tensor, w: Tensor) -> Tensor:
    """sum over window and channels of x[n, i, stride s + dilation k - low] w[o, i, k]."""
    options = step.params
    if x.is_complex() or x.ndim - 2 not in (0, *CONVOLVE):
        refuse(step, "it is a convolution of complex numbers or in more than three dims")
    layout = options["dimension_numbers"]
    dtype = dtype_of(step.makes[0].dtype)
    x, w = permuted(x, layout.lhs_spec).to(dtype), permuted(w, layout.rhs_spec).to(dtype)
    x, groups = _groups(x, options["feature_group_count"], options["batch_group_count"])
    x = spread(x, [1, 1, *options["lhs_dilation"]])
    return restored(_convolved(x, w, options, groups), layout.out_spec)


def _convolved(x: Tensor, w: Tensor, options: dict[str, Any], groups: int) -> Tensor:
    if x.ndim == 2:
        return F.conv1d(x[..., None], w[..., None], groups=groups)[..., 0]
    x, padding = padded_evenly(x, options["padding"])
    stride, dilation = options["window_strides"], options["rhs_dilation"]
    return CONVOLVE[x.ndim - 2](x, w, None, stride, padding, dilation, groups)


def padded_evenly(x: Tensor, padding: Sequence[tuple[int, int]]) -> tuple[Tensor, list[int]]:
    """What torch's convolution can pad by itself, it pads: as much before as after."""
    if all(low == high >= 0 for low, high in padding):
        return x, [low for low, _ in padding]
    return padded(x, [(0, 0), (0, 0), *padding], 0), [0] * len(padding)


def _groups(x: Tensor, features: int, batches: int) -> tuple[Tensor, int]:
    """Groups of samples, each with filters of its own, are groups of channels."""
    if batches == 1:
        return x, features
    n, channels, *space = x.shape
    x = x.reshape(batches, n // batches, channels, *space).transpose(0, 1)
    return torch.flatten(x, 1, 2), batches


# FOLDED attrib/interop/jaxpr/windows.py: """Fourier transforms."""
KINDS: dict[str, Callable[..., Tensor]] = {
    "FFT": torch.fft.fftn,
    "IFFT": torch.fft.ifftn,
    "RFFT": torch.fft.rfftn,
    "IRFFT": torch.fft.irfftn,
}


@translation("fft")
def transform(step: Step, x: Tensor) -> Tensor:
    """Over the last dims."""
    kind, lengths = step.params["fft_type"], tuple(step.params["fft_lengths"])
    return KINDS[getattr(kind, "name", str(kind)).upper()](x, s=lengths, dim=tuple(range(-len(lengths), 0)))
