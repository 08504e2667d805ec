"""Letters as high as their numbers, at their places."""

import numpy as np
import pytest
import xarray as xr

from attrib.plots import letters


def test_outlines_have_the_heights_and_places() -> None:
    values = [1.0, -2.0, 0.5, np.nan]
    a = xr.DataArray(
        values, dims="position", coords={"position": [1, 2, 3, 4], "letter": ("position", list("ACGT"))}
    )
    ax = letters(a, label="share")
    boxes = [p.get_extents() for p in ax.collections[0].get_paths()]
    assert len(boxes) == 3
    for k, (box, value) in enumerate(zip(boxes, values, strict=False)):
        assert (box.y0, box.y1) == pytest.approx((min(0, value), max(0, value)))
        assert (box.x0 + box.x1) / 2 == pytest.approx(k)
        assert box.width <= 0.9 + 1e-9
    assert [t.get_text()[0] for t in ax.get_xticklabels()] == ["A", "C", "G"]
    low, high = ax.get_ylim()
    assert low < -2.0
    assert high > 1.0
    assert letters(a, limit=3.0).get_ylim()[0] == pytest.approx(-3.12)


def test_what_has_no_letters_is_refused() -> None:
    with pytest.raises(ValueError, match="coord `letter`"):
        letters(xr.DataArray([1.0], dims="position"))
