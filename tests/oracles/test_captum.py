"""captum as an oracle: equal to 1e-5 where it computes the same."""

import warnings
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

from attrib.engine.inputs import as_distribution
from attrib.engine.sampling.perturbations import Draws, Noise, normal, sample_keys, stdevs_of
from attrib.functional import gradient_shap, input_x_gradient, integrated_gradients, saliency, smooth_grad
from attrib.testing import specimen

if find_spec("captum") is None:
    pytest.skip("captum is in the optional extra `oracles`", allow_module_level=True)

with warnings.catch_warnings():  # captum's own, on import
    warnings.simplefilter("ignore")
    from captum.attr import InputXGradient, IntegratedGradients, Saliency

pytestmark = pytest.mark.filterwarnings("ignore")

KINDS = ("mlp", "cnn", "attention", "two_inputs", "number", "sequence")
RULES = ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")
kinds = pytest.mark.parametrize("kind", KINDS)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def each(x: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return x if isinstance(x, tuple) else (x,)


def equal(found: Tensor | tuple[Tensor, ...], expected: Tensor | tuple[Tensor, ...]) -> None:
    for a, b in zip(each(found), each(expected), strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= 1e-5 * float(b.abs().max())


@dtypes
@kinds
def test_saliency(kind: str, dtype: torch.dtype) -> None:
    s = specimen(kind, 1, dtype=dtype, target="each")
    for absolute in (True, False):
        expected = Saliency(s.f).attribute(s.x, target=s.target, abs=absolute)
        equal(saliency(s.f, s.x, target=s.target, absolute=absolute), expected)


@dtypes
@kinds
def test_input_x_gradient(kind: str, dtype: torch.dtype) -> None:
    s = specimen(kind, 2, dtype=dtype)
    equal(input_x_gradient(s.f, s.x, target=s.target), InputXGradient(s.f).attribute(s.x, target=s.target))


@pytest.mark.parametrize("rule", RULES)
@dtypes
@kinds
def test_integrated_gradients_and_the_sign_of_delta(kind: str, dtype: torch.dtype, rule: str) -> None:
    s = specimen(kind, 3, dtype=dtype, baselines="each", target="each")
    expected, delta = IntegratedGradients(s.f).attribute(
        s.x, s.baselines, target=s.target, n_steps=11, method=rule, return_convergence_delta=True
    )
    found = integrated_gradients.explain(
        s.f, s.x, baselines=s.baselines, target=s.target, n_steps=11, quadrature=rule
    )
    equal(found.attribution, expected)
    scale = float(found.prediction.abs().max())
    assert float((found.delta - delta).abs().max()) <= 1e-5 * scale


@kinds
def test_integrated_gradients_without_the_inputs(kind: str) -> None:
    s = specimen(kind, 4, dtype=torch.float64, baselines="one")
    expected = IntegratedGradients(s.f, multiply_by_inputs=False).attribute(
        s.x, s.baselines, target=s.target, n_steps=9
    )
    found = integrated_gradients(
        s.f, s.x, baselines=s.baselines, target=s.target, n_steps=9, multiply_by_inputs=False
    )
    equal(found, expected)


@pytest.mark.parametrize("stdevs", [0.0, 0.2])
@dtypes
@kinds
def test_gradient_shap_with_the_same_draws(kind: str, dtype: torch.dtype, stdevs: float) -> None:
    """captum's expected gradient at our points, averaged: draw by draw what its GradientShap computes."""
    s = specimen(kind, 5, dtype=dtype)
    xs, count = each(s.x), 7
    pool = tuple(torch.stack([0.3 * t[0], 0.1 - t[1], t[2] ** 2]) for t in xs)
    noisy = Noise(xs, stdevs_of(xs, stdevs), 11, torch.device("cpu"))
    draws = Draws(noisy, as_distribution(pool, xs), count)
    total = [torch.zeros_like(t) for t in xs]
    i = torch.arange(len(xs[0]))
    for k in range(count):
        points = draws.points(i, torch.full_like(i, k))
        grads = Saliency(s.f).attribute(points if len(points) > 1 else points[0], target=s.target, abs=False)
        products = draws.products(tuple(g[None] for g in each(grads)))
        total = [t + p[0] / count for t, p in zip(total, products, strict=True)]
    found = gradient_shap(
        s.f,
        s.x,
        baselines=pool if len(pool) > 1 else pool[0],
        target=s.target,
        n_samples=count,
        stdevs=stdevs,
        seed=11,
    )
    equal(found, tuple(total) if len(total) > 1 else total[0])


@dtypes
@kinds
def test_smooth_grad_with_the_same_draws(kind: str, dtype: torch.dtype) -> None:
    s = specimen(kind, 6, dtype=dtype, target="each")
    xs, count, sd = each(s.x), 6, 0.25
    keys = sample_keys(xs, 9)
    grads = []
    for k in range(count):
        pair, sign = torch.full((len(xs[0]),), k // 2), (-1) ** k  # the draws of a pair are opposite
        points = tuple(t + sign * sd * normal(keys, pair, j, t.shape[1:], dtype) for j, t in enumerate(xs))
        grads.append(
            each(
                Saliency(s.f).attribute(points if len(points) > 1 else points[0], target=s.target, abs=False)
            )
        )
    stacked = [torch.stack(g) for g in zip(*grads, strict=True)]
    for reduce, expected in (
        ("mean", [g.mean(0) for g in stacked]),
        ("square", [(g**2).mean(0) for g in stacked]),
        ("variance", [g.var(0, correction=0) for g in stacked]),
    ):
        found = smooth_grad(
            s.f, s.x, target=s.target, stdevs=sd, n_samples=count, seed=9, reduce=reduce, batch_size=4
        )
        equal(found, tuple(expected) if len(expected) > 1 else expected[0])


def test_all_classes_are_captums_one_by_one() -> None:
    model = nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 5)).double()
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = integrated_gradients(model, x, targets="all", n_steps=13)
    for k in range(5):
        equal(found[k], IntegratedGradients(model).attribute(x, target=k, n_steps=13))
