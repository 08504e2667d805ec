"""The files of a cohort of cell images, written from one image's part at a time: memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._version import __version__
from attrib.domains.cells import ImageFile, read_image
from attrib.io import load, save, save_rows, write_json
from attrib.io.place import strict
from attrib.plots import confusion, panels
from attrib.plots.scale import figure, shortened
from attrib.workflows.cells.gathered import CohortSums
from attrib.workflows.cells.page import study_page
from attrib.workflows.folder import Folder

GALLERY = 6  # images of a row


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
    alike = cohort.alike()
    if alike is not None:
        save(alike, run.file("class_consistency.csv"))
    if (run.path / f"{table.image[0]}_{methods[0]}.png").is_file():
        run.picture("gallery.png", gallery(run.path, table, methods[0]))
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
        label = f"mean {m}"
        run.picture(f"mean_{m}.png", panels(attribution, "predicted", shared=False, label=label))
    sd = cohort.sd()
    if sd is None or not (several := [str(c) for c in sd["predicted"].values[sd["count"].values > 1]]):
        return
    save(sd, run.file("variation_maps.nc"))
    for m in cohort.methods:
        spread = sd.sel({"method": m, "predicted": several}, drop=True)
        run.picture(
            f"variation_{m}.png",
            panels(spread, "predicted", shared=False, label=f"sd of {m}"),
        )


def gallery(folder: Path, table: pd.DataFrame, method: str) -> Any:
    """The images on which a method is the surest by deletion against random orders, and those on which it is the least sure."""
    column = f"{method}_deletion_z"
    ranked = table[table[column].notna()].sort_values(column, ascending=False, kind="stable")
    half = min(GALLERY, len(ranked) // 2) or len(ranked)
    rows = {
        "largest deletion z": ranked.head(half),
        "smallest deletion z": ranked.tail(half) if len(ranked) > 1 else ranked.head(0),
    }
    drawing = figure((max(4.0, 1.9 * half), 5.2))
    grid: Any = drawing.subplots(2, max(1, half), squeeze=False)
    for axes, (title, some) in zip(grid, rows.items(), strict=True):
        for ax in axes:
            ax.set_axis_off()
        for ax, r in zip(axes, some.to_dict("records"), strict=False):
            ax.imshow(read_image(folder / f"{r['image']}_{method}.png").values)
            wrong = r.get("correct") is False
            ax.set_title(
                f"{shortened(str(r['image']), 18)}\n{shortened(str(r['predicted']), 18)}{' (wrong)' if wrong else ''}\nz {r[column]:.2g}",
                fontsize=7,
            )
        axes[0].text(
            -0.08, 0.5, title, rotation=90, va="center", ha="right", fontsize=8, transform=axes[0].transAxes
        )
    return drawing


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
