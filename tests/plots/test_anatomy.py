"""Slices of volumes: what lies where, and whether it can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from attrib.labels.grids import VOXEL_DIMS, affine_coord, affine_of, anatomical, to_mm
from attrib.plots import slice_panels, slice_summary
from attrib.plots.anatomy import SlicePanels, colours_of, write_png
from attrib.testing import legible

LAS = np.array([[-2.0, 0, 0, 20], [0, 2, 0, -30], [0, 0, 2, -10], [0, 0, 0, 1]])
PSR = np.array([[0, 0, 2.0, -9], [-2, 0, 0, 9], [0, 2, 0, -7], [0, 0, 0, 1]])


def volume(affine: np.ndarray, seed: int = 0, shape: tuple[int, ...] = (10, 12, 9)) -> xr.DataArray:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    labels = {d: np.arange(n) for d, n in zip(VOXEL_DIMS, shape, strict=True)}
    return xr.DataArray(values, dims=VOXEL_DIMS, coords=labels).assign_coords(affine=affine_coord(affine))


@pytest.mark.parametrize("affine", [LAS, PSR], ids=["LAS", "PSR"])
@pytest.mark.parametrize("dim", VOXEL_DIMS)
def test_pictures_show_a_voxel_where_it_lies_in_mm(affine: np.ndarray, dim: str) -> None:
    """The pixel at a voxel's mm has its value, whatever way the image is stored."""
    a = volume(affine)
    voxel = {"i": 3, "j": 8, "k": 6}
    mm = to_mm(affine, [voxel[d] for d in VOXEL_DIMS])
    figure = slice_panels(a, a, dim, voxel[dim])
    shown = figure.axes[1].images[0]
    low_x, high_x, low_y, high_y = shown.get_extent()
    values = np.asarray(shown.get_array())
    across = int(np.abs(affine[:3, VOXEL_DIMS.index(dim)]).argmax())
    x, y = (mm[n] for n in range(3) if n != across)
    column = int((x - low_x) / (high_x - low_x) * values.shape[1])
    row = int((y - low_y) / (high_y - low_y) * values.shape[0])
    assert shown.origin == "lower"
    assert values[row, column] == pytest.approx(float(a.sel(voxel)))
    assert f"{'xyz'[across]} = {mm[across]:.3g} mm" in figure.axes[0].get_title()
    letters = {t.get_text(): t.get_position() for t in figure.axes[0].texts}
    if "L" in letters:
        assert letters["L"][0] < letters["R"][0]
    if "A" in letters and "P" in letters:
        axis = 0 if across == 0 else 1
        assert letters["P"][axis] < letters["A"][axis]


def test_turned_arrays_run_to_the_right_to_anterior_and_up() -> None:
    oblique = LAS @ np.array([[1, 0.1, 0, 0], [-0.1, 1, 0.2, 0], [0, -0.2, 1, 0], [0, 0, 0, 1]])
    for affine in (LAS, PSR, oblique):
        a = volume(affine)
        turned = anatomical(a)
        after = affine_of(turned, turned.dims)
        assert (np.diag(after[:3, :3]) > 0).all()
        place = [2, 3, 4]
        voxel = {d: int(turned[d].values[p]) for d, p in zip(turned.dims, place, strict=True)}
        np.testing.assert_allclose(to_mm(after, place), to_mm(affine, [voxel[d] for d in VOXEL_DIMS]))
        assert float(turned.isel(dict(zip(turned.dims, place, strict=True)))) == float(a.sel(voxel))


def test_every_text_can_be_read() -> None:
    a = volume(LAS, shape=(40, 48, 36))
    atlas = (a > 0.5).astype(int)
    title = "sub-001: true TLE, predicted TLE (p = 0.931)\nintegrated gradients"
    for sign in (1, -1):
        shown = abs(a) if sign > 0 else a
        legible(
            slice_panels(
                a, shown, "k", 20, atlas=atlas, label="change of the score of TLE (logit)", title=title
            )
        )
        legible(slice_summary(a, shown, "k", [5, 10, 15, 20, 25, 30, 34], atlas=atlas, label="change of the score of TLE (logit)", title=title))  # fmt: skip


def test_one_figure_writes_many_slices_as_new_ones_would(tmp_path: Path) -> None:
    a = volume(PSR)
    atlas = (a > 0).astype(int)
    panels = SlicePanels(a, a, "j", atlas)
    for index in (2, 7):
        panels.save(index, tmp_path / "slice.png")
        fresh = slice_panels(a, a, "j", index, atlas=atlas)
        write_png(fresh.canvas, tmp_path / "fresh.png", draw=True)
        written, expected = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in ("slice", "fresh"))
        np.testing.assert_array_equal(written, expected)


def test_overlays_are_clear_below_the_threshold_and_never_where_there_is_nothing() -> None:
    a = xr.DataArray(np.linspace(-1, 1, 101))
    colours = colours_of(a, 80)
    rgba = colours.over(a.values)
    assert (rgba[np.abs(a.values) < colours.threshold, 3] == 0).all()
    assert (rgba[np.abs(a.values) >= colours.threshold, 3] > 0.4).all()
    assert (colours_of(xr.zeros_like(a)).over(np.zeros(5))[:, 3] == 0).all()
    assert colours.signed
    assert not colours_of(abs(a)).signed


def test_refusals() -> None:
    a = volume(LAS)
    with pytest.raises(ValueError, match="`dim` is 'z'"):
        slice_panels(a, a, "z", 1)
    with pytest.raises(ValueError, match="`index` is 40, but slices along 'k' go from 0 to 8"):
        slice_panels(a, a, "k", 40)
    with pytest.raises(ValueError, match="`attribution` has sizes"):
        slice_panels(a, a.isel(i=slice(3)), "k", 1)
    with pytest.raises(ValueError, match="affine"):
        slice_panels(a.drop_vars("affine"), a, "k", 1)
