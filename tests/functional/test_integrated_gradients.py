"""Integrated gradients against closed forms."""

import pytest
import torch
from torch import Tensor, nn

from attrib.functional import integrated_gradients, interaction
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
    assert set(found.n_steps.tolist()) <= {5, 9, 17, 33, 65, 129, 257, 513, 1025}


def test_rtol_takes_as_many_steps_as_each_sample_needs() -> None:
    x = torch.tensor([[0.01], [30.0]], dtype=torch.float64)
    found = integrated_gradients.explain(lambda x: torch.tanh(x[:, 0]), x, rtol=1e-6)
    assert found.n_steps[0] == 5
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


@pytest.mark.parametrize("multiply", [True, False])
def test_rtol_is_a_promise_for_each_entry(multiply: bool) -> None:
    """Errors of the two entries cancel in the sum, which is right with any rule."""
    w = torch.tensor([1.0, -1.0], dtype=torch.float64)
    x = torch.full((1, 2), 4.0, dtype=torch.float64)
    found = integrated_gradients.explain(lambda x: x.exp() @ w, x, rtol=1e-6, multiply_by_inputs=multiply)
    expected = (x.exp() - 1) * w
    torch.testing.assert_close(found.attribution, expected if multiply else expected / x, rtol=1e-6, atol=0)
    assert 9 <= found.n_steps[0] <= 17


def test_gradients_of_what_does_not_change_are_refined_too() -> None:
    """The second input is at its baseline: its attribution is zero, its average gradient is not."""
    x, x0 = torch.tensor([[6.0, 1.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    f = lambda x: x[:, 0] + (5 * x[:, 0]).cos() * (x[:, 1] - 1)
    product, gradient = (
        integrated_gradients.explain(f, x, baselines=x0, rtol=1e-8, multiply_by_inputs=m)
        for m in (True, False)
    )
    assert product.n_steps.tolist() == [5]
    assert gradient.n_steps[0] > 17
    torch.testing.assert_close(gradient.attribution[:, 1], (5 * x[:, 0]).sin() / 30, rtol=0, atol=1e-8)


@pytest.mark.parametrize("act", [nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid])
def test_smooth_networks_take_few_points(act: type[nn.Module]) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 64), act(), nn.Linear(64, 64), act(), nn.Linear(64, 2)).eval()
    x = 2 * torch.randn(8, 20)
    found = integrated_gradients.explain(net, x, target=1, rtol=1e-3)
    exact = integrated_gradients(net, x, target=1, n_steps=300)
    assert int(found.n_steps.max()) <= 33
    assert found.notes is None
    error = (found.attribution - exact).abs().amax(1) / exact.abs().amax(1)
    assert float(error.max()) < 1e-3


def test_a_sum_that_misses_a_tenth_of_the_change_is_told() -> None:
    def steep(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(50 * x[:, 0]) + x[:, 1]

    x = torch.tensor([[1.0, 0.5], [0.0, 1.0], [0.02, 3.0]])
    notes = integrated_gradients.explain(steep, x, n_steps=3).notes
    assert str((notes or {})["completeness"]).startswith(
        "1 of 3 samples: delta is more than a tenth of the change"
    )
    assert "rtol=1e-3" in str((notes or {})["completeness"])
    pair = (x[:, :1], x[:, 1:])
    alone = interaction.explain(lambda a, b: torch.tanh(50 * a * b)[:, 0], pair, n_steps=2).notes
    assert "2 of 3 samples" in str((alone or {})["completeness"])
    for better in ({"n_steps": 100}, {"rtol": 1e-3}):
        assert integrated_gradients.explain(steep, x, **better).notes is None  # type: ignore[arg-type]


def test_kinks_say_what_they_reached() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)).eval()
    x = torch.randn(4, 20)
    found = integrated_gradients.explain(net, x, rtol=1e-5, max_steps=100)
    assert found.n_steps.tolist() == [65] * 4
    assert found.notes is not None
    said = str(found.notes["rtol"])
    assert said.startswith("4 of 4 samples did not reach rtol=1e-05 with 65 points: ")
    exact = integrated_gradients(net, x, n_steps=4000)
    error = float(((found.attribution - exact).abs().amax(1) / exact.abs().amax(1)).max())
    assert error < float(said.rsplit(" ", 1)[1]) < 30 * error


@pytest.mark.parametrize("most", [4, True, 65.0])
def test_wrong_max_steps(most: object) -> None:
    with pytest.raises(ValueError, match=r"`max_steps` is .*, expected an int, at least 5"):
        integrated_gradients(product, X, rtol=1e-3, max_steps=most)  # type: ignore[arg-type]


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
    assert found.n_steps.tolist() == [5, 5]


def test_evaluations_are_counted() -> None:
    found = integrated_gradients.explain(lambda x: product(x.sin()), X, n_steps=20)
    assert found.evaluations == 2 + 1 + 2 * 20


def test_a_score_that_is_infinite_at_the_baseline_names_the_baseline() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(ValueError, match=r"at `baselines` for 2 of 2 samples: 0, 1; choose baselines"):
        integrated_gradients(lambda x: x.log().sum(1), x)
    with pytest.raises(ValueError, match="at `baselines` for 1 of 2 samples: 1"):
        integrated_gradients(lambda x: x.log().sum(1), x, baselines=torch.tensor([[1.0, 1.0], [0.0, 1.0]]))


def test_rounding_of_the_score_is_no_missed_sum() -> None:
    """5.0000005 is the next but one number after 5: the change is off by a fifth, and points would not help."""
    x = torch.ones(1, 3)
    explained = integrated_gradients.explain(lambda x: 5 + 2e-7 * x.sum(1), x, n_steps=3)
    assert float(explained.delta.abs().max()) > 1e-8  # type: ignore[union-attr]
    assert "completeness" not in (explained.notes or {})
