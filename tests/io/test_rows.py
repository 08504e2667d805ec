"""Arrays written row by row are those that are written at once."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from attrib.io import load, save, save_rows


def cohort() -> xr.DataArray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 2, 4, 3)).astype(np.float32)
    values[1, 0, 2] = np.nan
    coords = {
        "image": [f"cell{k}" for k in range(5)],
        "target": ["WBC", "RBC"],
        "y": ("y", np.arange(4), {"units": "pixel"}),
        "confidence": ("image", np.linspace(0, 1, 5)),
        "label": ("image", list("aabba")),
    }
    attrs = {"units": "output", "asked": True, "nothing": None}
    return xr.DataArray(
        values, dims=("image", "target", "y", "x"), coords=coords, name="attribution", attrs=attrs
    )


@pytest.mark.parametrize("change", [lambda a: a, lambda a: a.rename(None), lambda a: a[:0], lambda a: a[:, 0, 0, 0]])  # fmt: skip
def test_rows_are_the_whole(change, tmp_path: Path) -> None:
    a = change(cohort())
    labels = a.copy(data=np.broadcast_to(np.zeros((), a.dtype), a.shape))
    assert load(save_rows(iter(a.values), labels, tmp_path / "rows.nc")).identical(a)
    assert load(save(a, tmp_path / "whole.nc")).identical(load(tmp_path / "rows.nc"))


def test_wrong_rows_leave_nothing(tmp_path: Path) -> None:
    a = cohort()
    save(a[:1], tmp_path / "a.nc")
    for rows, said in ((a.values[:4], "ends after 4, expected 5"), (a.values[:, 0], r"gives \(4, 3\) as number 1"), (np.concatenate([a.values] * 2), "as number 6")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            save_rows(rows, a, tmp_path / "a.nc")
    assert load(tmp_path / "a.nc").identical(a[:1])
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    with pytest.raises(ValueError, match=r"expected a name that ends in \.nc"):
        save_rows(a.values, a, tmp_path / "a.npy")
    with pytest.raises(TypeError, match="`labels` is of dtype bool"):
        save_rows([], a > 0, tmp_path / "a.nc")


def test_memory_is_that_of_a_row(tmp_path: Path) -> None:
    """Traced by Python's allocator, which NumPy tells of its arrays."""
    import tracemalloc

    shape = (60, 2, 200, 200)
    labels = xr.DataArray(np.broadcast_to(np.float32(0), shape), dims=("image", "target", "y", "x"))
    row = int(np.prod(shape[1:])) * 4
    save_rows(iter([]), labels[:0], tmp_path / "warm.nc")
    tracemalloc.start()
    save_rows((np.full(shape[1:], k, np.float32) for k in range(shape[0])), labels, tmp_path / "a.nc")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * row
