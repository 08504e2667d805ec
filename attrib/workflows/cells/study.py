"""The study of cell images: which pixels a classifier's prediction rests on, image by image and over the cohort."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.cells import ImageFile, find_images, left_out, read_image
from attrib.domains.draws import drawn_evenly
from attrib.io.names import LEGAL, file_names
from attrib.workflows.cells.cohort import write_cohort
from attrib.workflows.cells.explaining import METHODS, Plan, compartments_of, explained, mask_file, plan_of
from attrib.workflows.cells.image import write_cell
from attrib.workflows.checkpoint import Classifier
from attrib.workflows.context import read_context
from attrib.workflows.folder import Folder, digest, earlier_part, stamp

PROGRAM = "attrib cells"
RESERVED = (
    "mean",
    "summary",
    "confusion",
    "attributions",
    "results",
    "run",
    "index",
    "parts",
)  # names of the cohort's files

Tell = Callable[[str, int, int], None]


class Study(NamedTuple):
    """Results of a run.

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
    compartments: Sequence[str] = (),
    context: Sequence[str] = (),
    max_images: int | None = None,
    batch_size: int = 16,
    overlay: str = "grey",
    seed: int = 0,
    command: Sequence[str] = (),
    tell: Tell | None = None,
) -> Study:
    """Explain a classifier on images of cells, and write pictures, tables and attributions into a folder.

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
        Classes whose attributions `attributions.nc` holds.
    masks : path, optional
        A folder of images with the images' names, nonzero where the cell is.
    compartments : sequence of str
        Names of the masks' values 1, 2, ..., such as nucleus, cytoplasm: the share of the attribution in each, and in the background, 0.
    context : sequence of str
        Tables or files with what the model takes beside an image, matched by the images' names as in `results.csv`: age, sex; see
        `attrib.workflows.explain.explain`.
    max_images : int, optional
        At most so many, drawn evenly over the classes.
    batch_size : int, default 16
        Images in memory and in a call of the model.
    overlay : {"grey", "colour", "contours"}
        What attributions lie on in pictures, see `attrib.plots.overlays`: a grey image by default, since stains have the colours of heat.
    seed : int, default 0
        Of the draw of images, and of the random orders of pixels beside the deletion curves.
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
        For unknown methods, classes and layers, a folder of another run, if no image has a mask in `masks`, and if no image can be
        read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, torch
    >>> from PIL import Image
    >>> from attrib.domains.processors import timm_preparation
    >>> from attrib.workflows.cells import cells
    >>> from attrib.workflows.checkpoint import Classifier
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for label in ("blast", "monocyte"):
    ...     (folder / "images" / label).mkdir(parents=True)
    ...     pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    ...     Image.fromarray(pixels).save(folder / "images" / label / "cell.png")
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    ... ).eval()
    >>> preparation = timm_preparation({"input_size": (3, 16, 16), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)})
    >>> classifier = Classifier(network, ("blast", "monocyte"), preparation, "random weights")
    >>> study = cells(classifier, folder / "images", folder / "results", methods=["grad_cam"])
    >>> sorted(p.name for p in study.folder.glob("*_cell_grad_cam.png"))
    ['blast_cell_grad_cam.png', 'monocyte_cell_grad_cam.png']
    """
    plan = plan_of(classifier, methods, layer, targets, seed, compartments)
    if compartments and masks is None:
        raise ValueError("`compartments` names values of masks; give `masks` too")
    if batch_size < 1 or (max_images is not None and max_images < 1):
        raise ValueError(
            f"`batch_size` is {batch_size}, `max_images` {max_images}; expected positive numbers"
        )
    if overlay not in ("grey", "colour", "contours"):
        raise ValueError(f"`overlay` is {overlay!r}, expected grey, colour or contours")
    every_file = find_images(images)
    files = [every_file[k] for k in drawn_evenly([f.label for f in every_file], max_images, seed)]
    masked = [f for f in files if mask_file(f, masks) is not None]
    if masks is not None and not masked:
        raise ValueError(_without_masks(files, Path(masks)))
    for f in masked:
        compartments_of(f, masks, compartments)  # refused before anything is written
    names = file_names([f.name for f in files], RESERVED, LEGAL)
    files = [f._replace(name=names[f.name]) for f in files]
    of_files = xr.DataArray(np.zeros(len(files)), coords={"sample": [f.name for f in files]})
    beside = read_context(context, classifier.model).labelled(of_files)
    beside.of(of_files)
    unreadable: dict[str, str] = {}
    settings = plan._asdict() | {
        "weights": digest(classifier.model), "preparation": classifier.preparation, "several": classifier.several,
        "overlay": overlay, "masks": None if masks is None else str(Path(masks).resolve()),
    }  # fmt: skip
    if context:
        settings["context"] = beside.digest()
    with Folder(output, command, program=PROGRAM, settings=settings) as run:
        for batch in _batches(run.path, files, batch_size, unreadable, masks, tell):
            for cell in explained(classifier, plan, batch, masks, beside):
                write_cell(cell, plan.saved_labels, run.path, overlay)
        summary = _sum_up(run, files, plan, unreadable, left_out(images))
    return Study(run.path, summary, run.files)


def _without_masks(images: Sequence[ImageFile], masks: Path) -> str:
    """The message if no image has a mask."""
    if not masks.is_dir():
        return f"`masks`: there is no folder {masks}"
    example = next(
        (f"; there is {p.relative_to(masks)}" for p in sorted(masks.rglob("*")) if p.is_file()), ""
    )
    stem, label = images[0].path.stem, images[0].label
    places = f"{masks / label} or {masks}" if label else str(masks)
    return f"`masks`: none of {len(images)} images has one; that of {images[0].path} would be {stem}.png (or .tif, .npy) in {places}{example}"


def _batches(
    folder: Path,
    images: Sequence[ImageFile],
    size: int,
    unreadable: dict[str, str],
    masks: str | Path | None,
    tell: Tell | None,
) -> Iterator[list[tuple[ImageFile, xr.DataArray]]]:
    """The unfinished images, some at a time; `tell` is called after each batch."""
    pending = [f for f in images if not _is_done(folder, f, masks)]
    done = len(images) - len(pending)
    for start in range(0, len(pending), size):
        some = pending[start : start + size]
        yield _read(some, unreadable)
        done += len(some)
        if tell is not None:
            tell("images", done, len(images))


def _sum_up(
    run: Folder,
    images: Sequence[ImageFile],
    plan: Plan,
    unreadable: dict[str, str],
    others: dict[str, str],
) -> dict[str, Any]:
    """Write the cohort's files."""
    readable = [f for f in images if str(f.path) not in unreadable]
    if not readable:
        raise ValueError(f"`images`: none of {len(images)} can be read: {next(iter(unreadable.values()))}")
    return write_cohort(run, readable, plan.classes, plan.methods, others | unreadable)


def _is_done(folder: Path, image: ImageFile, masks: str | Path | None) -> bool:
    """Whether the image's results exist, are complete, and belong to the present content of the file and its mask."""
    part = earlier_part(folder / "parts" / f"{image.name}.nc")
    attrs = {} if part is None else part.attrs
    return attrs.get("path") == str(image.path) and attrs.get("stamp") == stamp(
        image.path, mask_file(image, masks)
    )


def _read(batch: Sequence[ImageFile], unreadable: dict[str, str]) -> list[tuple[ImageFile, xr.DataArray]]:
    images = []
    for image in batch:
        try:
            images.append((image, read_image(image.path)))
        except ValueError as error:
            unreadable[str(image.path)] = str(error).removeprefix(f"{image.path} ")
    return images
