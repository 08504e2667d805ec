"""Max pooling against a loop over its windows."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attrib.engine.secant import expressed, secant


def by_hand(x0: Tensor, x1: Tensor, size: int, stride: int, dilation: int) -> Tensor:
    """Multipliers of the sum of all windows' maxima of images (H, W)."""
    found = torch.zeros_like(x1)
    reach = dilation * (size - 1) + 1
    tops = [range(0, n - reach + 1, stride) for n in x1.shape]
    for top, left in itertools.product(*tops):
        cells = [(top + i * dilation, left + j * dilation) for i in range(size) for j in range(size)]
        y0, y1 = (max(float(x[c]) for c in cells) for x in (x0, x1))
        side = x1 if y1 >= y0 else x0
        winner = max(cells, key=lambda c: float(side[c]))
        found[winner] += (y1 - y0) / float(x1[winner] - x0[winner])
    return found


@pytest.mark.parametrize(
    ("size", "stride", "dilation"), [(2, 2, 1), (3, 1, 1), (4, 2, 1), (2, 1, 2), (3, 2, 2)]
)
def test_windows_that_overlap_and_have_holes(size, stride, dilation):
    torch.manual_seed(size)
    x0, x1 = torch.randn(2, 9, 8, dtype=torch.float64)

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x[:, None], size, stride, 0, dilation).flatten(1).sum(1)

    found = secant(expressed(pool, [x1[None]]), [x0[None]], [x1[None]])
    (m,) = found.pull(torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(m[0, 0], by_hand(x0, x1, size, stride, dilation))


def test_the_index_of_a_maximum_has_no_rule():
    def unpooled(x: Tensor) -> Tensor:
        y, where = F.max_pool1d(x, 2, return_indices=True)
        return F.max_unpool1d(y, where, 2)

    x = torch.randn(1, 2, 4)
    graph = expressed(unpooled, [x])
    with pytest.raises(NotImplementedError, match="index that depends on the inputs"):
        secant(graph, [x * 0], [x])
