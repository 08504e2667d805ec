"""Convolutions in one to three dims, of any layout, padding, stride, dilation and grouping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib.interop.jaxpr.constants import dtype_of
from attrib.interop.jaxpr.contractions import permuted, restored
from attrib.interop.jaxpr.program import Step
from attrib.interop.jaxpr.shaping import padded, spread
from attrib.interop.jaxpr.table import refuse, translation

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
