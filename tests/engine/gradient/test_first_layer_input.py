"""A first layer stays in its place where the model does anything to its input that the tried rows do not show."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attrib.functional import gradient_shap, integrated_gradients, smooth_grad

WIDTH, STEPS = 600, 16


class Prepared(nn.Module):
    """A wide network that does something to its input first, or beside it."""

    def __init__(
        self,
        before: Callable[[Tensor], Tensor],
        beside: Callable[[Tensor], Tensor] = lambda x: torch.zeros(()),
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Linear(WIDTH, 8), nn.Linear(8, 2)
        self.before, self.beside = before, beside

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(self.before(x)).tanh()) + self.beside(x)


CLAMPED = Prepared(lambda x: x.clamp(-3, 3)).double().eval()
POSITIVE = Prepared(lambda x: x.relu()).double().eval()
SWITCHED = Prepared(
    lambda x: x, lambda x: torch.where(x[:, :1] > 3, x.sum(1, keepdim=True), torch.zeros((), dtype=x.dtype))
)
SWITCHED.double().eval()
X = torch.rand(5, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
X[4] *= 10  # only the last sample shows what the models do
X[4, 0] = 9.0


def in_one_piece(f: Prepared) -> Callable[[Tensor], Tensor]:
    """The same function without a layer that could be taken out."""
    return lambda x: f.head((f.before(x) @ f.first.weight.T + f.first.bias).tanh()) + f.beside(x)


def path_mean(f: nn.Module, x: Tensor) -> Tensor:
    """The midpoint rule on the way from zero, times x, by plain autograd."""
    total = torch.zeros_like(x)
    for k in range(STEPS):
        leaf = (x * (k + 0.5) / STEPS).requires_grad_()
        total += torch.autograd.grad(f(leaf)[:, 1].sum(), leaf)[0]
    return total / STEPS * x


@pytest.mark.parametrize("f", [CLAMPED, POSITIVE, SWITCHED], ids=["clamp", "relu", "switch"])
def test_integrated_gradients_of_a_sample_that_shows_more_than_the_first_ones(f: nn.Module) -> None:
    attribution = integrated_gradients(f, X, target=1, n_steps=STEPS, quadrature="riemann_middle")
    torch.testing.assert_close(attribution, path_mean(f, X), rtol=1e-9, atol=1e-12)


def test_draws_reach_where_inputs_and_baselines_do_not() -> None:
    """SmoothGrad leaves the positive inputs; the gradient behind a ReLU is then zero for half of the draws."""
    x = X[:2] * 0.1
    attribution = smooth_grad(POSITIVE, x, target=1, n_samples=STEPS, stdevs=1.0)
    by_autograd = smooth_grad(POSITIVE, x, target=1, n_samples=STEPS, stdevs=1.0, engine="autograd")
    without = smooth_grad(in_one_piece(POSITIVE), x, target=1, n_samples=STEPS, stdevs=1.0)
    torch.testing.assert_close(attribution, without, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(by_autograd, without, rtol=1e-9, atol=1e-12)


def test_baselines_that_show_more_than_the_first_ones() -> None:
    pool = torch.zeros(6, WIDTH, dtype=torch.float64)
    pool[3:] = 5.0
    options = {"target": 1, "baselines": pool, "n_samples": STEPS}
    attribution = gradient_shap(CLAMPED, X[:2], **options)
    without = gradient_shap(in_one_piece(CLAMPED), X[:2], **options)
    torch.testing.assert_close(attribution, without, rtol=1e-9, atol=1e-12)


def test_the_layer_of_a_model_that_hands_the_input_on_is_taken() -> None:
    """Flattened, through an identity and dropout that is off: the layer then runs on ends, not on all steps."""
    net = nn.Sequential(
        nn.Flatten(), nn.Identity(), nn.Dropout(), nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 2)
    )
    net.double().eval()
    rows: list[int] = []
    forward = net[3].forward
    net[3].forward = lambda x: (rows.append(len(x)), forward(x))[1]  # type: ignore[method-assign]
    attribution = integrated_gradients(net, X[:2, None], target=1, n_steps=STEPS, quadrature="riemann_middle")
    assert sum(rows) < 2 * STEPS
    torch.testing.assert_close(attribution[:, 0], path_mean(net, X[:2, None])[:, 0], rtol=1e-9, atol=1e-12)
