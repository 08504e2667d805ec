"""The files of a cohort of cell images, written from one image's part at a time: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._version import __version__
from attrib.domains.cells import ImageFile
from attrib.io import load, save, save_rows, write_json
from attrib.io.place import strict
from attrib.plots import confusion, panels
from attrib.workflows.cells.gathered import CohortSums
from attrib.workflows.cells.page import study_page
from attrib.workflows.folder import Folder


def write_cohort(
    run: Folder,
    images: Sequence[ImageFile],
    classes: Sequence[str],
    methods: Sequence[str],
    unreadable: Mapping[str, str],
) -> dict[str, Any]:
    """Write `attributions.nc`, `results.csv`, mean attributions, confusion matrix, `summary.json` and `index.html` from the images' parts.

    Returns
    -------
    dict
        The summary.
    """
    cohort = CohortSums(tuple(methods))
    for part in parts(run.path, images):
        cohort.add(part)
    table = cohort.table()
    save_rows(
        (_in_frame(p, cohort) for p in parts(run.path, images)), cohort.labels(), run.file("attributions.nc")
    )
    save(table, run.file("results.csv"))
    _means(run, cohort)
    _confusion(run, table, classes)
    summary: dict[str, Any] = strict(_summary(table, cohort, unreadable))
    write_json(summary, run.file("summary.json"))
    run.text("index.html", study_page(summary, table, run.files, methods))
    return summary


def parts(folder: Path, images: Sequence[ImageFile]) -> Iterator[xr.Dataset]:
    """The part of each image, one in memory at a time."""
    return (load(folder / "parts" / f"{image.name}.nc") for image in images)


def _in_frame(part: xr.Dataset, cohort: CohortSums) -> np.ndarray:
    """An image's attributions (target, method, y, x) in the upper left corner of the cohort's frame; NaN beyond."""
    attributions = part["attribution"].transpose("target", "method", "y", "x").values
    values = np.full((*attributions.shape[:2], *cohort.frame), np.nan, np.float32)
    values[:, :, : attributions.shape[2], : attributions.shape[3]] = attributions
    return values


def confusion_matrix(table: pd.DataFrame, classes: Sequence[str]) -> xr.DataArray | None:
    """Counts (true, predicted); None if no folder names a class."""
    if "label" not in table:
        return None
    labelled = table.dropna(subset="label")
    names = list(classes)
    counts = pd.crosstab(labelled.label, labelled.predicted).reindex(index=names, columns=names, fill_value=0)
    return xr.DataArray(
        counts.to_numpy(), dims=("true", "predicted"), coords={"true": names, "predicted": names}
    )


def _confusion(run: Folder, table: pd.DataFrame, classes: Sequence[str]) -> None:
    counts = confusion_matrix(table, classes)
    if counts is not None:
        save(counts.to_pandas().rename_axis("true").reset_index(), run.file("confusion_matrix.csv"))
        run.picture("confusion_matrix.png", confusion(counts))


def _means(run: Folder, cohort: CohortSums) -> None:
    """Write the mean attribution per predicted class, on the network's input, with a picture per method."""
    mean = cohort.mean()
    if mean is None:
        return
    save(mean, run.file("mean_maps.nc"))
    for m in cohort.methods:
        attribution = mean.sel({"method": m}, drop=True)
        label = f"mean {m} of the predicted class"
        run.picture(f"mean_{m}.png", panels(attribution, "predicted", shared=False, label=label))


def _summary(table: pd.DataFrame, cohort: CohortSums, unreadable: Mapping[str, str]) -> dict[str, Any]:
    numbers = [c for c in table.columns if any(c.startswith(m) for m in cohort.methods)]
    labelled = "correct" in table
    return {
        "images": len(table),
        "unreadable": [{"path": p, "reason": r} for p, r in unreadable.items()],
        "folders_that_are_no_class": sorted(cohort.strange),
        "predicted": {str(k): int(v) for k, v in table.predicted.value_counts().items()},
        "accuracy": float(table.correct.dropna().astype(bool).mean()) if labelled else None,
        "layer": cohort.layer,
        "mean_quality": {c: float(table[c].mean()) for c in numbers},
        "deletion_curves": cohort.curves(),
        "attrib_version": __version__,
    }
