"""The zoo's own checks tell a wrong gradient and a wrong place from right ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks import zoo


class Rough(torch.autograd.Function):
    """The sigmoid, with a backward pass that is 1% off where it is steep."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sigmoid()

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        s = ctx.saved_tensors[0].sigmoid()
        return g * s * (1 - s) * (1 + 0.01 * (s - 0.5).abs().lt(0.2))


def case(model: object, *sizes: int) -> zoo.Case:
    torch.manual_seed(0)
    x = torch.randn(2, *sizes, dtype=torch.float64)
    return zoo.Case(model, x, x[:1] * 0.1)


def difference(model: object) -> str:
    return str(zoo.CHECKS["finite differences"](case(model, 6)))


torch.manual_seed(1)
DENSE = [nn.Linear(6, 64).double(), nn.Linear(64, 64).double(), nn.Linear(64, 1).double()]
KINKED = nn.Sequential(DENSE[0], nn.ReLU(), DENSE[1], nn.ReLU(), DENSE[2])


def test_differences_agree_with_right_gradients() -> None:
    assert difference(KINKED).startswith("ok")
    assert difference(lambda x: DENSE[2](DENSE[0](x).sin().float().softmax(1).double())).startswith("ok")


def test_a_gradient_that_is_off_along_some_directions_is_told() -> None:
    assert difference(lambda x: Rough.apply(DENSE[0](x)).sum(1, keepdim=True)).startswith("WRONG")
    assert difference(lambda x: (x - (x[:, :1] * 0.01).detach()).sum(1, keepdim=True)).startswith("WRONG")


def test_differences_that_tell_nothing_say_so() -> None:
    noisy = lambda x: KINKED(x) + 1e-3 * (1e13 * x.detach()).sin().sum(1, keepdim=True)
    assert difference(noisy).startswith("not told")


class Squeezed(nn.Module):
    """Convolutions, of which a mean over the whole image gates the channels; `turn` gives the positions another order."""

    def __init__(self, turn: bool) -> None:
        super().__init__()
        self.first, self.last, self.turn = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), turn

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.avg_pool2d(self.first(x), 2)
        h = h.flip(2) if self.turn else h
        return self.last(h * (20 * h.mean((2, 3), keepdim=True)).exp()).mean((2, 3))


@pytest.mark.parametrize("turn", [False, True])
def test_places_are_seen_behind_means_of_the_whole_image(turn: bool) -> None:
    torch.manual_seed(0)
    model = Squeezed(turn).double()
    told, _ = zoo._in_larger_inputs(case(model, 1, 6, 6), "last", 0, torch.Size((2, 4, 3, 3)), (3, 3), (1, 2))
    assert told < 0 if turn else told > 0.9
