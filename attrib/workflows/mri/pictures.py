"""The pictures of one subject: slices, a summary, and nilearn's own viewer of the volume."""

from __future__ import annotations

import warnings
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.mri import Subject
from attrib.io import replacing, to_nifti
from attrib.plots.anatomy import SEQUENTIAL, SlicePanels, colours_of, slice_summary, write_png
from attrib.plots.scale import DIVERGING
from attrib.workflows.mri.intake import Cohort
from attrib.workflows.mri.plan import shown
from attrib.workflows.mri.subjectfiles import map_name, read_map, read_part


class Sheet(NamedTuple):
    """What is drawn of a subject whose maps are written, as it travels to a process that draws.

    Attributes
    ----------
    folder : Path
    subject : Subject
    cohort : Cohort
    methods : tuple of str
    dim : str
        Across the slices.
    slices : list of int
    """

    folder: Path
    subject: Subject
    cohort: Cohort
    methods: tuple[str, ...]
    dim: str
    slices: list[int]

    @property
    def files(self) -> list[str]:
        """Names of the files."""
        endings = [*(f"_slice_{k}.png" for k in self.slices), "_summary.png", "_viewer.html"]
        return [map_name(m, self.subject.name, e) for m in self.methods for e in endings]


def draw(sheet: Sheet) -> list[str]:
    """Write a subject's pictures; their names."""
    subject, cohort = sheet.subject, sheet.cohort
    part = read_part(sheet.folder, subject)
    assert part is not None
    anatomy, atlas = cohort.read(subject), cohort.atlas_of(subject)
    true = f"true {subject.label}, " if subject.label else ""
    says = f"{subject.name}: {true}predicted {part['predicted']} (p = {max(part['probability']):.3f})"
    for method in sheet.methods:
        a = read_map(sheet.folder, cohort, method, subject.name)
        title = f"{says}\n{shown(method)}"
        options: dict[str, Any] = {"atlas": atlas, "label": label_of(part["units"][method], part["target"]), "title": title}  # fmt: skip
        panels = SlicePanels(anatomy, a, sheet.dim, **options)
        for k in sheet.slices:
            with replacing(sheet.folder / map_name(method, subject.name, f"_slice_{k}.png")) as temporary:
                panels.save(k, temporary)
        summary = slice_summary(anatomy, a, sheet.dim, sheet.slices, **options)
        with replacing(sheet.folder / map_name(method, subject.name, "_summary.png")) as temporary:
            write_png(summary.canvas, temporary, draw=True)
        viewer(
            a,
            anatomy,
            f"{says}; {shown(method)}: {options['label']}",
            sheet.folder / map_name(method, subject.name, "_viewer.html"),
        )
    return sheet.files


def label_of(units: str, target: str) -> str:
    """What the colours of a map are."""
    if units == f"score of {target}":
        return f"change of the score of {target} (logit)"
    return units.replace(f"score of {target}", f"score of {target} (logit)").replace(
        "input unit", "unit of intensity"
    )


def viewer(
    a: xr.DataArray,
    anatomy: xr.DataArray,
    title: str,
    file: Path,
    threshold: float | None = None,
) -> None:
    """Write nilearn's interactive view of a volume over the anatomy: a page that needs nothing else.

    Its numbers have three decimals, so that small maps are shown as multiples of a power of ten. It cuts titles off; this one is a
    line of text below.
    """
    from nilearn.plotting import view_img

    colours = colours_of(a)
    power = 10.0 ** np.floor(np.log10(colours.limit))
    scale = 1.0 if 0.1 <= colours.limit < 1e4 else power
    low, high = np.percentile(anatomy.values, [1, 99.5])
    grey = anatomy.copy(data=np.clip(anatomy.values, low, max(high, low + 1e-6)).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nilearn's, of casts and of thresholds
        page = view_img(
            to_nifti(a.drop_attrs() / scale), bg_img=to_nifti(grey),
            threshold=(colours.threshold if threshold is None else threshold) / scale, vmax=colours.limit / scale,
            symmetric_cmap=colours.signed, cmap=DIVERGING if colours.signed else SEQUENTIAL, black_bg=True, colorbar=True, dim=0,
            vmin=None if colours.signed else 0,
        )  # fmt: skip
    line = escape(title if scale == 1 else f"{title}, in units of {scale:.0e}")
    caption = f'<p style="font: 14px sans-serif">{line}</p></body>'
    with replacing(file) as temporary:
        temporary.write_text(page.get_standalone().replace("</body>", caption), encoding="utf-8")
