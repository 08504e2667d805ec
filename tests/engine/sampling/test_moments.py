"""Sums that come row by row, against numpy on all rows."""

import numpy as np
import pytest
import torch

from attrib.engine.gradient.passes import add_by_sample
from attrib.engine.sampling import perturbations
from attrib.engine.sampling.moments import Moments

T, N, STEPS = 2, 3, 5
ROWS = torch.randn(T, N * STEPS, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
ALL = ROWS.view(T, N, STEPS, 4).numpy()
CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [1, 2, 4, 5, 7, 10, 15])
def test_against_numpy_in_any_chunks(size: int) -> None:
    moments = Moments(N, STEPS, CPU, second=True)
    for start in range(0, N * STEPS, size):
        moments.add((ROWS[:, start : start + size], 2 * ROWS[:, start : start + size]), start)
    for factor, k in ((1, 0), (2, 1)):
        np.testing.assert_allclose(moments.mean()[k], factor * ALL.mean(2), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moments.square()[k], factor**2 * (ALL**2).mean(2), rtol=1e-12)
        np.testing.assert_allclose(moments.variance()[k], factor**2 * ALL.var(2), rtol=1e-10)
        error = factor * ALL.std(2, ddof=1) / np.sqrt(STEPS)
        np.testing.assert_allclose(moments.standard_error()[k], error, rtol=1e-10)


@pytest.mark.parametrize(
    ("reduce", "expected"), [("mean", ALL.mean(2)), ("square", (ALL**2).mean(2)), ("variance", ALL.var(2))]
)
def test_reductions(reduce: str, expected: np.ndarray) -> None:
    moments = Moments.of(reduce, N, STEPS, CPU)
    moments.add((ROWS,), 0)
    np.testing.assert_allclose(moments.reduced()[0], expected, rtol=1e-10)


def test_a_reduction_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="`reduce` is 'median', expected one of mean, square, variance"):
        Moments.of("median", N, STEPS, CPU)


def test_one_row_has_no_variance() -> None:
    with pytest.raises(ValueError, match='`n_samples` is 1, expected at least 2 for `reduce="variance"`'):
        Moments.of("variance", N, 1, CPU)


@pytest.mark.parametrize("features", [1, 3, 4, 100])
def test_variance_in_blocks_that_cut_samples_and_features(
    features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perturbations, "_CPU_BLOCK", 64)
    rows = torch.randn(T, N * STEPS, 2, features, generator=torch.Generator().manual_seed(1)).double()
    moments = Moments(N, STEPS, CPU, second=True)
    for start in range(0, N * STEPS, 7):
        moments.add((rows[:, start : start + 7],), start)
    expected = rows.unflatten(1, (N, STEPS))
    torch.testing.assert_close(moments.variance()[0], expected.var(2, correction=0))
    torch.testing.assert_close(moments.mean()[0], expected.mean(2))


def test_variance_of_float32_survives_a_large_mean() -> None:
    rows = (1000 + ROWS).float()
    moments = Moments(N, STEPS, CPU, second=True)
    moments.add((rows,), 0)
    exact = rows.double().view(T, N, STEPS, 4).var(2, correction=0)
    torch.testing.assert_close(moments.variance()[0], exact, rtol=1e-5, atol=0)


def test_one_draw_has_no_standard_error() -> None:
    moments = Moments(N, 1, CPU, second=True)
    moments.add((ROWS[:, :N],), 0)
    assert bool(torch.isinf(moments.standard_error()[0]).all())


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 12])
def test_rows_go_to_their_samples(steps: int, size: int) -> None:
    values = torch.arange(24.0, dtype=torch.float64).view(2, 12)
    total = torch.zeros(2, 12 // steps, dtype=torch.float64)
    for start in range(0, 12, size):
        add_by_sample(total, values[:, start : start + size], start, steps)
    assert torch.equal(total, values.view(2, -1, steps).sum(2))
