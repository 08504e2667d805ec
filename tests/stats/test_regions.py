"""Regions that were planted, and the strongest inputs of filters against a search by hand."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import attrib
from attrib.stats import regions, strongest
from tests.cams import convnet


def planted(spots: list[tuple[int, int, float]], size: int = 32) -> xr.DataArray:
    values = np.zeros((size, size))
    for y, x, height in spots:
        values[y - 1 : y + 2, x - 1 : x + 2] = height
    return xr.DataArray(values, dims=("y", "x"), attrs={"units": "output"})


@pytest.mark.parametrize(
    "spots", [[(5, 5, 3.0), (25, 25, -2.0)], [(4, 4, 1.0), (4, 27, 5.0), (27, 4, -3.0), (27, 27, 2.0)]]
)
def test_as_many_regions_as_spots(spots: list) -> None:
    found = regions(planted(spots), mass=1.0)
    ranked = sorted(spots, key=lambda s: -abs(s[2]))
    assert found.sizes["number"] == len(spots)
    assert np.allclose(found["sum"], [9 * h for _, _, h in ranked])
    assert np.allclose(found.magnitude, [9 * abs(h) for _, _, h in ranked])
    assert np.allclose(found.centre_y, [y for y, _, _ in ranked])
    assert np.allclose(found.centre_x, [x for _, x, _ in ranked])
    assert found["size"].values.tolist() == [9] * len(spots)
    assert (found.region.values >= 0).sum() == 9 * len(spots)
    assert found.attrs["silhouette"] > 0.8


def test_the_number_may_be_given_and_the_mass_too() -> None:
    a = planted([(5, 5, 3.0), (25, 25, -2.0)])
    assert regions(a, count=1).sizes["number"] == 1
    assert regions(a, count=3, mass=1.0).sizes["number"] == 3
    assert int((regions(a, mass=0.5).region >= 0).sum()) == 8  # 8 entries of 3 hold 24 of 45


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(1, 5))
def test_every_strong_entry_is_in_one_region(values: list[float], count: int) -> None:
    a = xr.DataArray(np.array(values), dims="position")
    found = regions(a, count=count)
    inside = found.region.values >= 0
    assert np.isclose(found.magnitude.sum(), np.abs(a.values[inside]).sum())
    assert found["size"].sum() == inside.sum()
    assert abs(a.values[inside]).sum() >= 0.9 * abs(a.values).sum() - 1e-9
    assert (np.diff(found.magnitude) <= 1e-9).all()


def test_attributions_of_zeros_have_no_regions() -> None:
    found = regions(planted([]))
    assert found.sizes["number"] == 0
    assert (found.region == -1).all()
    with pytest.raises(ValueError, match="`mass` 2"):
        regions(planted([]), mass=2)


def test_attributions_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="`a` has infinite entries"):
        regions(xr.DataArray([1.0, np.inf], dims="x"))
    with pytest.raises(ValueError, match="`a` has no dims"):
        regions(xr.DataArray(1.0))


def images() -> xr.DataArray:
    values = np.random.default_rng(0).normal(size=(5, 3, 16, 24)).astype("f4")
    coords = {"sample": list("abcde"), "y": 0.5 * np.arange(16), "channel": list("rgb")}
    return xr.DataArray(values, dims=("sample", "channel", "y", "x"), coords=coords)


def test_samples_places_and_patches() -> None:
    x = images()
    a = attrib.layer_activation(convnet(), x, layer="features.0")  # at the input's resolution
    found = strongest(a, x, count=3, size=3)
    assert found.patch.dims == ("filter", "rank", "channel", "y_offset", "x_offset")
    weights = attrib.filters(convnet())
    bias = convnet().features[0].bias.detach().numpy()
    for k in range(a.sizes["filter"]):
        best = sorted(((float(a[i, k].max()), "abcde"[i]) for i in range(5)), reverse=True)[:3]
        assert [b[1] for b in best] == found.sample[k].values.tolist()
        assert found.activation[k].values == pytest.approx([b[0] for b in best])
        for r in range(3):  # the filter on its patch gives the activation
            patch = np.nan_to_num(found.patch[k, r].values)
            assert (patch * weights[k].values).sum() + bias[k] == pytest.approx(best[r][0], rel=1e-4)
            at = a.sel(sample=best[r][1], y=found.y_at[k, r].item())[k]
            assert float(at.max()) == pytest.approx(best[r][0])


def test_coarse_layers_and_fewer_samples_than_asked() -> None:
    x = images()
    a = attrib.layer_activation(convnet(), x)
    found = strongest(a, x)
    assert found.sizes["rank"] == 5
    best = np.sort(a.max(("y", "x")).transpose("sample", "filter").values, axis=0)[::-1].T
    np.testing.assert_allclose(found.activation.transpose("filter", "rank").values, best)
    assert found.patch.shape == (9, 5, 3, 15, 15)
    assert set(found.y_at.values.ravel()) <= {0.75, 2.75, 4.75, 6.75}
    with pytest.raises(ValueError, match="expected a sample dim, filter"):
        strongest(x, x)


def test_the_strongest_samples_go_by_label() -> None:
    a = xr.DataArray([[[0.0, 3.0]], [[5.0, 1.0]]], dims=("sample", "filter", "x"), coords={"x": [0.5, 2.5], "sample": ["a", "b"]})  # fmt: skip
    x = xr.DataArray([[1, 2, 3, 4], [5, 6, 7, 8]], dims=("sample", "x"), coords={"sample": ["b", "a"]})
    top = strongest(a, x, count=1, size=1)
    assert (top.sample.item(), top.patch.item()) == ("b", 2)
    with pytest.raises(ValueError, match="`x` lacks 'b' and `x` has 'c'"):
        strongest(a, x.assign_coords(sample=["c", "a"]))
