"""Matrix products of rows with the weights of a layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_ROWS, LEAST_PRODUCTS = 24, 1 << 20  # below, starting a convolution takes longer than it saves


def product(a: Tensor, w: Tensor) -> Tensor:
    """`a @ w.T`, for `a` (m, k) and `w` (n, k).

    In single precision on a CPU by a convolution of width 1: PyTorch leaves convolutions to oneDNN, but matrix products
    to MKL, which takes twice the time on processors of another make than its own.
    """
    (m, k), n = a.shape, len(w)
    if not convolvable(a) or m < LEAST_ROWS or m * k * n < LEAST_PRODUCTS:
        return a @ w.T
    pixels = a.contiguous().view(1, 1, m, k).permute(0, 3, 1, 2)
    # without the dilation, which a width of 1 does not feel, PyTorch sends few rows to MKL after all
    return F.conv2d(pixels, w[:, :, None, None], dilation=2).permute(0, 2, 3, 1).reshape(m, n)


def convolvable(t: Tensor) -> bool:
    """Whether oneDNN convolves such values."""
    return t.dtype == torch.float32 and t.device.type == "cpu" and torch.backends.mkldnn.is_available()
