"""Draws: normal, uniform, independent across rows, draws and streams, and functions of the sample alone."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from attrib.engine.sampling import perturbations
from attrib.engine.sampling.perturbations import choice, normal, sample_keys, uniform

SEEDS = [0, 1, -5, 2**40]


def keys(n: int, seed: int = 0) -> torch.Tensor:
    """Keys of n samples that hardly differ: consecutive numbers in one of four features."""
    x = torch.zeros(n, 4)
    x[:, 2] = torch.arange(n)
    return sample_keys((x,), seed)


def normals(n: int, size: int, stream: int = 0, draw: int = 0, seed: int = 0) -> np.ndarray:
    draws = torch.full((n,), draw)
    return normal(keys(n, seed), draws, stream, torch.Size([size]), torch.float64).numpy()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("n", "size"), [(20000, 1), (200, 100), (1, 20001)])
def test_normal_values_are_normal(seed: int, n: int, size: int) -> None:
    assert stats.kstest(normals(n, size, seed=seed).ravel(), "norm").pvalue > 1e-3


def test_normal_draws_of_one_sample_are_normal() -> None:
    k = keys(1).expand(20000, 2)
    found = normal(k, torch.arange(20000), 0, torch.Size([3]), torch.float64)
    for feature in found.T:
        assert stats.kstest(feature.numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_values_are_uniform(seed: int) -> None:
    for found in (
        uniform(keys(20000, seed), torch.zeros(20000, dtype=torch.long), 0),
        uniform(keys(1, seed).expand(20000, 2), torch.arange(20000), 65),
    ):
        assert float(found.min()) > 0
        assert float(found.max()) < 1
        assert stats.kstest(found.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_choices_are_equally_likely(n: int) -> None:
    found = choice(keys(1).expand(20000, 2), torch.arange(20000), 64, n)
    counts = np.bincount(found.numpy(), minlength=n)
    assert len(counts) == n
    assert n == 1 or stats.chisquare(counts).pvalue > 1e-3


def largest_correlation(rows: np.ndarray, others: np.ndarray | None = None) -> tuple[float, float]:
    """Largest correlation between rows, and what independent ones rarely exceed (once in 10,000 cases)."""
    if others is None:
        found = np.abs(np.corrcoef(rows)[np.triu_indices(len(rows), 1)])
    else:
        found = np.abs([np.corrcoef(a, b)[0, 1] for a, b in zip(rows, others, strict=True)])
    return float(found.max()), float(stats.norm.ppf(1 - 1e-4 / len(found) / 2)) / math.sqrt(rows.shape[1])


def test_neighbouring_samples_are_independent() -> None:
    found, limit = largest_correlation(normals(60, 4000))
    assert found < limit
    found, limit = largest_correlation(normals(60, 4000) ** 2)
    assert found < limit


def test_features_are_independent() -> None:
    found, limit = largest_correlation(normals(4000, 40).T)
    assert found < limit


def test_draws_streams_and_seeds_are_independent() -> None:
    one = normals(40, 4000)
    for other in (
        normals(40, 4000, draw=1), normals(40, 4000, stream=1), normals(40, 4000, seed=1),
        normals(40, 4000, seed=1 << 32), normals(40, 4000, stream=1, draw=-1 % 7),
    ):  # fmt: skip
        found, limit = largest_correlation(one, other)
        assert found < limit


def test_successive_draws_are_independent() -> None:
    k = keys(1).expand(60, 2)
    rows = normal(k, torch.arange(60), 0, torch.Size([4000]), torch.float64).numpy()
    found, limit = largest_correlation(rows)
    assert found < limit
    u = uniform(keys(1).expand(20001, 2), torch.arange(20001), 0).numpy()
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / math.sqrt(20000)


def test_no_two_keys_or_draws_collide() -> None:
    assert len(torch.unique(keys(100_000), dim=0)) == 100_000
    first = normal(keys(1000), torch.zeros(1000, dtype=torch.long), 0, torch.Size([2]), torch.float64)
    assert len(torch.unique(first, dim=0)) == 1000


def test_a_draw_belongs_to_its_sample_bit_for_bit() -> None:
    k, draws = keys(50), torch.arange(50) % 7
    shape = torch.Size([3, 11])
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        whole = normal(k, draws, 2, shape, dtype)
        assert whole.dtype == dtype
        for size in (1, 2, 7, 16, 49):
            parts = [
                normal(a, b, 2, shape, dtype) for a, b in zip(k.split(size), draws.split(size), strict=True)
            ]
            assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(
        torch.cat([uniform(k[i : i + 1], draws[i : i + 1], 0) for i in range(50)]), uniform(k, draws, 0)
    )


def test_draws_do_not_depend_on_the_work_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = normals(30, 7)
    monkeypatch.setattr(perturbations, "_CPU_BLOCK", 20)
    assert np.array_equal(normals(30, 7), whole)


def test_float64_is_float32_but_for_rounding() -> None:
    k, draws = keys(100), torch.zeros(100, dtype=torch.long)
    wide, narrow = (normal(k, draws, 0, torch.Size([50]), d) for d in (torch.float64, torch.float32))
    assert torch.allclose(wide, narrow.double(), atol=1e-5)


def test_keys_are_the_samples_own() -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    found = sample_keys((x,), 3)
    assert torch.equal(sample_keys((x.flip(0),), 3), found.flip(0))
    assert torch.equal(sample_keys((x[2:3],), 3), found[2:3])
    assert torch.equal(sample_keys((x.double(),), 3), found)
    assert torch.equal(sample_keys((x.T.contiguous().T,), 3), found)
    assert torch.equal(sample_keys((x.view(6, 2, 2),), 3), found)
    assert not torch.equal(sample_keys((x,), 4), found)
    zero = torch.zeros(2, 3)
    assert torch.equal(sample_keys((zero,), 0), sample_keys((-zero,), 0))
    assert torch.equal(sample_keys((torch.arange(3.0),), 0), sample_keys((torch.arange(3.0)[:, None],), 0))


def test_keys_tell_apart_what_differs_little() -> None:
    x = torch.zeros(5, 3)
    x[1, 0], x[2, 1], x[3, 2] = 1, 1, 1  # the same value elsewhere
    x[4, 0] = torch.nextafter(torch.tensor(0.0), torch.tensor(1.0))
    assert len(torch.unique(sample_keys((x,), 0), dim=0)) == 5
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 1.0]])
    assert not torch.equal(sample_keys((a, b), 0), sample_keys((b, a), 0))


@pytest.mark.parametrize("seed", [1.0, True, None, "7"])
def test_seeds_that_are_no_ints(seed: object) -> None:
    with pytest.raises(TypeError, match="`seed` is"):
        sample_keys((torch.ones(1, 1),), seed)  # type: ignore[arg-type]
