"""Pictures show what they are given, say what it is, and leave matplotlib's global state alone."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from attrib.plots import bar_panels, bars, comparison, image, panels, robust_limit


def plane(values: object, **attrs: str) -> xr.DataArray:
    a = np.asarray(values, dtype=float)
    coords = {"y": ("y", 10 * np.arange(a.shape[-2]), {"units": "µm"})}
    return xr.DataArray(a, dims=("sample", "y", "x")[-a.ndim :], coords=coords, attrs=attrs)


def drawn(figure: object) -> bytes:
    file = io.BytesIO()
    figure.savefig(file)  # type: ignore[attr-defined]
    return file.getvalue()


def texts(figure: object) -> str:
    import matplotlib.text

    return "\n".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))  # type: ignore[attr-defined]


def test_robust_limit() -> None:
    a = xr.DataArray([*[1.0] * 99, 100.0, np.nan, np.inf])
    assert robust_limit(a, 100) == 100
    assert 1 <= robust_limit(a, 98) < 2
    assert robust_limit(xr.zeros_like(a)) == 1
    assert robust_limit(xr.DataArray([0.0] * 999 + [5.0])) == 5
    with pytest.raises(ValueError, match="`percentile` is 0"):
        robust_limit(a, 0)


def test_image() -> None:
    a = plane([[1.0, -2.0, 0.5]] * 2, long_name="attribution", units="output")
    ax = image(a)
    (shown,) = ax.images
    assert shown.get_clim() == (-2.0, 2.0)
    assert shown.get_cmap()(0.5)[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.01)
    np.testing.assert_array_equal(shown.get_array(), a.values)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y (µm)")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "10"]
    said = texts(ax.figure)
    assert "attribution (output)" in said
    assert "99th percentile of magnitudes: 2" in said
    assert drawn(ax.figure).startswith(b"\x89PNG")


def test_image_takes_axes_limit_and_single_dims() -> None:
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    a = plane(np.ones((1, 2, 3)))
    assert image(a, ax=ax, limit=4, colorbar=False) is ax
    assert ax.images[0].get_clim() == (-4, 4)
    with pytest.raises(
        ValueError, match=r"has the dims \(sample: 2, y: 2, x: 3\), expected 2; .*a.sum\('sample'\)"
    ):
        image(plane(np.ones((2, 2, 3))))


def test_labels_at_the_ticks() -> None:
    a = xr.DataArray(np.eye(4, 300), dims=("nucleotide", "position"), coords={"nucleotide": list("ACGT")})
    ax = image(a)
    assert [t.get_text() for t in ax.get_yticklabels()] == list("ACGT")
    assert len(ax.get_xticks()) <= 8
    assert ax.get_aspect() == "auto"


def test_bars() -> None:
    a = xr.DataArray(
        [0.1, -3.0, np.nan, 2.0], dims="gene", coords={"gene": list("abcd")}, attrs={"units": "output"}
    )
    ax = bars(a, n=3)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["b", "d", "a"]
    widths = [p.get_width() for p in ax.patches]
    assert widths == [-3.0, 2.0, 0.1]
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()
    assert ax.yaxis_inverted()
    assert "output" in ax.get_xlabel()
    for wrong, words in (({"n": 0}, "`n` is 0"), ({}, "expected 1")):
        with pytest.raises(ValueError, match=words):
            bars(plane(np.ones((2, 2))) if not wrong else a, **wrong)


def test_bar_panels() -> None:
    a = xr.DataArray(
        np.arange(30.0), dims="gene", coords={"gene": [f"G{i}" for i in range(30)]}, attrs={"units": "u"}
    )
    figure = bar_panels({"One": a, "Two": -a}, n=5, label="mean")
    assert [ax.get_title() for ax in figure.axes] == ["One", "Two"]
    assert figure.axes[0].get_xlabel() == "mean (u)"
    assert len(figure.axes[1].patches) == 5
    drawn(figure)
    with pytest.raises(ValueError, match="empty"):
        bar_panels({})


def test_comparison() -> None:
    rng = np.random.default_rng(0)
    x = plane(rng.random((3, 4, 5)), units="ink")
    a, b = plane(rng.normal(size=(3, 4, 5)), units="output"), plane(np.zeros((3, 4, 5)), units="output / ink")
    figure = comparison(x, {"Integrated gradients": a, "Saliency": b}, titles=["p", "q", "r"])
    drawn(figure)
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 9
    limit = robust_limit(a)
    assert {ax.images[0].get_clim() for ax in shown[3:6]} == {(-limit, limit)}
    np.testing.assert_array_equal(shown[4].images[0].get_array(), a.values[1])
    said = texts(figure)
    for words in ("Integrated gradients", f"limit {limit:.3g}\noutput", "zero everywhere", "ink", "p", "x", "y (µm)",
                  "99th percentile of the row's magnitudes", "+limit"):  # fmt: skip
        assert words in said
    assert len(figure.axes) == 10  # one colour bar


def test_comparison_in_colour_and_its_refusals() -> None:
    x = xr.DataArray(np.ones((2, 4, 5, 3)) / 2, dims=("sample", "y", "x", "channel"))
    drawn(comparison(x, {"a": plane(np.ones((2, 4, 5)))}))
    for wrong in (plane(np.ones((3, 4, 5))), plane(np.ones((4, 5)))):
        with pytest.raises(ValueError, match=r"`a` has shape .*, expected 3 dims"):
            comparison(x, {"a": wrong})


def test_panels() -> None:
    a = xr.DataArray(np.arange(24.0).reshape(4, 3, 2) - 12, dims=("y", "target", "x"),
                     coords={"target": ["cat", "dog", "owl"], "count": ("target", [1, 2, 3])}, attrs={"units": "u"})  # fmt: skip
    figure = panels(a, "target", columns=2)
    drawn(figure)
    shown = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in shown] == ["cat (n = 1)", "dog (n = 2)", "owl (n = 3)"]
    assert len({ax.images[0].get_clim() for ax in shown}) == 1
    np.testing.assert_array_equal(shown[2].images[0].get_array(), a.sel(target="owl").values)
    with pytest.raises(ValueError, match="expected 'digit' and two more"):
        panels(a, "digit")


def test_pyplot_is_never_loaded() -> None:
    code = (
        "import sys, io, numpy as np, xarray as xr; from attrib.plots import *; a = xr.DataArray(np.eye(3), dims=('y', 'x'));"
        "image(a).figure.savefig(io.BytesIO()); bars(a[0]).figure.savefig(io.BytesIO());"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
