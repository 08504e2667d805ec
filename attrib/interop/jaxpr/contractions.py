"""Matrix products, convolutions, pooling and Fourier transforms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib.interop.jaxpr.interpreter import refuse, translation
from attrib.interop.jaxpr.program import Number, Step, dtype_of
from attrib.interop.jaxpr.shaping import others, padded, permuted, restored, shaped, sizes, spread

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
KINDS: dict[str, Callable[..., Tensor]] = {
    "FFT": torch.fft.fftn,
    "IFFT": torch.fft.ifftn,
    "RFFT": torch.fft.rfftn,
    "IRFFT": torch.fft.irfftn,
}

LARGEST: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEAN: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
OPTIONS = ("window_dimensions", "window_strides", "padding", "window_dilation")


@translation("dot_general")
def dot_general(step: Step, u: Tensor, v: Tensor) -> Tensor:
    """sum over k of u[b, m, k] v[b, k, n], where each letter stands for any number of dims."""
    (ku, kv), (bu, bv) = step.params["dimension_numbers"]
    dtype = dtype_of(step.makes[0].dtype)
    u, v = u.to(dtype), v.to(dtype)
    mu, nv = others(u.ndim, ku, bu), others(v.ndim, kv, bv)
    batch, rows, columns = sizes(u, bu), sizes(u, mu), sizes(v, nv)
    inner = math.prod(sizes(u, ku))
    joined = [math.prod(batch)] if batch else []
    u = shaped(permuted(u, [*bu, *mu, *ku]), [*joined, math.prod(rows), inner])
    v = shaped(permuted(v, [*bv, *kv, *nv]), [*joined, inner, math.prod(columns)])
    return shaped(u @ v, [*batch, *rows, *columns])


@translation("conv_general_dilated")
def convolution(step: Step, x: Tensor, w: Tensor) -> Tensor:
    """sum over i and k of x[n, i, stride s + dilation k - low] w[o, i, k], in any layout."""
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
    x, padding = _padded(x, options["padding"])
    stride, dilation = options["window_strides"], options["rhs_dilation"]
    return CONVOLVE[x.ndim - 2](x, w, None, stride, padding, dilation, groups)


def _padded(x: Tensor, padding: Sequence[tuple[int, int]]) -> tuple[Tensor, list[int]]:
    """x padded, unless torch's convolution can do that; and the padding for the convolution."""
    if all(low == high >= 0 for low, high in padding):
        return x, [low for low, _ in padding]
    return padded(x, [(0, 0), (0, 0), *padding], 0), [0] * len(padding)


def _groups(x: Tensor, features: int, batches: int) -> tuple[Tensor, int]:
    """x and the number of channel groups; groups of samples become groups of channels."""
    if batches == 1:
        return x, features
    n, channels, *space = x.shape
    x = x.reshape(batches, n // batches, channels, *space).transpose(0, 1)
    return torch.flatten(x, 1, 2), batches


@translation("fft")
def transform(step: Step, x: Tensor) -> Tensor:
    """A Fourier transform over the last dims."""
    kind, lengths = step.params["fft_type"], tuple(step.params["fft_lengths"])
    return KINDS[getattr(kind, "name", str(kind)).upper()](x, s=lengths, dim=tuple(range(-len(lengths), 0)))


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
