"""SmoothGrad, noise tunnel and GradientSHAP against their definitions."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from attrib.engine.sampling.perturbations import normal, sample_keys
from attrib.functional import (
    deep_lift_shap,
    feature_ablation,
    gradient_shap,
    integrated_gradients,
    noise_tunnel,
    saliency,
    smooth_grad,
)


def squares(x: Tensor) -> Tensor:
    return (x**2).sum(1)


@pytest.mark.parametrize("shape", [(2000,), (2000, 1)])
def test_noise_on_samples_that_are_single_numbers(shape: tuple[int, ...]) -> None:
    x = torch.linspace(2.9, 3.1, 2000, dtype=torch.float64).reshape(shape)  # equal samples have equal noise

    def f(x: Tensor) -> Tensor:
        return x.reshape(-1) ** 3

    for run in (smooth_grad, partial(noise_tunnel, saliency)):
        mean = run(f, x, stdevs=0.5, n_samples=10).mean()  # E[3 (x + s e)^2] = 3 (x^2 + s^2)
        assert float(mean) == pytest.approx(3 * (9 + 0.25), rel=0.01)
        with pytest.raises(ValueError, match="pass `stdevs`"):
            run(f, x)
    paths = gradient_shap(f, x, baselines=x[:1] * 0, stdevs=0.5, n_samples=20)
    assert float(paths.mean()) == pytest.approx(27 + 3 * 3 * 0.25, rel=0.02)  # E[(x + s e)^3]


@pytest.mark.parametrize("n", [1, 2])
def test_without_noise_the_average_is_the_gradient(n: int) -> None:
    x = torch.ones(n, 3)
    assert torch.equal(smooth_grad(squares, x, stdevs=0.0), 2 * x)
    assert torch.equal(noise_tunnel(saliency, squares, x, stdevs=0.0), 2 * x)
    assert torch.equal(smooth_grad(squares, x), 2 * x)  # a constant sample has no range


def cubes(x: Tensor) -> Tensor:
    return (x**3).sum(1)


X = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)


@pytest.mark.parametrize("stdevs", [0.1, 0.5])
def test_smooth_grad_of_a_cubic(stdevs: float) -> None:
    """E of 3 (x + s e)^2 is 3 (x^2 + s^2), its variance 9 (4 x^2 s^2 + 2 s^4)."""
    n = 4000
    variance = 9 * (4 * X**2 * stdevs**2 + 2 * stdevs**4)
    found = smooth_grad(cubes, X, stdevs=stdevs, n_samples=n)
    assert bool(((found - 3 * (X**2 + stdevs**2)).abs() < 4.5 * (variance / n).sqrt()).all())
    spread = smooth_grad(cubes, X, stdevs=stdevs, n_samples=n, reduce="variance")
    assert bool(((spread / variance - 1).abs() < 0.25).all())


def test_squares_only_when_asked() -> None:
    """MONAI's SmoothGrad squares silently and divides by n outside of the root."""
    signed = smooth_grad(squares, X, stdevs=0.1, n_samples=50)
    assert bool((signed < 0).any())
    mean, square, variance = (
        smooth_grad(squares, X, stdevs=0.1, n_samples=50, reduce=r) for r in ("mean", "square", "variance")
    )
    torch.testing.assert_close(variance, square - mean**2)
    assert bool((square >= 0).all())


def test_the_spread_is_a_share_of_each_samples_range() -> None:
    x = torch.tensor([[0.0, 1.0], [0.0, 10.0]], dtype=torch.float64)
    found = smooth_grad(squares, x, stdev_spread=0.2, n_samples=4000, reduce="variance")
    torch.testing.assert_close(
        found.mean(1), torch.tensor([0.2**2 * 4, 2.0**2 * 4]).double(), rtol=0.1, atol=0
    )


def test_seeds() -> None:
    one = smooth_grad(cubes, X, seed=1)
    assert torch.equal(smooth_grad(cubes, X, seed=1), one)
    assert not torch.equal(smooth_grad(cubes, X, seed=2), one)


def test_the_first_draws_of_a_longer_run_are_those_of_a_shorter_one() -> None:
    few, many = (smooth_grad(cubes, X, n_samples=n, stdevs=0.2, seed=3) * n for n in (4, 5))
    draw = normal(sample_keys((X,), 3), torch.full((3,), 2), 0, X.shape[1:], X.dtype)  # of the third pair
    torch.testing.assert_close(many - few, 3 * (X + 0.2 * draw) ** 2)


def test_noise_comes_in_antithetic_pairs() -> None:
    """What is odd in the noise cancels in a pair: the gradient of a quadratic function is exact."""
    found = smooth_grad(squares, X, n_samples=6, stdevs=0.5)
    torch.testing.assert_close(found, 2 * X, rtol=1e-14, atol=1e-14)
    tunnel = noise_tunnel(
        partial(saliency, absolute=False), squares, X, n_samples=2, stdevs=0.5, batch_size=1
    )
    torch.testing.assert_close(tunnel, 2 * X, rtol=1e-14, atol=1e-14)
    assert not torch.allclose(smooth_grad(squares, X, n_samples=3, stdevs=0.5), 2 * X)


def test_a_tunnel_around_the_gradient_is_smooth_grad() -> None:
    options = {"stdevs": 0.3, "n_samples": 7, "seed": 5}
    for reduce in ("mean", "square", "variance"):
        expected = smooth_grad(cubes, X, reduce=reduce, **options)
        found = noise_tunnel(partial(saliency, absolute=False), cubes, X, reduce=reduce, **options)
        torch.testing.assert_close(found, expected)


def test_a_tunnel_around_a_function_of_ones_own() -> None:
    def own(f: Any, x: Tensor, *, targets: Any, batch_size: Any, device: Any, engine: str) -> Tensor:
        return 2 * x[None]

    found = noise_tunnel.explain(own, cubes, X, stdevs=0.0)
    torch.testing.assert_close(found.attribution, 2 * X)


@pytest.mark.parametrize("batch_size", ["auto", 1, 3, 6])
def test_a_tunnel_keeps_baselines_with_their_samples(batch_size: Any) -> None:
    for method, own in (
        (integrated_gradients, X.flip(0)),
        (gradient_shap, X.flip(0)[:, None].expand(3, 3, 4)),
    ):
        inner = partial(method, baselines=own)
        found = noise_tunnel(inner, cubes, X, stdevs=0.0, n_samples=3, batch_size=batch_size)
        torch.testing.assert_close(found, inner(cubes, X))
    shared = partial(
        gradient_shap, baselines=X
    )  # a distribution for all, with as many members as there are samples
    found = noise_tunnel(shared, cubes, X, stdevs=0.0, n_samples=2, batch_size=batch_size)
    torch.testing.assert_close(found, shared(cubes, X))


def test_what_a_tunnel_costs() -> None:
    found = noise_tunnel.explain(saliency, cubes, X, n_samples=5)
    assert found.evaluations == 3 + 3 * 5
    assert found.engine == "func"


def test_gradient_shap_of_a_product() -> None:
    """From zero to x: (x_i) E of u x_j is x_i x_j / 2; in a stratum of n, u has the variance 1 / (12 n^2)."""
    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    n = 4000
    found = gradient_shap.explain(
        lambda x: x[:, 0] * x[:, 1], x, baselines=torch.zeros(1, 2).double(), n_samples=n
    )
    error = 6 / 12**0.5 / n**1.5
    assert bool(((found.attribution - 3).abs() < 4 * error).all())
    torch.testing.assert_close(found.standard_error, torch.full_like(x, error), rtol=0.05, atol=0)
    torch.testing.assert_close(found.delta, found.attribution.sum(1) - 6)


def test_gradient_shap_of_a_linear_model_with_one_baseline_is_exact() -> None:
    w = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    x0 = torch.tensor([[1.0, 0.0, -1.0, 2.0]], dtype=torch.float64)
    found = gradient_shap.explain(lambda x: x @ w, X, baselines=x0, n_samples=3)
    torch.testing.assert_close(found.attribution, (X - x0) * w)
    torch.testing.assert_close(found.delta, torch.zeros(3).double(), atol=1e-12, rtol=0)
    without = gradient_shap(lambda x: x @ w, X, baselines=x0, n_samples=3, multiply_by_inputs=False)
    torch.testing.assert_close(without, w.expand(3, 4))


def test_gradient_shap_has_all_baselines_in_balance_and_measures_against_their_mean() -> None:
    """On a linear model draws differ by their baseline alone, so that balance makes the mean exact."""
    w = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    pool = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = gradient_shap.explain(lambda x: x @ w, X, baselines=pool, n_samples=18)
    torch.testing.assert_close(found.attribution, (X - pool.mean(0)) * w)
    torch.testing.assert_close(found.standard_error, torch.zeros(3, 4).double())
    torch.testing.assert_close(found.delta, torch.zeros(3).double(), atol=1e-12, rtol=0)
    few = gradient_shap.explain(lambda x: x @ w, X, baselines=pool, n_samples=4)
    torch.testing.assert_close(few.delta, few.attribution.sum(1) - (X @ w - (pool @ w).mean()))
    assert bool((few.standard_error > 0).all())


class Counts(torch.autograd.Function):
    """The gradient of a point is one: what remains is how often each baseline was drawn."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sum(1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.shape = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g[:, None].expand(ctx.shape)


@pytest.mark.parametrize(("count", "size"), [(1, 5), (3, 5), (5, 5), (8, 5), (50, 10), (7, 1)])
def test_every_baseline_is_drawn_as_often_as_the_others(count: int, size: int) -> None:
    pool = torch.eye(size, dtype=torch.float64)
    x = torch.randn(4, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = (x - gradient_shap(Counts.apply, x, baselines=pool, n_samples=count)) * count
    torch.testing.assert_close(drawn, drawn.round())
    assert bool((drawn.sum(1).round() == count).all())
    assert bool((drawn.amax(1) - drawn.amin(1) <= 1 + 1e-9).all())


@pytest.mark.parametrize("size", [1, 5])
def test_draws_are_in_strata(size: int) -> None:
    count, x = 20, torch.zeros(1, size + 1, dtype=torch.float64)
    pool = torch.cat(
        [torch.eye(size), torch.ones(size, 1)], 1
    ).double()  # the last feature falls from one to zero
    places: list[Tensor] = []

    def f(rows: Tensor) -> Tensor:
        places.append(rows.detach())
        return rows.sum(1)

    gradient_shap(f, x, baselines=pool, n_samples=count, batch_size=7)
    rows = torch.cat(places)
    rows = rows[(rows[:, -1] > 0) & (rows[:, -1] < 1)].unique(dim=0)
    place, baseline = 1 - rows[:, -1], rows[:, :-1].argmax(1)
    assert (place * count).floor().sort().values.tolist() == list(range(count))
    for b in range(size):
        own = (place[baseline == b] * count / size).floor().sort().values
        assert own.tolist() == list(range(count // size))


def test_the_mean_over_seeds_has_no_bias() -> None:
    pool = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = X[:1]
    expected = torch.stack([integrated_gradients(cubes, x, baselines=b[None], n_steps=5) for b in pool]).mean(
        0
    )
    for count in (2, 4):  # more baselines than draws, and one draw more than baselines
        each = torch.stack(
            [gradient_shap(cubes, x, baselines=pool, n_samples=count, seed=s) for s in range(300)]
        )
        error = each.std(0) / 300**0.5
        assert bool(((each.mean(0) - expected).abs() < 4.5 * error).all())


@pytest.mark.parametrize(("count", "size", "least", "most"), [(24, 1, 0.85, 1.3), (24, 4, 0.85, 2.3), (8, 4, 0.9, 4.0), (4, 4, 0.9, 8.0)])  # fmt: skip
def test_the_standard_error_is_that_of_other_seeds(count: int, size: int, least: float, most: float) -> None:
    """Root mean square over entries: close where a baseline has three draws or more, else an upper bound."""
    torch.manual_seed(0)
    w, v = torch.randn(4, 16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
    pool, x = torch.randn(size, 4, dtype=torch.float64), 1.5 * torch.ones(1, 4, dtype=torch.float64)
    runs = [
        gradient_shap.explain(lambda t: (t @ w).sigmoid() @ v, x, baselines=pool, n_samples=count, seed=s)
        for s in range(200)
    ]
    spread = torch.stack([r.attribution for r in runs]).var(0).mean().sqrt()
    told = torch.stack([r.standard_error for r in runs]).square().mean().sqrt()
    assert least < float(told / spread) < most


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 20, 64])
def test_draws_and_errors_do_not_depend_on_chunks(batch_size: int) -> None:
    pool = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = gradient_shap.explain(cubes, X, baselines=pool, n_samples=10)
    found = gradient_shap.explain(cubes, X, baselines=pool, n_samples=10, batch_size=batch_size)
    torch.testing.assert_close(found.attribution, expected.attribution, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(found.standard_error, expected.standard_error, rtol=1e-10, atol=1e-14)
    alone = gradient_shap.explain(cubes, X[1:2], baselines=pool, n_samples=10, batch_size=batch_size)
    torch.testing.assert_close(alone.standard_error, expected.standard_error[1:2], rtol=1e-10, atol=1e-14)


def test_gradient_shap_with_a_distribution_for_each_sample() -> None:
    w = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    own = X[:, None].expand(3, 2, 4)
    assert not gradient_shap(lambda x: x @ w, X, baselines=own, n_samples=3).any()


@pytest.mark.parametrize("method", [partial(gradient_shap, n_samples=6), deep_lift_shap])
def test_one_input_shares_its_distribution_and_another_has_its_own(method: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, shared = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 4, 5))
    own = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    f = lambda a, b: (a * b).sum(1)
    found = method(f, (a, b), baselines=(shared, own))
    for one, other in zip(found, method(f, (a, b), baselines=(shared.expand(4, 5, 3), own)), strict=True):
        torch.testing.assert_close(one, other)


def test_baselines_of_several_inputs_are_drawn_together() -> None:
    """Baselines (b, b) with equal rows: the two inputs' differences are equal in every draw."""
    pool = torch.arange(5.0, dtype=torch.float64)[:, None]
    x = torch.full((4, 1), 9.0, dtype=torch.float64)
    a, b = gradient_shap(lambda a, b: (a + b)[:, 0], (x, x), baselines=(pool, pool), n_samples=3)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_samples": 0}, ValueError, "`n_samples` is 0"),
        ({"n_samples": 2.5}, TypeError, "`n_samples` is 2.5"),
        ({"n_samples": 10**12}, ValueError, "`n_samples` is 1,000,000,000,000, expected at most"),
        ({"stdevs": -1.0}, ValueError, "`stdevs` is -1.0"),
        ({"stdevs": (0.1, 0.1)}, ValueError, "2 entries for 1 inputs"),
        ({"stdevs": float("nan")}, ValueError, "`stdevs`"),
        ({"stdev_spread": -0.1}, ValueError, "`stdev_spread` is -0.1"),
        ({"reduce": "sum"}, ValueError, "`reduce` is 'sum', expected one of"),
        ({"seed": 1.0}, TypeError, "`seed` is 1.0"),
    ],
)
@pytest.mark.parametrize("method", [smooth_grad, partial(noise_tunnel, saliency)])
def test_wrong_options(method: Any, options: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        method(squares, X, **options)


def test_a_noise_tunnel_around_edits_which_have_no_engine() -> None:
    found = noise_tunnel(feature_ablation, cubes, X, n_samples=3)
    engine_less = noise_tunnel(partial(feature_ablation, baselines=0.0), cubes, X, n_samples=3)
    assert torch.equal(found, engine_less)
    still = noise_tunnel(feature_ablation, cubes, X, n_samples=3, stdevs=0.0)
    torch.testing.assert_close(still, X**3)  # what each feature gives to the sum
