"""Seqlets: found where they are, and p-values that are probabilities."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from attrib.domains.motifs import find_seqlets


def rows(values: np.ndarray, labels: list[str] | None = None) -> xr.DataArray:
    a = xr.DataArray(values, dims=("sample", "position"))
    return a if labels is None else a.assign_coords(sample=labels)


def strongest_by_hand(v: np.ndarray, shortest: int, longest: int) -> tuple[int, int, float]:
    size, best = len(v), (0, 0, 0.0)
    for length in range(shortest, min(longest, size - 1) + 1):
        deviation = v.std() * np.sqrt(length * (size - length) / (size - 1))
        for start in range(size - length + 1):
            z = (v[start : start + length].sum() - length * v.mean()) / deviation
            if abs(z) > abs(best[2]) + 1e-9:
                best = (start, start + length, z)
    return best


def test_the_strongest_span_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        v = rng.normal(size=40)
        found = find_seqlets(rows(v[None]), level=1.0, shortest=3, longest=12).iloc[0]
        start, end, z = strongest_by_hand(v, 3, 12)
        assert (found.start, found.end) == (start, end)
        assert found.z == pytest.approx(z)
        assert found.attribution == pytest.approx(v[start:end].sum())


def test_z_is_measured_in_deviations_of_a_random_order() -> None:
    """Mean and deviation of a span's sum over random orders, by brute force."""
    rng = np.random.default_rng(1)
    v = rng.exponential(size=12)
    sums = np.array([rng.permutation(v)[:5].sum() for _ in range(20_000)])
    found = find_seqlets(rows(v[None]), level=1.0, shortest=5, longest=5)
    one = found.iloc[0]
    assert one.z == pytest.approx((one.attribution - sums.mean()) / sums.std(), abs=0.05)


@pytest.mark.parametrize("kind", ["normal", "laplace", "exponential", "sparse"])
def test_without_seqlets_p_is_a_probability(kind: str) -> None:
    """Of 400 sequences in random order, about one in twenty has a p below 0.05, one in a hundred below 0.01."""
    rng = np.random.default_rng(2)
    values = rng.normal(size=(400, 80)) if kind == "normal" else rng.laplace(size=(400, 80)) if kind == "laplace" else rng.exponential(size=(400, 80)) if kind == "exponential" else rng.normal(size=(400, 80)) * (rng.random((400, 80)) < 0.15)  # fmt: skip
    found = find_seqlets(rows(values), level=1.0, shuffles=60)
    p = found.groupby("record").p.min()
    assert len(p) == 400
    for level in (0.05, 0.2, 0.5):
        share = (p <= level).mean()
        assert abs(share - level) < 3.5 * np.sqrt(level * (1 - level) / 400) + 0.01


def test_planted_spans_of_both_signs() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(20, 100))
    values[:, 10:20] += 3
    values[:, 60:68] -= 4
    found = find_seqlets(rows(values))
    assert found.q.max() < 0.1
    up, down = found[(found.z > 0) & (found.start < 20)], found[(found.z < 0) & (found.start > 50)]
    assert len(up) == len(down) == 20
    for some, start, end in ((up, 10, 20), (down, 60, 68)):
        overlap = np.minimum(some.end, end) - np.maximum(some.start, start)
        assert overlap.median() >= end - start - 1
    for _, one in found.groupby("record"):
        ordered = one.sort_values("start")
        assert (ordered.end.to_numpy()[:-1] <= ordered.start.to_numpy()[1:]).all()


def test_a_record_is_its_own() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(size=(4, 60))
    values[:, 20:28] += 3
    every = find_seqlets(rows(values, list("abcd"))).drop(columns="q")
    alone = find_seqlets(rows(values[2:3], ["c"])).drop(columns="q")
    pd.testing.assert_frame_equal(every[every.record == "c"].reset_index(drop=True), alone)
    padded = np.pad(values, ((0, 0), (0, 9)), constant_values=np.nan)
    pd.testing.assert_frame_equal(find_seqlets(rows(padded, list("abcd"))).drop(columns="q"), every)


def test_a_background_of_shuffled_sequences() -> None:
    rng = np.random.default_rng(5)
    background = rows(rng.normal(size=(100, 80)))
    null = find_seqlets(rows(rng.normal(size=(300, 80))), background=background, level=1.0)
    share = (null.groupby("record").p.min() <= 0.1).mean()
    assert 0.03 < share < 0.2
    values = rng.normal(size=(5, 80))
    values[:, 30:40] += 3
    found = find_seqlets(rows(values), background=background)
    assert found.groupby("record").p.min().max() < 1e-3
    assert ((found.start < 34) & (found.end > 36)).groupby(found.record).any().all()


def test_sequences_without_anything() -> None:
    assert find_seqlets(rows(np.zeros((3, 30)))).empty
    assert find_seqlets(rows(np.full((1, 30), np.nan))).empty
    assert find_seqlets(rows(np.ones((1, 2)))).empty
    assert list(find_seqlets(rows(np.zeros((0, 30)))).columns) == ["record", "start", "end", "attribution", "z", "p", "q"]  # fmt: skip


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"a.sum\('nucleotide'\)"):
        find_seqlets(xr.DataArray(np.zeros((2, 4, 9)), dims=("sample", "nucleotide", "position")))
    with pytest.raises(ValueError, match="`shortest` is 9, `longest` 4"):
        find_seqlets(rows(np.zeros((1, 30))), shortest=9, longest=4)
    with pytest.raises(ValueError, match="at least 10 sequences"):
        find_seqlets(rows(np.zeros((1, 30))), background=rows(np.zeros((2, 30))))


def test_padding_is_beyond_the_sequence_on_both_sides() -> None:
    v = np.random.default_rng(5).normal(size=(2, 50))
    v[:, 20:26] += 6
    plain = find_seqlets(rows(v))
    padded = np.pad(v, ((0, 0), (7, 3)), constant_values=np.nan)
    found = find_seqlets(rows(padded))
    assert len(plain)
    assert found.assign(start=found.start - 7, end=found.end - 7).equals(plain)
    shared = find_seqlets(
        rows(v), background=rows(np.pad(v[[0] * 10], ((0, 0), (2, 2)), constant_values=np.nan))
    )
    assert shared.equals(find_seqlets(rows(v), background=rows(v[[0] * 10])))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gaps_are_refused(bad: float) -> None:
    v = np.random.default_rng(6).normal(size=(3, 50))
    v[1, 10] = bad
    with pytest.raises(ValueError, match="`contribution`: 'b' has NaN or infinite values between its ends"):
        find_seqlets(rows(v, list("abc")))
    with pytest.raises(ValueError, match="`background`"):
        find_seqlets(rows(v[:1]), background=rows(v[[1] * 10]))
