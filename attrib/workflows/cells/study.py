"""The study of cell images: which pixels made a classifier say what it says, image by image and over the cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from attrib.domains.cells import Found, find_images, read_image
from attrib.io import load
from attrib.workflows.cells.cohort import write_cohort
from attrib.workflows.cells.image import stamp, write_cell
from attrib.workflows.cells.passes import explained
from attrib.workflows.cells.plan import METHODS, Plan, plan_of
from attrib.workflows.checkpoint import Classifier
from attrib.workflows.continued import Continued
from attrib.workflows.identity import digest

PROGRAM = "attrib cells"

Tell = Callable[[str, int, int], None]


class Study(NamedTuple):
    """What a run has done.

    Attributes
    ----------
    folder : Path
    summary : dict
        Counts, accuracy, unreadable images, mean quality figures: the content of `summary.json`.
    files : list of str
        Of the cohort.
    """

    folder: Path
    summary: dict[str, Any]
    files: list[str]


def cells(
    classifier: Classifier,
    images: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    methods: Sequence[str] = METHODS,
    layer: str = "auto",
    targets: str | Sequence[str] = "predicted",
    masks: str | Path | None = None,
    max_images: int | None = None,
    batch_size: int = 16,
    command: Sequence[str] = (),
    tell: Tell | None = None,
) -> Study:
    """Explain a classifier on images of cells, and write pictures, tables and maps into a folder.

    Parameters
    ----------
    classifier : Classifier
        See `attrib.workflows.checkpoint`.
    images : path or sequence of path
        Files and folders; the folders inside a folder are classes, from which accuracy and a confusion matrix follow.
    output : path
        Folder for the results. One that holds a run with the same model and settings is continued: images that are
        done are not done again.
    methods : sequence of str
        Of `attrib.functional.METHODS`, those that give a map of a layer.
    layer : str, default "auto"
        See `attrib.grad_cam`.
    targets : "predicted", "all", or sequence of class names
        Which classes' maps `attributions.nc` holds.
    masks : path, optional
        A folder of images of the same names as the images', nonzero where the cell is.
    max_images : int, optional
        The first so many.
    batch_size : int, default 16
        Images in memory and in a call of the model.
    command : sequence of str
        As typed, for `run.json`.
    tell : callable, optional
        Gets ("images", images done, in all).

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        For unknown methods, classes and layers, a folder of another run, and images none of which can be read.
    """
    plan = plan_of(classifier, methods, layer, targets)
    if batch_size < 1 or (max_images is not None and max_images < 1):
        raise ValueError(
            f"--batch-size is {batch_size}, --max-images {max_images}; expected positive numbers"
        )
    found = find_images(images)[:max_images]
    unreadable: dict[str, str] = {}
    settings = plan._asdict() | {"weights": digest(classifier.model)}
    with Continued(output, PROGRAM, settings, command) as run:
        for batch in _batches(run.path, found, batch_size, unreadable, tell):
            for cell in explained(classifier, plan, batch, masks):
                write_cell(cell, plan.kept, run.path)
        summary = _sum_up(run, found, plan, unreadable)
    return Study(run.path, summary, run.files)


def _batches(
    folder: Path, found: Sequence[Found], size: int, unreadable: dict[str, str], tell: Tell | None
) -> Iterator[list[tuple[Found, xr.DataArray]]]:
    """The images that are not done yet, some at a time; tells how many are, once a batch has been worked on."""
    pending = [f for f in found if not _is_done(folder, f)]
    done = len(found) - len(pending)
    for start in range(0, len(pending), size):
        some = pending[start : start + size]
        yield _read(some, unreadable)
        done += len(some)
        if tell is not None:
            tell("images", done, len(found))


def _sum_up(run: Continued, found: Sequence[Found], plan: Plan, unreadable: dict[str, str]) -> dict[str, Any]:
    """The cohort's files; those that an earlier run listed and this one lacks go when it ends."""
    finished = [f for f in found if str(f.path) not in unreadable]
    if not finished:
        raise ValueError(f"--images: none of {len(found)} can be read: {next(iter(unreadable.values()))}")
    summary, files = write_cohort(run.path, finished, plan.classes, plan.methods, unreadable)
    for name in files:
        run.file(name)
    return summary


def _is_done(folder: Path, found: Found) -> bool:
    """Whether the image's results are there, whole, and of the file as it is now."""
    part = folder / "parts" / f"{found.name}.nc"
    if not part.is_file():
        return False
    try:
        attrs = load(part).attrs
    except (OSError, ValueError, KeyError):
        return False
    return attrs.get("path") == str(found.path) and attrs.get("stamp") == stamp(found.path)


def _read(batch: Sequence[Found], unreadable: dict[str, str]) -> list[tuple[Found, xr.DataArray]]:
    images = []
    for found in batch:
        try:
            images.append((found, read_image(found.path)))
        except ValueError as error:
            unreadable[str(found.path)] = str(error).removeprefix(f"{found.path} ")
    return images
