"""Maps with labels: which coords stay, and where the positions of a coarse map lie."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import attrib
from attrib.io import load, save
from attrib.labels.spatial import centres
from tests.cams import convnet

NAMES = ["lymphocyte", "monocyte", "neutrophil", "blast"]


def cells() -> xr.DataArray:
    rng = np.random.default_rng(0)
    return xr.DataArray(
        rng.normal(size=(5, 3, 16, 24)).astype(np.float32),
        dims=("image", "channel", "y", "x"),
        coords={
            "image": list("abcde"), "channel": ["r", "g", "b"], "y": 0.5 * np.arange(16), "x": 0.5 * np.arange(24) + 10,
            "stain": ("image", list("uuvvv")), "tissue": ("y", np.arange(16) // 8), "gain": ("channel", [1.0, 2.0, 3.0]),
        },
        attrs={"history": "scanned"},
    )  # fmt: skip


@pytest.fixture
def options() -> dict:
    return {"sample_dims": "image", "classes": NAMES}


def test_at_the_inputs_resolution_its_own_coords_stay(options: dict) -> None:
    x, model = cells(), convnet()
    a = attrib.grad_cam(model, x, target="predicted", **options)
    assert a.dims == ("image", "y", "x")
    assert set(a.coords) == {"image", "y", "x", "stain", "tissue", "prediction", "target"}
    for name in ("image", "y", "x", "stain", "tissue"):
        xr.testing.assert_identical(a[name].drop_vars(["prediction", "target"], errors="ignore").variable.to_base_variable(), x[name].variable.to_base_variable())  # fmt: skip
    pure = attrib.functional.grad_cam(model, torch.from_numpy(x.values), target="predicted")
    assert np.array_equal(a.values, pure.numpy())
    assert set(a.target.values) <= set(NAMES)
    assert a.attrs["layer"] == "features"
    assert a.attrs["units"] == "output"
    assert a.attrs["history"].startswith("scanned\nattrib")


def test_at_the_layers_resolution_coords_are_centres_of_positions(options: dict) -> None:
    a = attrib.grad_cam(convnet(), cells(), target=0, upsample=False, normalize="minmax", **options)
    assert a.sizes == {"image": 5, "y": 4, "x": 6}
    assert a.y.values.tolist() == [0.75, 2.75, 4.75, 6.75]  # of 0, 0.5, 1, 1.5 and so on
    assert a.x.values.tolist() == [10.75, 12.75, 14.75, 16.75, 18.75, 20.75]
    assert "tissue" not in a.coords
    assert a.attrs["units"] == "1"


@pytest.mark.parametrize(
    ("coord", "count", "expected"),
    [
        (None, 2, [0.5, 2.5]),
        ([3.0, 2.0, 1.0, 0.0], 2, [2.5, 0.5]),
        ([0, 1, 2, 10], 4, [0, 1, 2, 10]),
        ([0.0, 1.0, 2.0, 10.0], 2, [0.5, 6.0]),
        (list("abcd"), 2, [0.5, 2.5]),
        ([0.0, 1.0, 2.0, 3.0], 8, [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25]),
    ],
)
def test_centres(coord: list | None, count: int, expected: list) -> None:
    x = xr.DataArray(np.zeros(4), dims="x", coords=None if coord is None else {"x": coord})
    assert centres(x, "x", count).tolist() == expected


def test_targets_and_layers_have_dims(options: dict) -> None:
    a = attrib.layer_cam(convnet(), cells(), targets="all", layer=["features.1", "features"], **options)
    assert a.dims == ("target", "layer", "image", "y", "x")
    assert a.target.values.tolist() == NAMES
    assert a.layer.values.tolist() == ["features.1", "features"]
    assert a.prediction.dims == ("target", "image")
    one = attrib.layer_cam(convnet(), cells(), target="monocyte", layer="features", **options)
    assert np.allclose(a.sel(target="monocyte", layer="features"), one, rtol=1e-4, atol=1e-7)
    assert "target" not in one.coords


class Commas(torch.nn.Module):
    """Layers whose names hold commas."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = {"stem, first": torch.nn.Conv2d(3, 2, 3, padding=1), "last": torch.nn.Conv2d(2, 4, 3)}
        self.parts = torch.nn.ModuleDict(convolutions)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.parts["last"](self.parts["stem, first"](x).relu()).mean((2, 3))


@pytest.mark.parametrize(
    "layer", [["parts.stem, first", "parts.last"], ["parts.stem, first"], "parts.stem, first"]
)
@pytest.mark.parametrize("lazy", [False, True])
def test_names_of_layers_may_hold_anything(options: dict, layer: Any, lazy: bool, tmp_path: Path) -> None:
    if lazy:
        pytest.importorskip("dask")
    model, x = Commas().eval(), cells().chunk(image=2) if lazy else cells()
    a = attrib.grad_cam(model, x, target=0, layer=layer, **options)
    listed = isinstance(layer, list)
    assert a.attrs["layer"] == (json.dumps(layer) if listed else layer)
    assert (a.layer.values.tolist() if listed else layer) == layer
    explanation = attrib.functional.grad_cam.explain(
        model, torch.from_numpy(cells().values), target=0, layer=layer
    )
    assert explanation.layers == tuple(layer if listed else [layer])
    assert explanation.notes is None
    save(a, tmp_path / "a.nc")
    assert load(tmp_path / "a.nc").attrs["layer"] == a.attrs["layer"]


def test_several_sample_dims_and_other_orders(options: dict) -> None:
    x, model = cells(), convnet()
    plain = attrib.hires_cam(model, x, target=1, **options)
    folded = xr.concat([x, x + 1], "slide").transpose("y", "slide", "channel", "image", "x")
    back = folded.transpose("channel", "y", "x", "slide", "image")
    a = attrib.hires_cam(model, back, target=1, classes=NAMES, sample_dims=("slide", "image"))
    assert a.dims == ("y", "x", "slide", "image")  # the input's order
    a = a.transpose(..., "y", "x")
    assert np.allclose(a.isel(slide=0), plain, rtol=1e-4, atol=1e-6)


def test_arrays_without_labels() -> None:
    model, values = convnet(), np.ascontiguousarray(cells().values)
    a = attrib.grad_cam(model, values, target=0, dims=("sample", "channel", "row", "column"))
    assert a.dims == ("sample", "row", "column")
    expected = attrib.functional.grad_cam(model, torch.from_numpy(values), target=0)
    np.testing.assert_allclose(a, expected, rtol=1e-6)


def test_the_named_input(options: dict) -> None:
    left, right = convnet(seed=1), convnet(seed=2)
    both = lambda a, b: left(a) + right(b)
    other = cells().isel(y=slice(12)).rename(y="row", x="column")
    x = {"stained": cells(), "plain": other}
    a = attrib.grad_cam(both, x, layer=right.features, onto="plain", target=0, **options)
    assert a.dims == ("image", "row", "column")
    assert np.array_equal(a.row, other.row)
    with pytest.raises(ValueError, match="`onto` is 'other', expected one of the inputs: stained, plain"):
        attrib.grad_cam(both, x, layer=right.features, onto="other", target=0, **options)


LAZY: dict[str, dict] = {
    "predicted": {"target": "predicted"},
    "per sample": {"target": [0, 1, 2, 3, 0]},
    "several per sample": {"targets": [[0, 1, 2, 3, 0], "predicted", 1]},
    "layers": {"targets": "all", "layer": ["features.3", "auto"]},
    "one layer listed": {"target": 1, "layer": ["features.3"]},
    "coarse": {"targets": "all", "upsample": False, "normalize": "minmax"},
}


@pytest.mark.parametrize("more", LAZY.values(), ids=LAZY.keys())
def test_dask_gives_the_same(options: dict, more: dict) -> None:
    pytest.importorskip("dask")
    model = convnet()
    eager = attrib.grad_cam(model, cells(), **more, **options)
    lazy = attrib.grad_cam(model, cells().chunk(image=2, x=8), **more, **options)
    assert lazy.chunks is not None
    found = lazy.compute()
    xr.testing.assert_allclose(found, eager, rtol=1e-4, atol=1e-7)
    assert found.attrs == eager.attrs
    assert found.dims == eager.dims
    assert set(found.coords) == set(eager.coords)
    assert found.dtype == lazy.dtype


def test_dask_with_several_inputs_and_sample_dims(options: dict) -> None:
    """One input lazy, one not; two sample dims in blocks; a target for each sample."""
    pytest.importorskip("dask")
    left, right = convnet(seed=1), convnet(seed=2)
    both = lambda a, b: left(a) + right(b)
    a = xr.concat([cells(), cells() + 1, cells() * 2], "slide")
    b = a.isel(y=slice(12)).rename(y="row", x="column")
    goals = np.arange(15).reshape(3, 5) % 4
    how = {"layer": right.features, "onto": "plain", "target": goals, "sample_dims": ("slide", "image")}
    how |= {"upsample": False, "classes": NAMES}
    eager = attrib.layer_cam(both, {"stained": a, "plain": b}, **how)
    lazy = attrib.layer_cam(both, {"stained": a.chunk(slide=2, image=2), "plain": b}, **how)
    assert eager.dims == ("slide", "image", "row", "column")
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), eager, rtol=1e-4, atol=1e-7)
    assert set(eager.target.values.ravel()) == set(NAMES)


def test_dask_computes_one_sample_until_it_is_asked_for_more(options: dict) -> None:
    dask = pytest.importorskip("dask")
    rows = []
    model = convnet()
    counted = lambda t: (rows.append(len(t)), model(t))[1]
    x = cells().chunk(image=2)
    with dask.config.set(scheduler="synchronous"):
        lazy = attrib.grad_cam(counted, x, target=1, layer="features", **options)
        assert rows == [3, 7, 1]  # the trial, the sample moved, and the sample
        lazy.isel(image=4).compute()
        assert rows == [3, 7, 1] * 2
    fine = attrib.guided_grad_cam(attrib.input_x_gradient, model, x, target="predicted", **options)
    eager = attrib.guided_grad_cam(attrib.input_x_gradient, model, cells(), target="predicted", **options)
    xr.testing.assert_allclose(fine.compute(), eager, rtol=1e-4, atol=1e-7)


def test_maps_survive_a_file(options: dict, tmp_path) -> None:
    a = attrib.grad_cam(convnet(), cells(), targets="all", upsample=False, **options)
    save(a, tmp_path / "a.nc")
    assert load(tmp_path / "a.nc").identical(a)


def test_activations_and_filters() -> None:
    a = attrib.layer_activation(convnet(), cells(), sample_dims="image", layer="features.3")
    assert a.dims == ("image", "filter", "y", "x")
    assert a.sizes["filter"] == 8
    assert a.y.values[0] == 0.25
    assert "gain" not in a.coords
    assert attrib.layer_activation(convnet(), cells(), sample_dims="image", layer="head.3").dims == (
        "image",
        "filter",
    )
    w = attrib.filters(convnet())
    assert w.dims == ("filter", "channel", "y", "x")
    assert w.y.values.tolist() == [-1, 0, 1]


def test_guided_grad_cam_has_the_inputs_form(options: dict) -> None:
    a = attrib.guided_grad_cam(attrib.input_x_gradient, convnet(), cells(), target=1, **options)
    assert a.dims == cells().dims
    maps = attrib.grad_cam(convnet(), cells(), target=1, **options)
    fine = attrib.input_x_gradient(convnet(), cells(), target=1, **options)
    assert np.allclose(a, (fine * maps).transpose(*a.dims), atol=1e-7)
