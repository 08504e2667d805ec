"""What is written of all subjects together: tables, group maps, one file with all maps, a picture and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io import save, save_rows, write_json
from attrib.io.nifti import numbers, open_image, oriented
from attrib.io.place import strict
from attrib.labels.grids import VOXEL_DIMS
from attrib.workflows.folder import Folder, timed
from attrib.workflows.mri.groups import Groups, Means, compare
from attrib.workflows.mri.intake import Cohort
from attrib.workflows.mri.overview import overview
from attrib.workflows.mri.page import study_page
from attrib.workflows.mri.pictures import viewer
from attrib.workflows.mri.plan import Plan, Voxels, shown
from attrib.workflows.mri.subjectfiles import read_map


class Done(NamedTuple):
    """The subjects that are explained.

    Attributes
    ----------
    cohort : Cohort
    plan : Plan
    parts : list of dict
        What is known of each, see `attrib.workflows.mri.subjectfiles`.
    problems : list of dict
        Of the others: `subject`, `problem`, `kept`.
    drawn : list of str
        Subjects with pictures.
    across : str
        The dim across slices.
    slices : list of int
        That are drawn.
    seconds : dict of str to float
        What took how long.
    """

    cohort: Cohort
    plan: Plan
    parts: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    drawn: list[str]
    across: str
    slices: list[int]
    seconds: dict[str, float]


def write_cohort(run: Folder, done: Done, voxels: Voxels) -> dict[str, Any]:
    """Write the files of the cohort; returns the summary."""
    parts, methods = done.parts, done.plan.methods
    table = pd.DataFrame([r for p in parts for r in p["rows"]])
    regions = pd.DataFrame([r for p in parts for r in p["regions"]])
    with timed(done.seconds, "statistics"):
        groups = compare(run.path, done.cohort, done.plan, parts, regions, voxels)
    for file in groups.files:
        run.file(file)
    for name, frame in (
        ("attribution_statistics.csv", table), ("regions.csv", regions), ("problems.csv", pd.DataFrame(done.problems)),
        ("clusters.csv", groups.clusters), ("group_regions.csv", groups.regions), ("lateralisation.csv", groups.indices),
        ("group_lateralisation.csv", groups.sides), ("consistency.csv", groups.consistency), ("agreement.csv", groups.agreement),
    ):  # fmt: skip
        if len(frame):
            save(frame, run.file(name))
    with timed(done.seconds, "summary picture and viewers"):
        run.picture("attribution_summary.png", overview(table, groups, methods))
        pages = _group_viewers(run, done, groups) if done.drawn else {}
    with timed(done.seconds, "attributions.nc and means"):
        means = Means(methods)
        _store(run, done, means)
        for file in means.write(run.path, done.cohort, parts[0]["target"]):
            run.file(file)
    done.seconds.update({k: round(v, 2) for k, v in done.seconds.items()})
    summary = _summary(table, groups, done)
    write_json(strict(summary), run.file("summary.json"))
    files = [f for f in run.files if "/" not in f]
    page = study_page(
        summary, table, groups, files, done.problems, done.drawn, methods, done.across, done.slices, pages
    )
    run.text("index.html", page)
    return summary


def _group_viewers(run: Folder, done: Done, groups: Groups) -> dict[str, str]:
    """Pages with the group maps over the first subject's anatomy."""
    pages: dict[str, str] = {}
    for file in groups.files:
        method = file.removeprefix("group_").removesuffix(".nii.gz")
        image = oriented(open_image(run.path / file), done.plan.orientation)
        anatomy = done.cohort.read(done.cohort.subjects[0])
        title = f"t of {shown(method)}: {groups.positive} less {groups.negative}"
        pages[method] = f"group_{method}_viewer.html"
        viewer(done.cohort.volume(numbers(image)[0]), anatomy, title, run.file(pages[method]), threshold=2.0)
    return pages


def _maps(run: Folder, done: Done, means: Means) -> Iterator[np.ndarray]:
    """The maps (method, i, j, k) of each subject, one subject in memory at a time; `means` gets them too."""
    for p in done.parts:
        maps = np.stack([read_map(run.path, done.cohort, m, p["subject"]).values for m in done.plan.methods])
        means.add(str(p["label"]), maps)
        yield maps


def _store(run: Folder, done: Done, means: Means) -> None:
    """Write all maps into one netCDF file, a subject at a time."""
    parts, methods = done.parts, done.plan.methods
    coords: dict[str, Any] = {
        "subject": [p["subject"] for p in parts],
        "method": list(methods),
        "label": ("subject", [p["label"] for p in parts]),
        "predicted": ("subject", [p["predicted"] for p in parts]),
        "probability": ("subject", [max(p["probability"]) for p in parts]),
        "prediction": ("subject", [p["score"] for p in parts]),
        **done.cohort.grid,
    }
    labels = xr.DataArray(
        np.broadcast_to(np.float32(0), (len(parts), len(methods), *done.cohort.shape)), dims=("subject", "method", *VOXEL_DIMS),
        coords=coords, name="attribution", attrs={"long_name": f"attribution of the score of {parts[0]['target']}"},
    )  # fmt: skip
    labels.attrs["units"] = "; ".join(f"{m}: {u}" for m, u in parts[0]["units"].items())
    save_rows(_maps(run, done, means), labels, run.file("attributions.nc"))


def _summary(table: pd.DataFrame, groups: Groups, done: Done) -> dict[str, Any]:
    once = table.drop_duplicates("subject")
    judged = once[once.correct.notna()]
    errors = {}
    for method, rows in table.groupby("method", sort=False):
        delta = rows.delta.dropna().astype(float).abs()
        if len(delta):
            errors[str(method)] = {"median": float(delta.median()), "max": float(delta.max())}
    z = table.astype({"deletion_z": float}).groupby("method", sort=False)["deletion_z"].median()
    classes: Sequence[str] = done.parts[0]["classes"]
    return {
        "subjects": len(done.parts),
        "left_out": sum(not p["kept"] for p in done.problems),
        "target": done.plan.target or classes[-1],
        "classes": list(classes),
        "labels": {str(k): int(v) for k, v in once.label.value_counts().items()},
        "labelled": len(judged),
        "accuracy": float(judged.correct.astype(bool).mean()) if len(judged) else None,
        "completeness_error": errors,
        "deletion_z_median": {str(m): float(v) for m, v in z.items()},
        "significant_clusters": int((groups.clusters.p_mass < 0.05).sum()) if len(groups.clusters) else None,
        "pictures_of": len(done.drawn),
        "seconds": done.seconds,
        "notes": groups.notes,
    }
