"""Attributions under `torch.func`: their derivatives with respect to the inputs are right, not zero."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vjp

from attrib.functional import grad_cam, gradient_shap, noise_tunnel, saliency, smooth_grad
from attrib.testing import specimen
from tests.cases import CASES, Case, each

DRAWN = (
    "smooth_grad",
    "gradient_shap",
    "noise_tunnel",
    "shapley_values-sampled",
    "shapley_values-rtol",
)  # draws hang on the input's values: no difference quotient
STEP = 1e-5


def attribution(case: Case, s: Any) -> Any:
    options = {"target": s.target, **case.baselines(s)}
    return lambda *xs: each(case.bound()(s.f, xs if len(xs) > 1 else xs[0], **options))


@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith(DRAWN)])
def test_derivatives_are_those_of_difference_quotients(name: str) -> None:
    case = CASES[name]
    kind = "two_inputs" if name == "saliency-signed" else "mlp" if "mlp" in case.kinds else "sequence"
    s = specimen(kind, seed=3, dtype=torch.float64, baselines="one")
    f, xs = attribution(case, s), each(s.x)
    generator = torch.Generator().manual_seed(0)
    random = lambda t: torch.randn(t.shape, generator=generator, dtype=t.dtype)
    weights, direction = [random(a) for a in f(*xs)], [random(x) for x in xs]

    def moved(by: float) -> Tensor:
        found = f(*(x + by * d for x, d in zip(xs, direction, strict=True)))
        return sum((a * w).sum() for a, w in zip(found, weights, strict=True))  # type: ignore[return-value]

    gradient = [g.detach() for g in vjp(f, *xs)[1](tuple(weights))]
    found = float(sum((g * d).sum() for g, d in zip(gradient, direction, strict=True)))
    expected = float(moved(STEP) - moved(-STEP)) / (2 * STEP)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_chunks_and_many_targets() -> None:
    s = specimen("mlp", seed=1, n=7, dtype=torch.float64)
    loss = lambda x, **how: saliency(s.f, x, targets="all", **how).square().sum()
    found = [grad(lambda x, b=b: loss(x, batch_size=b))(s.x) for b in (2, 16)]
    torch.testing.assert_close(*found)
    assert found[0].any()


def test_draws_are_held() -> None:
    """The gradient of x^2 at x + noise is 2 (x + noise): its derivative is 2, whatever the noise."""
    x = torch.tensor([[0.5, -1.0], [2.0, 0.25]])
    square = lambda x: (x**2).sum(1)
    found = grad(lambda x: smooth_grad(square, x, n_samples=3, stdevs=0.1).sum())(x)
    torch.testing.assert_close(found, torch.full_like(x, 2.0))
    signed = functools.partial(saliency, absolute=False)
    found = grad(lambda x: noise_tunnel(signed, square, x, n_samples=3, stdevs=0.1).sum())(x)
    torch.testing.assert_close(found, torch.full_like(x, 2.0))


def test_mixing_weights_are_held() -> None:
    """The gradient of x^2 at a x, averaged over draws of a, is 2 mean(a) x: its derivative is the attribution over x."""
    x = torch.tensor([[0.5, -1.0], [2.0, 0.25]])
    options = {"baselines": torch.zeros(1, 2), "n_samples": 5, "multiply_by_inputs": False}
    shap = lambda x: gradient_shap(lambda x: (x**2).sum(1), x, **options)
    torch.testing.assert_close(grad(lambda x: shap(x).sum())(x), shap(x) / x)


def test_what_cannot_be_differentiated_again_says_so() -> None:
    s = specimen("lstm", dtype=torch.float64)
    with pytest.raises(NotImplementedError, match="differentiated again"):
        grad(lambda x: saliency(s.f, x, target=0, engine="autograd").sum())(s.x)
    s = specimen("cnn", dtype=torch.float64)
    with pytest.raises(NotImplementedError, match="differentiated again"):
        grad(lambda x: grad_cam(s.f, x, target=0, layer="0").sum())(s.x)
