"""Statistics of a stream of blocks against NumPy on the whole."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from attrib.scale.reductions import QUANTILES, Reduction, checked

NAMES = ("mean", "var", "abs_mean", "min", "max", "count", "quantiles", "top:3")
SCALES = np.array([1e-6, 1.0, 1e6, 0.0], np.float32)


def values(n: int, seed: int = 0) -> np.ndarray:
    """(n, 3, 4) numbers with heavy tails, of very different sizes, some entries zero everywhere."""
    return (np.random.default_rng(seed).normal(size=(n, 3, 4)) ** 3 * SCALES).astype("float32") + np.float32(
        3
    )


def merged(x: np.ndarray, codes: np.ndarray, size: int, groups: int, order: int = 1) -> dict[str, np.ndarray]:
    reduction, state = Reduction(NAMES, groups), {}
    for start in range(0, len(x), size)[::order]:
        reduction.merge(state, reduction.part(x[start : start + size], codes[start : start + size]))
    return state


@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 5))
def test_equal_to_numpy_on_the_whole(n: int, size: int, seed: int) -> None:
    x, groups = values(n, seed), 3
    codes = np.random.default_rng(seed).integers(-1, groups, n)
    template = xr.DataArray(x[0], dims=("a", "b"), coords={"b": list("wxyz")}, attrs={"units": "output"})
    names = xr.DataArray(list("PQR"), dims="group", name="group")
    results = Reduction(NAMES, groups).results(merged(x, codes, size, groups), template, names)
    for k in range(groups):
        of_group = x[codes == k].astype("float64")
        r = results.isel(group=k)
        assert r["count"] == len(of_group)
        if not len(of_group):
            assert all(np.isnan(r[name]).all() for name in NAMES if name != "count")
            continue
        np.testing.assert_allclose(r["mean"], of_group.mean(0), rtol=1e-6)
        scale = np.abs(of_group).max(0) ** 2
        assert (np.abs(r["var"] - of_group.var(0)) <= 1e-6 * of_group.var(0) + 1e-13 * scale).all()
        np.testing.assert_allclose(r["abs_mean"], np.abs(of_group).mean(0), rtol=1e-6)
        np.testing.assert_array_equal(r["min"], of_group.min(0))
        np.testing.assert_array_equal(r["max"], of_group.max(0))
        error = np.abs(r["quantiles"] - np.quantile(of_group, QUANTILES, axis=0))
        assert (error <= r["quantiles_error"] * (1 + 1e-9)).all()
        spread = of_group.max(0) - of_group.min(0)
        assert (r["quantiles_error"] <= spread / 127 + 1e-12 * np.abs(of_group).max(0) + 1e-300).all()
        order = np.argsort(-np.abs(of_group).mean(0).ravel(), kind="stable")[:3]
        np.testing.assert_allclose(np.sort(r["top:3"]), np.sort(of_group.mean(0).ravel()[order]), rtol=1e-6)


def test_counts_of_quantiles_do_not_depend_on_the_order_of_blocks() -> None:
    x, codes = values(500), np.arange(500) % 3
    x[:37, 0, 0] = 5e-9  # a block of one value, whose bins are the finest
    there, back = merged(x, codes, 37, 3), merged(x, codes, 37, 3, -1)
    for field in ("counts", "exponent", "base"):
        np.testing.assert_array_equal(there[field], back[field])


def test_without_groups_and_with_targets() -> None:
    x = values(20)
    reduction = Reduction(("mean", "top:2", "count"), 1)
    state: dict[str, np.ndarray] = {}
    reduction.merge(state, reduction.part(x, np.zeros(20, int)))
    template = xr.DataArray(
        x[0], dims=("target", "gene"), coords={"gene": list("wxyz"), "target": list("pqr")}
    )
    results = reduction.results(state, template, None)
    assert results["mean"].dims == ("target", "gene")
    assert results["count"].item() == 20
    assert results["top:2"].dims == ("target", "rank")
    strongest = np.abs(x.astype("float64")).mean(0).argmax(1)
    np.testing.assert_array_equal(results["top_gene"][:, 0], np.array(list("wxyz"))[strongest])


@pytest.mark.parametrize("name", ["median", "top:0", "top:", "top"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="reductions"):
        checked(["mean", name])


def test_two_numbers_of_top_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="one top"):
        checked(["top:3", "top:5"])
