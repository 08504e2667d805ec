"""Bars show the largest entries, in order and with their unit."""

import numpy as np
import pytest
import xarray as xr

from attrib.plots import bar_panels, bars
from attrib.testing import legible
from tests.pictures import drawn, plane


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


def test_small_numbers_stand_beside_each_other() -> None:
    a = xr.DataArray([-0.0103, 0.00371, 0.00012], dims="motif", coords={"motif": ["one", "two", "three"]})
    legible(bar_panels({"put into sequences": a, "shuffled": abs(a) / 40}, label="mean change of the score"))


def test_the_spread_stands_beside_the_mean() -> None:
    a = xr.DataArray([1.0, -2.0], dims="gene", coords={"gene": ["INS", "GCG"], "sd": ("gene", [0.5, 0.25])})
    ax = bars(a)
    (lines,) = ax.collections
    ends = [segment[:, 0].tolist() for segment in lines.get_segments()]
    assert ends == [[-2.25, -1.75], [0.5, 1.5]]
    assert ax.get_xlabel().endswith("; lines: sd")
    assert not bars(a.drop_vars("sd")).collections


def test_bars_of_samples_are_their_mean_with_their_spread() -> None:
    values = [[1.0, -4.0, 0.0], [3.0, -2.0, np.nan]]
    a = xr.DataArray(
        values, dims=("cell", "gene"), coords={"gene": ["a", "b", "c"], "prediction": ("cell", [1.0, 2.0])}
    )
    for samples in (a, a.T, a.rename(cell="sample").drop_vars("prediction")):
        ax = bars(samples)
        assert [t.get_text() for t in ax.get_yticklabels()] == ["b", "a", "c"]
        assert [p.get_width() for p in ax.patches] == [-3.0, 2.0, 0.0]
        assert ax.get_xlabel().replace("\n", " ") == "mean of 2 samples: value; lines: sd"
        (lines,) = ax.collections
        assert np.allclose(lines.get_segments()[1][:, 0], 2 + np.array([-1, 1]) * np.sqrt(2))
    assert bars(a[:1]).get_xlabel() == "value"
    assert bar_panels({"saliency": a}).axes[0].patches[0].get_width() == -3.0
    with pytest.raises(ValueError, match=r"`a` has the dims \(cell: 2, gene: 3\), expected 1"):
        bars(a.drop_vars("prediction"))  # which dim the samples lie along cannot be told
