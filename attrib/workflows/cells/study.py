"""The study of cell images: which pixels a classifier's prediction rests on, image by image and over the cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from attrib.domains.cells import ImageFile, find_images, left_out, read_image
from attrib.domains.draws import drawn_evenly
from attrib.io.place import LEGAL, file_names
from attrib.scale.runners import shares
from attrib.workflows.cells.cohort import write_cohort
from attrib.workflows.cells.explaining import (
    METHODS,
    Plan,
    compartments_of,
    explained,
    mask_file,
    plan_of,
    write_cell,
)
from attrib.workflows.checkpoint import Classifier
from attrib.workflows.folder import Folder, digest, earlier_part, picture_count, refuse_below_one, stamp
from attrib.workflows.plan import Context, context_of
from attrib.workflows.runner import Outcome, Studied, Study, studied
from attrib.workflows.study import Tell

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


@dataclass(frozen=True)
class Cells(Study):
    """A run's classifier and settings, and what is done with its images.

    Attributes
    ----------
    classifier : Classifier
    plan : Plan
    masks : path or None
    context : Context
    folder : Path
    overlay : str
    drawn : frozenset of str
        Images with pictures.
    """

    classifier: Classifier
    plan: Plan
    masks: str | Path | None
    context: Context
    folder: Path
    overlay: str
    drawn: frozenset[str]

    program = "attrib cells"
    what = argument = "images"

    def identity(self) -> Mapping[str, Any]:
        """What must be equal for a run to be continued."""
        classifier, masks = self.classifier, self.masks
        return self.plan._asdict() | self.context.identity() | {
            "weights": digest(classifier.model), "preparation": classifier.preparation, "several": classifier.several,
            "overlay": self.overlay, "masks": None if masks is None else str(Path(masks).resolve()),
        }  # fmt: skip

    def do(self, block: Sequence[ImageFile]) -> list[Outcome]:
        """Explain some images."""
        outcomes, readable = [], []
        for image in block:
            try:
                readable.append((image, read_image(image.path)))
            except ValueError as error:
                outcomes.append(Outcome(image.name, refused=str(error).removeprefix(f"{image.path} ")))
        for cell in explained(self.classifier, self.plan, readable, self.masks, self.context):
            name, saved = cell.file.name, self.plan.saved_labels
            draw = partial(write_cell, cell, saved, self.folder, self.overlay, pictured=name in self.drawn)
            outcomes.append(Outcome(name, draw))
        return outcomes

    def is_done(self, image: ImageFile) -> bool:
        """Whether the image's results exist, are complete, and belong to the present content of the file and its mask."""
        part = earlier_part(self.folder / "parts" / f"{image.name}.nc")
        attrs = {} if part is None else part.attrs
        if image.name in self.drawn and not (self.folder / f"{image.name}_probabilities.png").is_file():
            return False
        current = stamp(image.path, mask_file(image, self.masks))
        return attrs.get("path") == str(image.path) and attrs.get("stamp") == current


def cells(
    classifier: Classifier,
    images: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    methods: Sequence[str] = METHODS,
    layer: str = "auto",
    target: str | Sequence[str] = "predicted",
    masks: str | Path | None = None,
    compartments: Sequence[str] = (),
    context: Sequence[str] = (),
    max_samples: int | None = None,
    batch_size: int = 16,
    overlay: str = "grey",
    pictures: int | str = "all",
    workers: int = 0,
    cluster: Any = None,
    seed: int = 0,
    tell: Tell | None = None,
) -> Studied:
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
    target : "predicted", "all", or sequence of class names
        Classes whose attributions `attributions.nc` holds.
    masks : path, optional
        A folder of images with the images' names, nonzero where the cell is.
    compartments : sequence of str
        Names of the masks' values 1, 2, ..., such as nucleus, cytoplasm: the share of the attribution in each, and in the background, 0.
    context : sequence of str
        Tables or files with what the model takes beside an image, matched by the images' names as in `results.csv`: age, sex; see
        `attrib.workflows.explain.explain`.
    max_samples : int, optional
        At most so many, drawn evenly over the classes.
    batch_size : int, default 16
        Images in memory and in a call of the model.
    overlay : {"grey", "colour", "contours"}
        What attributions lie on in pictures, see `attrib.plots.overlays`: a grey image by default, since stains have the colours of heat.
    pictures : int, "all" or "none"
        How many images get pictures, drawn evenly over the classes. They take most of the time.
    workers : int, default 0
        Processes that draw, if there are more than a few images; 0: this one. Programs that pass more need ``if __name__ == "__main__"``.
    cluster : int, str or Client, optional
        Worker processes, or the address of a Dask scheduler whose workers see the same files; default: this process.
    seed : int, default 0
        Of the draw of images, and of the random orders of pixels beside the deletion curves.
    tell : callable, optional
        Gets ("images", images done, in all).

    Returns
    -------
    Studied

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
    plan = plan_of(classifier, methods, layer, target, seed, compartments)
    most = picture_count(pictures)
    shares(1, cluster)
    if compartments and masks is None:
        raise ValueError("`compartments` names values of masks; give `masks` too")
    refuse_below_one(batch_size=batch_size, max_samples=max_samples)
    if overlay not in ("grey", "colour", "contours"):
        raise ValueError(f"`overlay` is {overlay!r}, expected grey, colour or contours")
    every_file = find_images(images)
    files = [every_file[k] for k in drawn_evenly([f.label for f in every_file], max_samples, seed)]
    masked = [f for f in files if mask_file(f, masks) is not None]
    if masks is not None and not masked:
        raise ValueError(_without_masks(files, Path(masks)))
    for f in masked:
        compartments_of(f, masks, compartments)  # refused before anything is written
    names = file_names([f.name for f in files], RESERVED, LEGAL)
    files = [f._replace(name=names[f.name]) for f in files]
    beside = context_of(context, classifier.model, [f.name for f in files])
    drawn = frozenset(files[k].name for k in drawn_evenly([f.label for f in files], most, seed))
    study = Cells(classifier, plan, masks, beside, Path(output).absolute(), overlay, drawn)
    by_name = {f.name: f for f in files}

    def finish(run: Folder, done: list[str], refused: dict[str, str]) -> dict[str, Any]:
        unreadable = left_out(images) | {str(by_name[name].path): why for name, why in refused.items()}
        return write_cohort(run, [by_name[n] for n in done], plan.classes, plan.methods, unreadable, drawn)

    return studied(
        study, by_name, output, finish, size=batch_size, workers=workers, cluster=cluster, tell=tell
    )


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
