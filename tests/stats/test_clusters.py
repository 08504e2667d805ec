"""Clusters of entries that two groups differ in: against brute force, on noise, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage, stats

from attrib.stats import cluster_contrast, contrast

DIMS = ("sample", "i", "j", "k")


def noise(n: int = 12, shape: tuple[int, ...] = (5, 5, 5), seed: int = 0) -> xr.DataArray:
    values = np.random.default_rng(seed).normal(size=(n, *shape))
    values = ndimage.gaussian_filter(values, (0, *[0.7] * len(shape)))
    return xr.DataArray(values, dims=DIMS[: 1 + len(shape)])


def half(n: int) -> np.ndarray:
    return np.arange(n) < n // 2


def masses(t: np.ndarray, cut: float, structure: np.ndarray) -> list[tuple[float, int]]:
    out = []
    for sign in (1, -1):
        labels, count = ndimage.label(sign * t > cut, structure)
        out += [
            (float((np.abs(t[labels == c]) - cut).sum()), int((labels == c).sum()))
            for c in range(1, count + 1)
        ]
    return sorted(out, reverse=True)


@pytest.mark.parametrize(("connectivity", "reach"), [(6, 1), (18, 2), (26, 3)])
def test_clusters_and_exact_p_are_those_of_brute_force(connectivity: int, reach: int) -> None:
    a = noise(8)
    result = cluster_contrast(a, half(8), threshold=0.1, connectivity=connectivity)
    structure = ndimage.generate_binary_structure(3, reach)
    cut = stats.t.isf(0.05, 6)
    maps = []
    for chosen in itertools.combinations(range(8), 4):
        others = [i for i in range(8) if i not in chosen]
        maps.append(stats.ttest_ind(a.values[list(chosen)], a.values[others]).statistic)
    expected = masses(maps[0], cut, structure)
    np.testing.assert_allclose(result.t, maps[0], rtol=1e-9)
    np.testing.assert_allclose(result.mass, [m for m, _ in expected], rtol=1e-9)
    assert result["size"].values.tolist() == [s for _, s in expected]
    largest = [max(masses(t, cut, structure), default=(0, 0)) for t in maps]
    sizes = [max((s for _, s in masses(t, cut, structure)), default=0) for t in maps]
    for n, (mass, size) in enumerate(expected[:5]):
        assert result.p_mass[n] == pytest.approx(np.mean([m >= mass * (1 - 1e-9) for m, _ in largest]))
        assert result.p_size[n] == pytest.approx(np.mean(np.array(sizes) >= size))
    tops = np.abs(maps).max((1, 2, 3))
    assert float(result.p_corrected[2, 2, 2]) == pytest.approx((tops >= abs(maps[0][2, 2, 2]) - 1e-9).mean())
    assert float(result.p[2, 2, 2]) == pytest.approx(
        (np.abs(maps)[:, 2, 2, 2] >= abs(maps[0][2, 2, 2]) - 1e-9).mean()
    )
    assert result.attrs["permutations"] == 70
    assert result.attrs["exact"] == 1
    assert "70 relabellings" in result.attrs["note"]


def test_peaks_and_numbers_name_places() -> None:
    a = noise(20)
    a[:10, 1:3, 1:3, 1:3] += 5
    a[10:, 4, 4, 4] += 5
    a = a.assign_coords(i=np.arange(10, 15))
    result = cluster_contrast(a, half(20), n_permutations=99)
    one = result.sel(number=1)
    assert one["size"] == 8
    assert one.sign == 1
    where = {d: int(one[f"peak_{d}"]) for d in ("i", "j", "k")}
    assert 11 <= where["i"] <= 12
    at_peak = result.sel(i=where["i"]).isel(j=where["j"], k=where["k"])
    assert float(at_peak.t) == pytest.approx(float(one.peak))
    assert int(at_peak.cluster) == 1
    assert int(result.cluster.isel(i=4, j=4, k=4)) > 1
    assert int(result.sign.sel(number=int(result.cluster.isel(i=4, j=4, k=4)))) == -1
    assert (result.cluster > 0).sum() == result["size"].sum()


def test_tfce_is_the_sum_over_heights() -> None:
    a = noise(10, (6, 6))
    result = cluster_contrast(a, half(10), tfce=True, n_permutations=19)
    t = result.t.values
    expected = np.zeros_like(t)
    for sign in (1, -1):
        for step in range(1, int(np.abs(t).max() / 0.1) + 1):
            labels, count = ndimage.label(sign * t >= 0.1 * step)
            for c in range(1, count + 1):
                inside = labels == c
                expected[inside] += sign * inside.sum() ** 0.5 * (0.1 * step) ** 2 * 0.1
    np.testing.assert_allclose(result.enhanced, expected, rtol=1e-9)
    assert (np.sign(result.enhanced) * np.sign(result.t) >= 0).all()


def test_false_positives_on_noise_are_as_many_as_claimed() -> None:
    """200 null data sets: clusters and the largest t each call about 5% of them."""
    called = np.zeros((2, 200))
    for seed in range(200):
        result = cluster_contrast(
            noise(12, (9, 9), seed), half(12), threshold=0.05, n_permutations=79, seed=seed
        )
        called[0, seed] = (result.p_mass <= 0.05).any()
        called[1, seed] = (result.p_corrected <= 0.05).any()
    assert (called.mean(1) > 0.01).all()
    assert (called.mean(1) < 0.09).all()


def test_false_positives_of_tfce_on_noise() -> None:
    called = [
        bool(
            (
                cluster_contrast(
                    noise(10, (5, 5), s), half(10), tfce=True, n_permutations=39, seed=s
                ).p_enhanced
                <= 0.05
            ).any()
        )
        for s in range(60)
    ]
    assert np.mean(called) < 0.13


def test_mask_confines_and_leaves_nan_outside() -> None:
    a = noise(12)
    a[:, 0] = np.nan
    mask = a.isel(sample=0).notnull()
    result = cluster_contrast(a, half(12), mask=mask, n_permutations=19)
    assert result.t[0].isnull().all()
    assert result.t[1:].notnull().all()
    with pytest.raises(ValueError, match=r"not finite in 12 samples \(0, 1, "):
        cluster_contrast(a, half(12), mask=mask | True)


def test_same_t_and_p_as_contrast() -> None:
    a = noise(16)
    one, other = cluster_contrast(a, half(16), n_permutations=199), contrast(a, half(16), n_permutations=199)
    xr.testing.assert_allclose(one.t, other.t)
    xr.testing.assert_allclose(one.difference.drop_attrs(), other.difference.drop_attrs())


def test_results_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from attrib.stats import clusters

    a = noise(14)
    whole = cluster_contrast(a, half(14), n_permutations=50)
    monkeypatch.setattr(clusters, "CHUNK", 4 * 125 * 7)
    monkeypatch.setattr(clusters, "CLOSE", 1 - 1e-5)  # float32 from here on
    parts = cluster_contrast(a, half(14), n_permutations=50)
    xr.testing.assert_allclose(whole.t, parts.t, atol=1e-4)
    np.testing.assert_array_equal(whole.p_mass, parts.p_mass)


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        (np.arange(12) < 3, {}, "3 positives and 9 negatives, expected at least 4"),
        (np.arange(12), {}, "expected 12 of 0 and 1"),
        (half(12), {"connectivity": 8}, "`connectivity` is 8, expected 6 or 18 or 26 for 3 dims"),
        (half(12), {"threshold": 2.3}, "`threshold` is 2.3"),
        (half(12), {"mask": xr.zeros_like(noise().isel(sample=0))}, "`mask` is empty"),
        (half(12), {"mask": noise().isel(sample=0, i=slice(2))}, "`mask` has sizes"),
        (half(12), {"dim": "subject"}, "expected 'subject'"),
    ],
)  # fmt: skip
def test_refusals(label: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_contrast(noise(), label, **options)


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="same in all samples"):
        cluster_contrast(xr.zeros_like(noise()), half(12))
