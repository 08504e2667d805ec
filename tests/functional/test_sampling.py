"""SmoothGrad, noise tunnel and GradientSHAP against their definitions."""

import pytest
import torch
from torch import Tensor

from attrib.functional import noise_tunnel, saliency, smooth_grad


def squares(x: Tensor) -> Tensor:
    return (x**2).sum(1)


@pytest.mark.parametrize("n", [1, 2])
def test_without_noise_the_average_is_the_gradient(n: int) -> None:
    x = torch.ones(n, 3)
    assert torch.equal(smooth_grad(squares, x, stdevs=0.0), 2 * x)
    assert torch.equal(noise_tunnel(saliency, squares, x, stdevs=0.0), 2 * x)
    assert torch.equal(smooth_grad(squares, x), 2 * x)  # a constant sample has no range
