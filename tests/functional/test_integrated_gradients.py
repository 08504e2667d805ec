"""Integrated gradients against closed forms."""

import pytest
import torch
from torch import Tensor

from attrib.functional import integrated_gradients
from attrib.testing import KINDS, specimen

X = torch.tensor([[2.0, 3.0], [-1.0, 0.5]], dtype=torch.float64)


def product(x: Tensor) -> Tensor:
    return x[:, 0] * x[:, 1]


def cubes(x: Tensor) -> Tensor:
    return (x**3).sum(1)


def test_a_product_is_shared_equally() -> None:
    torch.testing.assert_close(integrated_gradients(product, X), (product(X) / 2)[:, None].expand(2, 2))


def test_a_product_from_a_baseline() -> None:
    """The mean of the other factor along the line, times the difference."""
    x0 = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    mean = (X + x0) / 2
    expected = (X - x0) * mean.flip(1)
    for given in (x0, x0[0], x0.expand(2, 2), lambda x: x0):
        torch.testing.assert_close(integrated_gradients(product, X, baselines=given, n_steps=1), expected)


def test_a_sum_over_features_is_attributed_feature_by_feature() -> None:
    torch.testing.assert_close(integrated_gradients(cubes, X, n_steps=2), X**3)
    torch.testing.assert_close(integrated_gradients(cubes, X, n_steps=2, multiply_by_inputs=False), X**2)


@pytest.mark.parametrize(
    ("rule", "n", "factor"),
    [  # sums of a cubic's derivative 3 a^2 over the nodes, by hand
        ("riemann_left", 4, 3 * (0 + 1 + 4 + 9) / 16 / 4),
        ("riemann_right", 4, 3 * (1 + 4 + 9 + 16) / 16 / 4),
        ("riemann_middle", 4, 3 * (1 + 9 + 25 + 49) / 64 / 4),
        ("riemann_trapezoid", 4, 3 * (1 / 9 + 4 / 9 + 0.5) / 4),
        ("gausslegendre", 2, 1.0),
    ],
)
def test_each_rule_on_a_cubic(rule: str, n: int, factor: float) -> None:
    found = integrated_gradients.explain(cubes, X, n_steps=n, quadrature=rule)
    torch.testing.assert_close(found.attribution, factor * X**3)
    torch.testing.assert_close(found.delta, (factor - 1) * cubes(X))


@pytest.mark.parametrize(
    ("rule", "order"), [("riemann_left", 1), ("riemann_right", 1), ("riemann_middle", 2)]
)
def test_order_of_convergence(rule: str, order: int) -> None:
    errors = [
        float(
            integrated_gradients.explain(lambda x: x.exp().sum(1), X, n_steps=n, quadrature=rule)
            .delta.abs()
            .max()
        )
        for n in (40, 80)
    ]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.03)


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("kind", KINDS)
def test_rtol_is_reached(kind: str, rtol: float) -> None:
    s = specimen(kind, 8, n=5, dtype=torch.float64, baselines="each", target="each")
    found = integrated_gradients.explain(s.f, s.x, baselines=s.baselines, target=s.target, rtol=rtol)
    many = integrated_gradients.explain(s.f, s.x, baselines=s.baselines, target=s.target, n_steps=400)
    change = sum(
        a.flatten(1).sum(1) for a in (many.attribution if kind == "two_inputs" else (many.attribution,))
    )
    assert bool((found.delta.abs() <= rtol * change.abs() + 1e-12).all())
    assert set(found.n_steps.tolist()) <= {3, 5, 9, 17, 33, 65, 129, 257, 513, 1025}


def test_rtol_takes_as_many_steps_as_each_sample_needs() -> None:
    x = torch.tensor([[0.01], [30.0]], dtype=torch.float64)
    found = integrated_gradients.explain(lambda x: torch.tanh(x[:, 0]), x, rtol=1e-6)
    assert found.n_steps[0] == 3
    assert found.n_steps[1] > 30
    torch.testing.assert_close(found.attribution[:, 0], torch.tanh(x[:, 0]), rtol=1e-6, atol=0)
    alone = integrated_gradients.explain(lambda x: torch.tanh(x[:, 0]), x[:1], rtol=1e-6)
    assert torch.equal(alone.attribution, found.attribution[:1])


def test_what_does_not_get_there_keeps_its_residual() -> None:
    def step(x: Tensor) -> Tensor:
        return (x > 0.3).to(x) + 0 * x

    found = integrated_gradients.explain(lambda x: step(x)[:, 0], torch.ones(1, 1).double(), rtol=1e-3)
    assert found.n_steps.tolist() == [1025]
    assert found.delta.tolist() == [-1.0]


@pytest.mark.parametrize("rtol", [0, -1.0, float("nan")])
def test_wrong_rtol(rtol: float) -> None:
    with pytest.raises(ValueError, match=r"`rtol` is .*, expected a positive number"):
        integrated_gradients(product, X, rtol=rtol)


def test_the_delta_has_captums_sign() -> None:
    found = integrated_gradients.explain(cubes, X, n_steps=3, quadrature="riemann_left")
    torch.testing.assert_close(found.delta, found.attribution.sum(1) - cubes(X))


def test_a_sample_on_its_baseline_gets_zero() -> None:
    assert not integrated_gradients(product, X, baselines=X).any()
    found = integrated_gradients.explain(product, X, baselines=X, rtol=1e-3)
    assert not found.attribution.any()
    assert found.n_steps.tolist() == [3, 3]


def test_evaluations_are_counted() -> None:
    found = integrated_gradients.explain(lambda x: product(x.sin()), X, n_steps=20)
    assert found.evaluations == 2 + 1 + 2 * 20
