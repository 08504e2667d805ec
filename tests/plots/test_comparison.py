"""Inputs beside attributions, each row with its own limit."""

import numpy as np
import pytest
import xarray as xr

from attrib.plots import comparison, panels, robust_limit
from attrib.testing import legible
from tests.pictures import drawn, plane, texts


def test_comparison() -> None:
    rng = np.random.default_rng(0)
    x = plane(rng.random((3, 4, 5)), units="ink")
    a, b = plane(rng.normal(size=(3, 4, 5)), units="output"), plane(np.zeros((3, 4, 5)), units="output / ink")
    figure = comparison(x, {"Integrated gradients": a, "Saliency": b}, titles=["p", "q", "r"])
    drawn(figure)
    pictures = [ax for ax in figure.axes if ax.images]
    assert len(pictures) == 9
    limit = robust_limit(a)
    assert {ax.images[0].get_clim() for ax in pictures[3:6]} == {(-limit, limit)}
    np.testing.assert_array_equal(pictures[4].images[0].get_array(), a.values[1])
    labels = texts(figure) + texts(figure).replace("\n", " ")
    for words in ("Integrated gradients", f"limit {limit:.3g}\noutput", "zero everywhere", "ink", "p", "x", "y (µm)",
                  "99th percentile of the row's magnitudes", "+limit"):  # fmt: skip
        assert words in labels
    assert len(figure.axes) == 10  # one colour bar


@pytest.mark.parametrize("name", ["Noise tunnel of integrated gradients", "integrated_gradients"])
@pytest.mark.parametrize(("n", "methods"), [(1, 1), (2, 4), (3, 1)])
def test_names_are_seen_and_columns_stand_below_each_other(n: int, methods: int, name: str) -> None:
    x = plane(np.random.default_rng(0).random((n, 8, 8)), units="standard deviations")
    a = plane(x.values - 0.5, units="output / standard deviation")
    figure = comparison(x, {f"{name}{k or ''}": a for k in range(methods)})
    legible(figure)
    left = np.array([ax.get_position().x0 for ax in figure.axes if ax.images]).reshape(1 + methods, n)
    np.testing.assert_allclose(left, left[:1].repeat(1 + methods, 0), atol=1e-6)


@pytest.mark.parametrize("rows", ["mm", "pixels"])
def test_places_rise_and_image_rows_go_down(rows: str) -> None:
    y = np.linspace(-60.0, 60.0, 8) if rows == "mm" else np.arange(8)
    a = plane(np.random.default_rng(0).random((3, 8, 8))).assign_coords(y=y, x=y)
    figures = (comparison(a, {"saliency": a}), panels(a, "sample", columns=2))
    for figure in figures:
        for ax in figure.axes:
            if ax.images:
                assert (ax.yaxis_inverted(), ax.xaxis_inverted()) == (rows == "pixels", False)
        drawn(figure)


def test_comparison_in_colour_and_its_refusals() -> None:
    x = xr.DataArray(np.ones((2, 4, 5, 3)) / 2, dims=("sample", "y", "x", "channel"))
    drawn(comparison(x, {"a": plane(np.ones((2, 4, 5)))}))
    for wrong in (plane(np.ones((3, 4, 5))), plane(np.ones((4, 5)))):
        with pytest.raises(ValueError, match=r"`a` has shape .*, expected 3 dims"):
            comparison(x, {"a": wrong})
