"""Overlays: the image where a map is zero, colour where it is not, dark where nothing was seen."""

import numpy as np
import pytest
import xarray as xr

from attrib.plots import confusion, overlaid, overlays

IMAGE = xr.DataArray(np.full((4, 4, 3), 100, np.uint8), dims=("y", "x", "channel"))


def test_colours() -> None:
    a = xr.DataArray(np.zeros((4, 4)), dims=("y", "x"))
    a[0, 0], a[0, 1], a[3, 3] = 2.0, 1.0, np.nan
    found = overlaid(IMAGE, a, limit=2.0)
    assert found.dtype == np.uint8
    assert np.array_equal(found[1:3], IMAGE.values[1:3])
    assert found[3, 3].tolist() == [40, 40, 40]
    shift = np.abs(found[0, :2].astype(int) - 100).sum(1)
    assert shift[0] > 60
    signed = overlaid(IMAGE, a - 3 * (a == 1), limit=2.0)
    assert signed[0, 0, 0] > signed[0, 0, 2]  # red for, blue against
    assert signed[0, 1, 0] < signed[0, 1, 2]
    with pytest.raises(ValueError, match="expected the same pixels"):
        overlaid(IMAGE, a[:2])


def test_panels_and_their_titles() -> None:
    a = xr.DataArray(
        np.random.default_rng(0).random((2, 4, 4)), dims=("method", "y", "x"), coords={"method": ["p", "q"]}
    )
    made = overlays(IMAGE, a, "method", title="cell 1", outline=a[0] > 0.5)
    assert [ax.get_title() for ax in made.axes] == ["image", "p", "q"]
    assert len(made.axes[1].collections) == 1
    one, other = (
        overlays(IMAGE, a * [[[1]], [[9]]], "method", shared=s).axes[1].images[0].get_array()
        for s in (True, False)
    )
    assert np.abs(np.asarray(one, int) - 100).sum() < np.abs(np.asarray(other, int) - 100).sum()


def test_confusion_matrix_names_classes() -> None:
    table = xr.DataArray(
        [[3, 1], [0, 2]], dims=("true", "predicted"), coords={"true": ["a", "b"], "predicted": ["a", "b"]}
    )
    ax = confusion(table).axes[0]
    assert [t.get_text() for t in ax.texts] == ["3", "1", "0", "2"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
