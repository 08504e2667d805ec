"""Matrix products of rows with the weights of a layer."""

from __future__ import annotations

import torch
from torch import Tensor

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
    # asked for by name: F.conv2d sends what it takes for a small image to MKL after all
    found = torch.mkldnn_convolution(pixels, w[:, :, None, None], None, [0, 0], [1, 1], [1, 1], 1)
    return found.permute(0, 2, 3, 1).reshape(m, n)


def convolvable(t: Tensor) -> bool:
    """Whether oneDNN convolves such values."""
    here = t.dtype == torch.float32 and t.device.type == "cpu"
    return here and torch.backends.mkldnn.is_available() and hasattr(torch, "mkldnn_convolution")
