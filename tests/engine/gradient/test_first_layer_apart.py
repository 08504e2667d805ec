"""A linear first layer out of the way of random draws: the numbers are those of the draws, one by one."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib.engine.gradient.affine_first_layer import FirstLayer
from attrib.engine.sampling.perturbations import Draws, DrawsBehind, Noise, spread
from attrib.functional import gradient_shap, smooth_grad
from attrib.testing import untouched

G = torch.Generator().manual_seed(0)
X = torch.randn(3, 2, 4, generator=G, dtype=torch.float64)
POOL = torch.randn(5, 2, 4, generator=G, dtype=torch.float64)
CPU = torch.device("cpu")
COUNT = 7


def made(*parts: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), *(p() for p in parts)).double().eval()


class Counting(nn.Linear):
    """Counts the rows that it really gets."""

    rows = 0

    def forward(self, x: Tensor) -> Tensor:
        if type(x) is Tensor:
            self.rows += len(x)
        return super().forward(x)


MODELS = {
    "narrowing": made(lambda: nn.Linear(8, 5), nn.Tanh, lambda: nn.Linear(5, 3)),
    "widening": made(lambda: nn.Linear(8, 9), nn.Tanh, lambda: nn.Linear(9, 3)),
    "not straight": made(nn.Tanh, lambda: nn.Linear(8, 3), nn.Sigmoid),
}


def mean_over_draws(model: Any, points: Any, target: int, product: Any = lambda g: g) -> Tensor:
    """The definition: one draw after the other, plain autograd."""
    i, found = torch.arange(len(X)), []
    for k in range(COUNT):
        leaf = points(i, torch.full_like(i, k))[0].requires_grad_()
        found.append(product(torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]))
    return torch.stack(found)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("name", MODELS)
def test_smooth_grad(name: str, batch_size: int) -> None:
    model, noisy = MODELS[name], Noise((X,), spread((X,), 0.3, 0.0), 5, CPU, antithetic=True)
    with untouched(model, X):
        found = smooth_grad(
            model, X, stdevs=0.3, n_samples=COUNT, seed=5, targets="all", batch_size=batch_size
        )
    for target in range(3):
        expected = mean_over_draws(model, noisy.points, target).mean(0)
        torch.testing.assert_close(found[target], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("multiply", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_shap(name: str, batch_size: int, multiply: bool) -> None:
    model = MODELS[name]
    draws = Draws(Noise((X,), spread((X,), 0.0, 0.0), 5, CPU), (POOL[None],), COUNT)
    with untouched(model, (X, POOL)):
        found = gradient_shap.explain(
            model, X, baselines=POOL, n_samples=COUNT, seed=5, targets="all", batch_size=batch_size,
            multiply_by_inputs=multiply,
        )  # fmt: skip
    for target in range(3):
        product = (lambda g: draws.products((g[None],))[0][0]) if multiply else (lambda g: g)
        rows = mean_over_draws(model, draws.points, target, product)
        torch.testing.assert_close(found.attribution[target], rows.mean(0), rtol=1e-10, atol=1e-12)
        order, counted = draws.differences()
        mask = counted(range(len(X))).T.reshape(-1, len(X), *[1] * (rows.ndim - 2))
        squares = (rows.diff(n=order, dim=0).square() * mask).sum(0) / mask.sum(0)
        error = (squares / {1: 2, 2: 6}[order] / COUNT).sqrt()
        torch.testing.assert_close(found.standard_error[target], error, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("pool", [POOL, POOL[:, :, :1], POOL[:1]])
def test_points_and_products_behind_the_layer_are_those_before_it(pool: Tensor) -> None:
    model, noisy = MODELS["narrowing"], Noise((X,), spread((X,), 0.0, 0.0), 0, CPU)
    layer = FirstLayer(model, X[:1])
    before, behind = Draws(noisy, (pool[None],), 4), DrawsBehind(noisy, (pool[None],), 4, layer, 2)
    i, k = torch.tensor([0, 0, 2]), torch.tensor([1, 2, 1])
    (rows,), (hidden,) = before.points(i, k), behind.points(i, k)
    torch.testing.assert_close(hidden, model[1](rows.flatten(1)))
    h = torch.randn(2, 3, 5, generator=G, dtype=torch.float64)
    grads = behind.at_input((h,))
    torch.testing.assert_close(grads[0], (h @ model[1].weight).view(2, 3, 2, 4))
    expected = before.products(tuple(g.clone() for g in grads))
    torch.testing.assert_close(behind.products(grads)[0], expected[0])


@pytest.mark.parametrize(("stdevs", "least", "most"), [(0.0, 8, 20), (0.1, 150, 170)])
def test_gradient_shap_runs_the_layer_once_per_input_and_baseline(
    stdevs: float, least: int, most: int
) -> None:
    model = made(lambda: Counting(8, 5), nn.Tanh, lambda: nn.Linear(5, 3))
    gradient_shap(model, X, baselines=POOL, n_samples=50, target=0, stdevs=stdevs)
    assert least <= model[1].rows <= most


def test_few_draws_are_not_worth_it() -> None:
    model = made(lambda: Counting(8, 5), nn.Tanh, lambda: nn.Linear(5, 3))
    smooth_grad(model, X, n_samples=1, target=0, stdevs=0.1)
    assert model[1].rows == 2 * len(X)


@pytest.mark.parametrize("multiply", [True, False])
@pytest.mark.parametrize("method", ["smooth_grad", "gradient_shap"])
def test_derivatives_go_through_what_was_taken_out_of_the_way(method: str, multiply: bool) -> None:
    """Against the same network whose input has an idle use, so that nothing is taken out."""
    model = MODELS["narrowing"]
    options: dict[str, Any] = {"n_samples": COUNT, "target": 1, "engine": "func"}
    call: Any = smooth_grad
    if method == "gradient_shap":
        call, options = gradient_shap, options | {"baselines": POOL, "multiply_by_inputs": multiply}
    else:
        options["stdevs"] = 0.3
    left, right = (
        torch.func.grad(lambda x, f=f: (call(f, x, **options) ** 2).sum())(X)
        for f in (model, lambda x: model(x + 0.0))
    )
    torch.testing.assert_close(left, right)
    assert bool(left.any())
