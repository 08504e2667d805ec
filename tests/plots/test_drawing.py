"""Figures of the library: shown by notebooks, with texts as they are written."""

import numpy as np
import xarray as xr

from attrib.plots import bars
from attrib.plots.scale import figure
from attrib.testing.legibility import drawn_lines


def test_dollar_signs_are_no_formulas() -> None:
    """As formulas these would be an error, or lose their signs."""
    names = ["a$b$c", "$\\frac{$", "x^2$"]
    a = xr.DataArray([3.0, 2.0, 1.0], dims="gene", coords={"gene": names}, attrs={"units": "$per$ cell"})
    ax = bars(a)
    ax.set_title("$title$")
    words = {line.words for line in drawn_lines(ax.figure)}
    assert {*names, "$title$"} <= words
    assert any("$per$" in w for w in words)


def test_powers_of_ten_stay_formulas() -> None:
    drawing = figure((3, 2))
    ax = drawing.add_subplot()
    ax.set_yscale("log")
    ax.plot([1, 1e6])
    drawing.savefig(__import__("io").BytesIO())
    assert any(t.get_parse_math() and "10^" in t.get_text() for t in ax.get_yticklabels())


def test_notebooks_show_them() -> None:
    ax = bars(xr.DataArray(np.ones(2), dims="gene"))
    assert ax.figure._repr_png_().startswith(b"\x89PNG")
