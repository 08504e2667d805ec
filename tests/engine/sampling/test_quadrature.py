"""Quadrature against numpy and against the integrals of monomials."""

import numpy as np
import pytest
import torch

from attrib.engine.sampling.quadrature import LEVELS, RULES, clenshaw_curtis, gauss_legendre, nested, rule


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 20, 50, 59, 60, 61, 62, 100, 101, 200, 501])
def test_gauss_legendre_is_newtons(n: int) -> None:
    """By the recurrence of the Legendre polynomials in extended precision; numpy's own weights are off by 1e-15 to 1e-14."""
    x = np.cos(np.pi * (np.arange(n, 0, -1, dtype=np.longdouble) - 0.25) / (n + 0.5))
    for _ in range(6):
        before, value = np.ones_like(x), x
        for j in range(2, n + 1):
            before, value = value, ((2 * j - 1) * x * value - (j - 1) * before) / j
        slope = n * (x * value - before) / (x**2 - 1)
        x = x - value / slope
    nodes, weights = gauss_legendre(n)
    np.testing.assert_allclose(nodes, (x + 1) / 2, rtol=0, atol=5e-16)
    np.testing.assert_allclose(weights, 1 / ((1 - x**2) * slope**2), rtol=0, atol=5e-16)
    np.testing.assert_allclose(nodes, (np.polynomial.legendre.leggauss(n)[0] + 1) / 2, rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [100, 101, 1000, 4000])
def test_gauss_legendre_of_many_nodes(n: int) -> None:
    """Each sum is right to rounding, also of a function that has a pole next to the interval."""
    nodes, weights = gauss_legendre(n)
    assert float(weights.sum()) == pytest.approx(1, abs=2e-15)
    assert float((weights * nodes.exp()).sum()) == pytest.approx(np.e - 1, abs=4e-15)
    assert float((weights / (nodes + 0.01)).sum()) == pytest.approx(np.log(101), abs=2e-14)
    for degree in (7, 40, 199):
        assert float((weights * nodes**degree).sum()) == pytest.approx(1 / (degree + 1), rel=1e-13)
    assert bool((nodes.diff() > 0).all())
    torch.testing.assert_close(nodes, 1 - nodes.flip(0), rtol=0, atol=2e-16)


def test_the_first_weight_of_a_hundred_nodes() -> None:
    """Against 40 digits (mpmath)."""
    nodes, weights = gauss_legendre(100)
    assert float(nodes[0]) == pytest.approx(0.000143136613279383161, rel=1e-15)
    assert float(weights[0]) == pytest.approx(0.000367317245252835865, rel=2e-15)


def test_rules_are_computed_once_and_belong_to_no_mode() -> None:
    gauss_legendre.cache_clear()
    with torch.inference_mode(), torch.device("meta"):
        nodes, _ = gauss_legendre(13)
    assert not nodes.is_inference()
    assert nodes.device.type == "cpu"
    assert gauss_legendre(13)[0] is nodes


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_gauss_legendre_is_exact_to_degree_2n_minus_1_and_no_further(n: int) -> None:
    nodes, weights = gauss_legendre(n)
    errors = [abs(float((weights * nodes**d).sum()) - 1 / (d + 1)) for d in range(2 * n + 1)]
    assert max(errors[:-1]) < 1e-14
    # the error of the next monomial is (n!)^4 / ((2n + 1) ((2n)!)^2)
    factorial = np.cumprod(np.arange(1.0, 2 * n + 1))
    assert errors[-1] == pytest.approx(factorial[n - 1] ** 4 / ((2 * n + 1) * factorial[-1] ** 2), rel=1e-3)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 9, 17, 33])
def test_clenshaw_curtis_is_exact_to_degree_n_minus_1(n: int) -> None:
    nodes, weights = clenshaw_curtis(n)
    degrees = n if n % 2 else n - 1  # an odd number of nodes gains a degree by symmetry
    for d in range(degrees + 1):
        assert float((weights * nodes**d).sum()) == pytest.approx(1 / (d + 1), abs=1e-14)
    if n < 10:  # beyond, the error of the next degree drowns in rounding
        assert abs(float((weights * nodes ** (degrees + 1)).sum()) - 1 / (degrees + 2)) > 1e-9
    assert float(weights.min()) > 0
    assert nodes[0] == 0
    assert nodes[-1] == 1


def test_levels_are_nested() -> None:
    seen = torch.empty(0, dtype=torch.float64)
    for level, n in enumerate(LEVELS):
        fresh, weights = nested(level)
        assert weights.shape == (len(LEVELS) - level, len(fresh))
        seen = torch.cat([seen, fresh])
        torch.testing.assert_close(seen.sort().values, clenshaw_curtis(n)[0], atol=1e-15, rtol=0)


def test_weights_of_all_levels_give_each_rule() -> None:
    f = torch.exp
    sums = torch.zeros(len(LEVELS), dtype=torch.float64)
    for level, n in enumerate(LEVELS):
        nodes, weights = nested(level)
        sums[level:] += weights @ f(nodes)
        whole = clenshaw_curtis(n)
        assert float(sums[level]) == pytest.approx(float(whole[1] @ f(whole[0])), abs=1e-14)
    assert float(sums[3]) == pytest.approx(np.e - 1, abs=1e-14)


@pytest.mark.parametrize(
    ("name", "nodes", "weights"),
    [
        ("riemann_left", [0, 0.25, 0.5, 0.75], [0.25] * 4),
        ("riemann_right", [0.25, 0.5, 0.75, 1], [0.25] * 4),
        ("riemann_middle", [0.125, 0.375, 0.625, 0.875], [0.25] * 4),
        ("riemann_trapezoid", [0, 1 / 3, 2 / 3, 1], [0.125, 0.25, 0.25, 0.125]),
    ],
)
def test_riemann_rules(name: str, nodes: list[float], weights: list[float]) -> None:
    found = rule(name, 4)
    torch.testing.assert_close(found[0], torch.tensor(nodes, dtype=torch.float64))
    torch.testing.assert_close(found[1], torch.tensor(weights, dtype=torch.float64))


@pytest.mark.parametrize("name", RULES)
def test_wrong_steps(name: str) -> None:
    with pytest.raises(ValueError, match="`n_steps` is 0, expected at least"):
        rule(name, 0)
    for wrong in (2.0, True, "5"):
        with pytest.raises(TypeError, match="`n_steps` is"):
            rule(name, wrong)  # type: ignore[arg-type]


def test_a_rule_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="`quadrature` is 'simpson', expected one of gausslegendre"):
        rule("simpson", 4)


def test_one_node() -> None:
    with pytest.raises(ValueError, match="at least 2 for riemann_left"):
        rule("riemann_left", 1)
