"""The pictures of one subject: slices, a summary, and nilearn's own viewer of the volume."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.io import replacing, to_nifti
from attrib.plots.anatomy import SEQUENTIAL, SlicePanels, colours_of, slice_summary, write_png
from attrib.plots.scale import DIVERGING
from attrib.workflows.mri.plan import shown
from attrib.workflows.mri.subjectfiles import map_name


class Sheet(NamedTuple):
    """What is drawn of a subject, as it travels to a process that draws.

    Attributes
    ----------
    folder : Path
    subject : str
    title : str
        Name, true label, prediction and its probability.
    anatomy : DataArray (i, j, k)
    maps : mapping of str to DataArray
    labels : mapping of str to str
        Of the colour bars, by method.
    atlas : DataArray or None
    dim : str
        Across the slices.
    slices : list of int
    percentile : float
    viewers : bool
    """

    folder: Path
    subject: str
    title: str
    anatomy: xr.DataArray
    maps: dict[str, xr.DataArray]
    labels: dict[str, str]
    atlas: xr.DataArray | None
    dim: str
    slices: list[int]
    percentile: float
    viewers: bool

    @property
    def files(self) -> list[str]:
        """Names of the files."""
        endings = [
            *(f"_slice_{k}.png" for k in self.slices),
            "_summary.png",
            *(["_viewer.html"] * self.viewers),
        ]
        return [map_name(m, self.subject, e) for m in self.maps for e in endings]


def draw(sheet: Sheet) -> list[str]:
    """Write a subject's pictures; their names."""
    for method, a in sheet.maps.items():
        title = f"{sheet.title}\n{shown(method)}"
        options: dict[str, Any] = {"atlas": sheet.atlas, "percentile": sheet.percentile, "label": sheet.labels[method], "title": title}  # fmt: skip
        panels = SlicePanels(sheet.anatomy, a, sheet.dim, **options)
        for k in sheet.slices:
            with replacing(sheet.folder / map_name(method, sheet.subject, f"_slice_{k}.png")) as temporary:
                panels.save(k, temporary)
        summary = slice_summary(sheet.anatomy, a, sheet.dim, sheet.slices, **options)
        with replacing(sheet.folder / map_name(method, sheet.subject, "_summary.png")) as temporary:
            write_png(summary.canvas, temporary, draw=True)
        if sheet.viewers:
            file = sheet.folder / map_name(method, sheet.subject, "_viewer.html")
            viewer(a, sheet.anatomy, sheet.percentile, title.replace("\n", ", "), file)
    return sheet.files


def viewer(
    a: xr.DataArray,
    anatomy: xr.DataArray,
    percentile: float,
    title: str,
    file: Path,
    threshold: float | None = None,
) -> None:
    """Write nilearn's interactive view of a volume over the anatomy: a page that needs nothing else."""
    from nilearn.plotting import view_img

    colours = colours_of(a, percentile)
    low, high = np.percentile(anatomy.values, [1, 99.5])
    grey = anatomy.copy(data=np.clip(anatomy.values, low, max(high, low + 1e-6)).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nilearn's, of casts and of thresholds
        page = view_img(
            to_nifti(a.drop_attrs()), bg_img=to_nifti(grey), title=title,
            threshold=colours.threshold if threshold is None else threshold, vmax=colours.limit, symmetric_cmap=colours.signed,
            cmap=DIVERGING if colours.signed else SEQUENTIAL, black_bg=True, colorbar=True, dim=-1,
            vmin=None if colours.signed else 0,
        )  # fmt: skip
        with replacing(file) as temporary:
            page.save_as_html(str(temporary))
