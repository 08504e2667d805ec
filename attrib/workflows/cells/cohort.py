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
from attrib.io import load, replacing, save, save_rows, write_json
from attrib.io.place import strict
from attrib.plots import confusion, panels
from attrib.workflows.cells.gathered import CohortSums
from attrib.workflows.cells.page import study_page


def write_cohort(
    folder: Path,
    images: Sequence[ImageFile],
    classes: Sequence[str],
    methods: Sequence[str],
    unreadable: Mapping[str, str],
) -> tuple[dict[str, Any], list[str]]:
    """Write `attributions.nc`, `results.csv`, mean attributions, confusion matrix, `summary.json` and `index.html` from the images' parts.

    Returns
    -------
    (dict, list of str)
        The summary, and the names of the files.
    """
    cohort = CohortSums(tuple(methods))
    for part in parts(folder, images):
        cohort.add(part)
    table = cohort.table()
    save_rows(
        (_in_frame(p, cohort) for p in parts(folder, images)), cohort.labels(), folder / "attributions.nc"
    )
    save(table, folder / "results.csv")
    files = ["attributions.nc", "results.csv", *_means(folder, cohort), *_confusion(folder, table, classes)]
    summary = strict(_summary(table, cohort, unreadable))
    write_json(summary, folder / "summary.json")
    with replacing(folder / "index.html") as temporary:
        temporary.write_text(study_page(summary, table, files, methods), encoding="utf-8")
    return summary, [*files, "summary.json", "index.html"]


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


def _confusion(folder: Path, table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    counts = confusion_matrix(table, classes)
    if counts is None:
        return []
    save(counts.to_pandas().rename_axis("true").reset_index(), folder / "confusion_matrix.csv")
    with replacing(folder / "confusion_matrix.png") as temporary:
        confusion(counts).savefig(temporary)
    return ["confusion_matrix.csv", "confusion_matrix.png"]


def _means(folder: Path, cohort: CohortSums) -> list[str]:
    """Write the mean attribution per predicted class, on the network's input, with a picture per method."""
    mean = cohort.mean()
    if mean is None:
        return []
    save(mean, folder / "mean_maps.nc")
    names = ["mean_maps.nc"]
    for m in cohort.methods:
        with replacing(folder / f"mean_{m}.png") as temporary:
            attribution = mean.sel({"method": m}, drop=True)
            panels(attribution, "predicted", shared=False, label=f"mean {m} of the predicted class").savefig(
                temporary
            )
        names.append(f"mean_{m}.png")
    return names


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
