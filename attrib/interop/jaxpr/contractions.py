"""Matrix products, convolutions and Fourier transforms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib.interop.jaxpr.program import Step, dtype_of
from attrib.interop.jaxpr.shaping import others, padded, permuted, restored, shaped, sizes, spread
from attrib.interop.jaxpr.table import refuse, translation

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
KINDS: dict[str, Callable[..., Tensor]] = {
    "FFT": torch.fft.fftn,
    "IFFT": torch.fft.ifftn,
    "RFFT": torch.fft.rfftn,
    "IRFFT": torch.fft.irfftn,
}


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
