"""The affine first layer is taken out of the path only where the input goes nowhere else, and the numbers stay."""

import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib.engine.gradient import affine_first_layer as room
from attrib.engine.gradient.affine_first_layer import FirstLayer, affine_first_layer
from attrib.engine.gradient.passes import Passes
from attrib.engine.sampling.perturbations import Draws, DrawsBehind, Noise, spread
from attrib.functional import gradient_shap, integrated_gradients, smooth_grad
from attrib.testing import untouched

G = torch.Generator().manual_seed(0)
X = torch.randn(3, 6, generator=G, dtype=torch.float64)
IMAGE = torch.randn(2, 2, 6, 6, generator=G, dtype=torch.float64)
W = torch.randn(4, 6, generator=G, dtype=torch.float64)
KERNEL = torch.randn(3, 2, 3, 3, generator=G, dtype=torch.float64)
CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small layers are taken apart, too."""
    monkeypatch.setattr(room, "WIDE", 1)


@pytest.fixture
def rows_of(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """The rows of each call of every linear layer, by its id; the layers stay plain ones."""
    rows: dict[int, list[int]] = {}
    forward = nn.Linear.forward

    def counted(self: nn.Linear, x: Tensor) -> Tensor:
        rows.setdefault(id(self), []).append(len(x))
        return forward(self, x)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    return rows


def made(build: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return build().double().eval()


def rest(h: Tensor) -> Tensor:
    return torch.tanh(h).flatten(1).cumsum(1)[:, :3]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3))


def convnet() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))


class Of(nn.Module):
    """A module whose forward is a function of itself and the input."""

    def __init__(self, run: Any, **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def asks_for_shapes(m: Any, x: Tensor) -> Tensor:
    """As attention and recurrent code do."""
    n, d = x.shape
    assert (x.size(0), x.dim(), x.ndim, len(x)) == (n, 2, 2, n)
    assert x.is_floating_point()
    zeros = torch.zeros(n, 3, dtype=x.dtype, device=x.device)
    return torch.sin(m.layer(x.view(n, d)) + zeros)


def one_layer(run: Any, *sizes: int) -> nn.Module:
    return made(lambda: Of(run, layer=nn.Linear(*(sizes or (6, 6)))))


MLP = made(mlp)
STRAIGHT: dict[str, tuple[Any, Tensor]] = {
    "mlp": (MLP, X),
    "without bias": (made(lambda: nn.Sequential(nn.Linear(6, 5, bias=False), nn.Sigmoid())), X),
    "a function around it": (lambda x: MLP(x) * 2 + 1, X),
    "partial": (partial(lambda net, x: net(x), MLP), X),
    "flattened image": (one_layer(lambda m, x: rest(m.layer(x.flatten(1))), 72, 5), IMAGE),
    "shape questions": (one_layer(asks_for_shapes, 6, 3), X),
    "dropout that is off": (made(lambda: nn.Sequential(nn.Dropout(0.5), mlp())), X),
    "flatten module": (made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.Tanh())), IMAGE),
    "logits in a dict": (lambda x: {"logits": MLP(x)}, X),
    "widening": (made(lambda: nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3))), X),
}


def hooked(register: str, hook: Any) -> nn.Module:
    model = made(mlp)
    getattr(model[0], register)(hook)
    return model


class Scaled(nn.Linear):
    """A linear layer by type only."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x**2)


NOT: dict[str, tuple[Any, Tensor]] = {
    "skip connection": (one_layer(lambda m, x: m.layer(x).tanh() + x), X),
    "input kept in a list": (one_layer(lambda m, x: (kept := [x]) and m.layer(x).tanh() * kept[0]), X),
    "two layers": (
        made(lambda: Of(lambda m, x: m.a(x).tanh() * m.b(x), a=nn.Linear(6, 3), b=nn.Linear(6, 3))),
        X,
    ),
    "the same layer twice": (one_layer(lambda m, x: m.layer(x).tanh() + m.layer(x).sin()), X),
    "the layer on its own output": (one_layer(lambda m, x: m.layer(m.layer(x).tanh())), X),
    "gate": (one_layer(lambda m, x: m.layer(x).tanh() * torch.sigmoid(x)), X),
    "activation first": (made(lambda: nn.Sequential(nn.Tanh(), mlp())), X),
    "scaled first": (one_layer(lambda m, x: rest(m.layer(3 * x))), X),
    "batch norm first": (made(lambda: nn.Sequential(nn.BatchNorm2d(2), *convnet())), IMAGE),
    "layer norm first": (made(lambda: nn.Sequential(nn.LayerNorm(6), *mlp())), X),
    "norm without weights first": (
        made(lambda: nn.Sequential(nn.LayerNorm(6, elementwise_affine=False), *mlp())),
        X,
    ),
    "hook before": (hooked("register_forward_pre_hook", lambda m, x: (x[0] ** 2,)), X),
    "hook behind": (hooked("register_forward_hook", lambda m, x, y: y * x[0].sum(1, True)), X),
    "a subclass": (made(lambda: nn.Sequential(Scaled(6, 3), nn.Tanh())), X),
    "weights as a function's": (one_layer(lambda m, x: F.linear(x, m.layer.weight, m.layer.bias).tanh()), X),
    "turned image": (one_layer(lambda m, x: m.layer(x.transpose(2, 3).flatten(1)).tanh(), 72, 3), IMAGE),
    "turned over": (one_layer(lambda m, x: m.layer(x.flip(1)).tanh()), X),
    "part of the input": (one_layer(lambda m, x: m.layer(x[:, :4]).tanh(), 4, 3), X),
    "places": (one_layer(lambda m, x: rest(m.layer(x)), 6, 5), IMAGE),
    "convnet": (made(convnet), IMAGE),
    "function": (lambda x: rest(F.linear(x, W)), X),
    "product": (lambda x: rest(x @ W.T), X),
    "input with itself": (lambda x: torch.einsum("ni,nj->nij", x, x).flatten(1)[:, :3], X),
    "padding first": (lambda x: rest(F.conv2d(F.pad(x, (1, 1, 1, 1), value=1.0), KERNEL)), IMAGE),
    "where": (one_layer(lambda m, x: torch.where(x > 0, m.layer(x), m.layer(x).tanh())), X),
    "hidden in a comparison": (one_layer(lambda m, x: m.layer(x).tanh() * (1 + (x > 0))), X),
    "NaN made to a number": (one_layer(lambda m, x: m.layer(x).tanh() * x.nan_to_num(1.0)), X),
    "only far from zero": (one_layer(lambda m, x: m.layer(x).tanh() + (x.abs() > 3) * x), 3 * X),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", STRAIGHT)
def test_a_first_layer_that_takes_it_all(name: str) -> None:
    model, x = STRAIGHT[name]
    with untouched(model, x), Passes(model, (x,), len(x), target=0) as passes:
        layer = affine_first_layer(passes, (x,), torch.zeros_like(x[:1]), 10)
        assert isinstance(layer, FirstLayer)
        behind, expected = passes.function(layer(x)), model(x)
        h = torch.randn(2, *layer(x).shape, generator=G, dtype=x.dtype)
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            y = layer(leaf)
        back = torch.stack([torch.autograd.grad(y, leaf, g, retain_graph=True)[0] for g in h])
        torch.testing.assert_close(layer.back(h), back)
    expected = expected["logits"] if isinstance(expected, dict) else expected
    torch.testing.assert_close(behind, expected.detach())


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", NOT)
def test_an_input_that_goes_elsewhere(name: str) -> None:
    model, x = NOT[name]
    with untouched(model, x), Passes(model, (x,), len(x), target=0) as passes:
        assert affine_first_layer(passes, (x,), torch.zeros_like(x[:1]), 10) is None
        torch.testing.assert_close(passes.function(x), model(x).detach())


@pytest.mark.parametrize(("features", "expected"), [(511, False), (512, True)])
def test_only_wide_layers_are_worth_it(features: int, expected: bool) -> None:
    model = made(lambda: nn.Sequential(nn.Linear(features, 3), nn.Tanh()))
    x = torch.randn(2, features, generator=G, dtype=torch.float64)
    with Passes(model, (x,), 2, target=0) as passes:
        layer = affine_first_layer(passes, (x,), x[:1], room.ENOUGH)
        assert (layer is not None) is expected
        assert affine_first_layer(passes, (x,), x[:1], room.ENOUGH - 1) is None  # nor is it for few rows


@pytest.mark.usefixtures("small")
def test_what_is_left_as_it_is() -> None:
    widening, two = STRAIGHT["widening"][0], one_layer(lambda m, x: m.layer(x))
    with Passes(widening, (X,), 3, target=0) as passes:
        assert (
            affine_first_layer(passes, (X,), X[:1], 10, wide_rows=True) is None
        )  # sums wider than the result
        assert affine_first_layer(passes, (X,), X[:1], 10) is not None
    two = Of(lambda m, x: m.layer(x), layer=nn.Linear(6, 3).double())
    two.forward = lambda a, b: two.layer(a) + b[:, :3]
    with Passes(two, (X, X), 3, target=0) as passes:
        assert affine_first_layer(passes, (X, X), X[:1], 10) is None


@pytest.mark.usefixtures("small")
def test_other_threads_see_the_model_as_it_is() -> None:
    """The hooks are on the layer for the length of a call: a call from elsewhere at that time is left alone."""
    inside, seen = threading.Event(), threading.Event()
    results: list[Tensor] = []

    def run(m: Any, x: Tensor) -> Tensor:
        h = m.layer(x).tanh()
        if bool(x.isnan().any()) and not seen.is_set():
            inside.set()
            assert seen.wait(20)
        return h

    model = one_layer(run)

    def other() -> None:
        assert inside.wait(20)
        results.append(model(X).detach())
        seen.set()

    thread = threading.Thread(target=other)
    thread.start()
    with untouched(model, X):
        found = integrated_gradients(model, X, target=0, n_steps=12)
    thread.join()
    torch.testing.assert_close(results[0], model.layer(X).tanh().detach())
    torch.testing.assert_close(found, by_definition(model, X, 0.0 * X, 12), rtol=1e-9, atol=1e-10)


def by_definition(model: Any, x: Tensor, x0: Tensor, steps: int, target: int = 0) -> Tensor:
    """Integrated gradients step by step with plain autograd."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        leaf = (x0 + node * (x - x0)).requires_grad_()
        y = model(leaf)
        y = y["logits"] if isinstance(y, dict) else y
        total += weight * torch.autograd.grad(y[:, target].sum(), leaf)[0]
    return total * (x - x0)


EXPLAINED = STRAIGHT | {k: v for k, v in NOT.items() if k != "places"}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("batch_size", [1, 4, "auto"])
@pytest.mark.parametrize("rtol", [None, 1e-3])
@pytest.mark.parametrize("name", EXPLAINED)
def test_taken_apart_or_not_the_attributions_are_those_of_the_path(
    name: str, rtol: float | None, batch_size: int | str
) -> None:
    model, x = EXPLAINED[name]
    x0 = 0.3 * torch.ones_like(x)
    found = integrated_gradients.explain(
        model, x, target=1, baselines=x0, n_steps=17, rtol=rtol, batch_size=batch_size
    )
    if rtol is not None:
        jumps = ("where", "hidden in a comparison", "only far from zero")
        assert name in jumps or bool((found.delta.abs() < 0.1).all())
        return
    torch.testing.assert_close(found.attribution, by_definition(model, x, x0, 17, 1), rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("small")
def test_the_first_layer_really_runs_once_per_sample(rows_of: dict[int, list[int]]) -> None:
    model = made(mlp)
    integrated_gradients(model, X, target=0, n_steps=100)
    first, last = (sum(rows_of[id(model[k])]) for k in (0, 2))
    assert first <= 2 + 3 + 1 + 2 * 4 + 2 * 3  # the trial, the scores, the proof, and both ends of the paths
    assert last >= 3 * 100


@pytest.mark.usefixtures("small")
def test_several_targets_and_baselines_behind_the_first_layer() -> None:
    model = STRAIGHT["mlp"][0]
    x0 = torch.randn(3, 6, generator=G, dtype=torch.float64)
    together = integrated_gradients(model, X, targets="all", baselines=x0, n_steps=9, batch_size=4)
    for k in range(3):
        torch.testing.assert_close(together[k], by_definition(model, X, x0, 9, k), rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------ random draws

SAMPLES = torch.randn(3, 2, 4, generator=G, dtype=torch.float64)
POOL = torch.randn(5, 2, 4, generator=G, dtype=torch.float64)
COUNT = 7


def flat(*parts: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), *(p() for p in parts)).double().eval()


def narrowing() -> nn.Module:
    return flat(lambda: nn.Linear(8, 5), nn.Tanh, lambda: nn.Linear(5, 3))


MODELS = {
    "narrowing": narrowing(),
    "widening": flat(lambda: nn.Linear(8, 9), nn.Tanh, lambda: nn.Linear(9, 3)),
    "not straight": flat(nn.Tanh, lambda: nn.Linear(8, 3), nn.Sigmoid),
}


def over_draws(model: Any, points: Any, target: int, product: Any = lambda g: g) -> Tensor:
    """The definition: one draw after the other, plain autograd."""
    i, gradients = torch.arange(len(SAMPLES)), []
    for k in range(COUNT):
        leaf = points(i, torch.full_like(i, k))[0].requires_grad_()
        gradients.append(product(torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]))
    return torch.stack(gradients)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("name", MODELS)
def test_smooth_grad(name: str, batch_size: int) -> None:
    model, noisy = MODELS[name], Noise((SAMPLES,), spread((SAMPLES,), 0.3, 0.0), 5, CPU, antithetic=True)
    with untouched(model, SAMPLES):
        found = smooth_grad(
            model, SAMPLES, stdevs=0.3, n_samples=COUNT, seed=5, targets="all", batch_size=batch_size
        )
    for target in range(3):
        expected = over_draws(model, noisy.points, target).mean(0)
        torch.testing.assert_close(found[target], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("multiply", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_shap(name: str, batch_size: int, multiply: bool) -> None:
    model = MODELS[name]
    draws = Draws(Noise((SAMPLES,), spread((SAMPLES,), 0.0, 0.0), 5, CPU), (POOL[None],), COUNT)
    with untouched(model, (SAMPLES, POOL)):
        found = gradient_shap.explain(
            model, SAMPLES, baselines=POOL, n_samples=COUNT, seed=5, targets="all", batch_size=batch_size,
            multiply_by_inputs=multiply,
        )  # fmt: skip
    for target in range(3):
        product = (lambda g: draws.products((g[None],))[0][0]) if multiply else (lambda g: g)
        rows = over_draws(model, draws.points, target, product)
        torch.testing.assert_close(found.attribution[target], rows.mean(0), rtol=1e-10, atol=1e-12)
        order, counted = draws.differences()
        mask = counted(range(len(SAMPLES))).T.reshape(-1, len(SAMPLES), *[1] * (rows.ndim - 2))
        squares = (rows.diff(n=order, dim=0).square() * mask).sum(0) / mask.sum(0)
        error = (squares / {1: 2, 2: 6}[order] / COUNT).sqrt()
        torch.testing.assert_close(found.standard_error[target], error, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("pool", [POOL, POOL[:, :, :1], POOL[:1]])
def test_points_and_products_behind_the_layer_are_those_before_it(pool: Tensor) -> None:
    model, noisy = MODELS["narrowing"], Noise((SAMPLES,), spread((SAMPLES,), 0.0, 0.0), 0, CPU)
    layer = FirstLayer(model, model[1], SAMPLES.shape[1:])
    before, behind = Draws(noisy, (pool[None],), 4), DrawsBehind(noisy, (pool[None],), 4, layer, 2)
    i, k = torch.tensor([0, 0, 2]), torch.tensor([1, 2, 1])
    (rows,), (hidden,) = before.points(i, k), behind.points(i, k)
    torch.testing.assert_close(hidden, model[1](rows.flatten(1)))
    h = torch.randn(2, 3, 5, generator=G, dtype=torch.float64)
    gradients = behind.at_input((h,))
    torch.testing.assert_close(gradients[0], (h @ model[1].weight).view(2, 3, 2, 4))
    expected = before.products(tuple(g.clone() for g in gradients))
    torch.testing.assert_close(behind.products(gradients)[0], expected[0])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("stdevs", "rows"),
    [
        (0.0, [2, 3, 5, 4, 4, 3, 5]),  # trial, scores, baselines, twice the proof, both ends of the lines
        (0.1, [2, 3, 5, 150]),  # points with noise are no lines
    ],
)
def test_gradient_shap_runs_the_layer_once_per_input_and_baseline(
    rows_of: dict[int, list[int]], stdevs: float, rows: list[int]
) -> None:
    model = narrowing()
    gradient_shap(model, SAMPLES, baselines=POOL, n_samples=50, target=0, stdevs=stdevs)
    assert [n for n in rows_of[id(model[1])] if n] == rows


@pytest.mark.usefixtures("small")
def test_few_draws_are_not_worth_it(rows_of: dict[int, list[int]]) -> None:
    model = narrowing()
    smooth_grad(model, SAMPLES, n_samples=1, target=0, stdevs=0.1)
    assert rows_of[id(model[1])] == [2, 3, 3]  # the trial, the scores, the draws


@pytest.mark.usefixtures("small")
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
        torch.func.grad(lambda x, f=f: (call(f, x, **options) ** 2).sum())(SAMPLES)
        for f in (model, lambda x: model(x + 0.0 * x.flip(1)))
    )
    torch.testing.assert_close(left, right)
    assert bool(left.any())
