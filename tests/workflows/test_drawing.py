"""Which samples, dims and targets pictures show."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from matplotlib.text import Text

from attrib.testing import legible
from attrib.workflows import drawing
from attrib.workflows.drawing import (
    at_largest_target,
    each_layer,
    flat_samples,
    mean_per_class,
    pictures,
    spatial_rank,
)
from attrib.workflows.study import completeness


def result(*sizes: tuple[str, int], targets: int = 0, samples: tuple[str, ...] = ("sample",)) -> xr.DataArray:
    rng = np.random.default_rng(0)
    dims = (*(("target",) if targets else ()), *(d for d, _ in sizes))
    shape = (*((targets,) if targets else ()), *(n for _, n in sizes))
    a = xr.DataArray(
        rng.normal(size=shape), dims=dims, attrs={"long_name": "Saliency attribution", "units": "output"}
    )
    along = tuple(d for d in dims if d in ("target", *samples))
    scores = rng.normal(size=[a.sizes[d] for d in along])
    a = a.assign_coords(prediction=(along, scores), delta=(along, scores / 10))
    if targets:
        return a.assign_coords(target=[f"c{i}" for i in range(targets)])
    first = a.sizes[samples[0]]
    return a.assign_coords(target=(samples[0], np.where(np.arange(first) % 2, "odd", "even")))


def files(x: xr.DataArray, results: dict[str, xr.DataArray]) -> dict[str, bytes]:
    return {name: make().canvas.print_to_buffer()[0] for name, make in pictures(x, results)}


@pytest.mark.parametrize(
    ("sizes", "rank"),
    [
        ((("sample", 3), ("gene", 6)), 1),
        ((("sample", 3), ("gene", 1)), 1),
        ((("sample", 3), ("channel", 1), ("y", 4), ("x", 5)), 2),
        ((("sample", 3), ("y", 4), ("x", 5), ("channel", 3)), 2),
        ((("sample", 3), ("band", 12), ("y", 4), ("x", 5)), 2),
        ((("sample", 3), ("stain", 2), ("y", 6), ("x", 5)), 2),
        ((("sample", 3), ("z", 6), ("y", 6), ("x", 6)), 3),
        ((("sample", 3), ("nucleotide", 4), ("position", 9)), 2),
        ((("sample", 1), ("y", 4), ("x", 5)), 2),
    ],
)
@pytest.mark.parametrize("targets", [0, 3])
def test_pictures(sizes: tuple, rank: int, targets: int) -> None:
    x = xr.DataArray(np.ones([n for _, n in sizes]), dims=[d for d, _ in sizes])
    assert spatial_rank(x) == rank
    drawn = files(x, {"saliency": result(*sizes, targets=targets)})
    assert set(drawn) == ({"comparison", "mean_per_class"} if rank < 3 else set())


def test_several_sample_dims() -> None:
    sizes = (("subject", 2), ("slice", 2), ("y", 4), ("x", 5))
    x = xr.DataArray(
        np.arange(80.0).reshape(2, 2, 4, 5),
        dims=[d for d, _ in sizes],
        coords={"prediction": (("subject", "slice"), np.ones((2, 2)))},
    )
    np.testing.assert_array_equal(flat_samples(x), np.arange(80.0).reshape(4, 4, 5))
    a = result(*sizes, targets=2, samples=("subject", "slice"))
    assert set(files(x, {"saliency": a})) == {"comparison", "mean_per_class"}


def test_largest_target() -> None:
    a = result(("sample", 5), ("gene", 3), targets=4)
    largest = at_largest_target(a)
    for i in range(5):
        best = int(a["prediction"].values[:, i].argmax())
        np.testing.assert_array_equal(largest[i].values, a[best, i].values)
        assert largest["target"].values[i] == f"c{best}"


def test_mean_per_class() -> None:
    a = result(("sample", 5), ("gene", 3))
    m = mean_per_class(a)
    assert m["target"].values.tolist() == ["even", "odd"]
    assert m["count"].values.tolist() == [3, 2]
    np.testing.assert_allclose(m.sel(target="odd").values, a.values[1::2].mean(0))
    many = result(("sample", 5), ("gene", 3), targets=4)
    np.testing.assert_allclose(mean_per_class(many).values, many.values.mean(1))
    plain = a.drop_vars("target")
    assert mean_per_class(plain)["target"].values.tolist() == ["all samples"]
    np.testing.assert_allclose(mean_per_class(plain).values[0], a.values.mean(0))


def test_means_of_many_classes_and_features_can_be_read_and_say_what_is_left_out() -> None:
    names = [f"brain_nucleus_accumbens_{k}" for k in range(70)]
    values = np.random.default_rng(0).normal(size=(141, 80))
    coords = {"gene": [f"ENSG{k:011d}" for k in range(80)], "target": ("sample", [*names, *names, names[3]])}
    a = xr.DataArray(values, dims=("sample", "gene"), coords=coords, name="attribution")
    figure = drawing._means({"saliency": a})
    legible(figure)
    ax = figure.axes[0]
    assert "60 of 70 targets" in ax.get_title()
    assert "25 of 80 gene labels" in ax.get_title()
    assert names[3] in [t.get_text() for t in ax.get_xticklabels()]


def test_long_names_stay_above_their_panels() -> None:
    name = "grey matter of the right superior temporal gyrus"
    a = result(("sample", 2), ("y", 6), ("x", 6))
    a = a.assign_coords(sample=[name, f"{name}_2"], target=("sample", [f"target_{name}", name]))
    for make in dict(pictures(a, {"saliency": a})).values():
        legible(make())


def test_completeness() -> None:
    a = result(("sample", 3), ("gene", 2)).assign_coords(delta=("sample", [0.1, -0.5, 0.2]))
    assert completeness(a) == (pytest.approx(0.2), pytest.approx(0.5))
    assert completeness(a.drop_vars("delta")) == (None, None)


def of_layer(a: xr.DataArray, layer: str) -> xr.DataArray:
    return a.assign_attrs(layer=layer, long_name="Grad-CAM attribution", params=json.dumps({"onto": 0}))


def test_maps_have_a_row_per_layer_and_are_repeated_along_dims_they_lack() -> None:
    sizes = (("sample", 3), ("nucleotide", 4), ("position", 9))
    x = xr.DataArray(np.ones((3, 4, 9)), dims=[d for d, _ in sizes])
    two = xr.concat([result(("sample", 3), ("position", 9))] * 2, "layer").assign_coords(layer=["1", "4"])
    results = {"saliency": result(*sizes), "grad_cam": of_layer(two, "1, 4")}
    assert list(each_layer(results)) == ["saliency", "grad_cam 1", "grad_cam 4"]
    figure = dict(pictures(x, results))["comparison"]()
    words = [t.get_text() for t in figure.findobj(Text)]
    assert {"Grad-CAM, layer 1", "Grad-CAM, layer 4"} <= {w.replace("\n", " ") for w in words}
    drawn = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert np.allclose(
        drawn[6], np.repeat(two.values[0][:1], 4, 0)
    )  # the third row's first: first sample, layer 1
    assert set(files(x, {"grad_cam": of_layer(two, "1, 4")})) == {"comparison", "mean_per_class"}
