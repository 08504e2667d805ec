"""What drives a filter most, against a search by hand; and the picture of filters."""

import numpy as np
import pytest
import xarray as xr

import attrib
from attrib.plots import filter_grid
from attrib.stats import strongest
from tests.cams import convnet


def cells() -> xr.DataArray:
    values = np.random.default_rng(0).normal(size=(5, 3, 16, 24)).astype("f4")
    coords = {"sample": list("abcde"), "y": 0.5 * np.arange(16), "channel": list("rgb")}
    return xr.DataArray(values, dims=("sample", "channel", "y", "x"), coords=coords)


def test_samples_places_and_patches() -> None:
    x = cells()
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
    x = cells()
    found = strongest(attrib.layer_activation(convnet(), x), x)
    assert found.sizes["rank"] == 5
    assert found.patch.shape == (9, 5, 3, 15, 15)
    assert set(found.y_at.values.ravel()) <= {0.75, 2.75, 4.75, 6.75}
    with pytest.raises(ValueError, match="expected a sample dim, filter"):
        strongest(x, x)


@pytest.mark.parametrize("channels", [3, 1])
def test_filters_are_drawn(channels: int) -> None:
    w = attrib.filters(convnet(channels=channels))
    made = filter_grid(w, columns=4)
    assert len([ax for ax in made.axes if ax.images]) == 6
    shown = np.asarray(made.axes[2].images[0].get_array())
    values = w[2].transpose("y", "x", "channel").values
    limit = abs(w).max().item()
    assert np.allclose(shown, 0.5 + values / (2 * limit) if channels == 3 else values[..., 0])
    with pytest.raises(ValueError, match="expected filter, channel, y, x"):
        filter_grid(w[0])
