"""The study of cell images: which pixels a classifier's prediction rests on, image by image and over the cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from attrib.workflows.checkpoint import Classifier, classifier_of
from attrib.workflows.data import places_of
from attrib.workflows.folder import Folder, digest, earlier_part, picture_count, refuse_below_one, stamp
from attrib.workflows.plan import Context, context_of
from attrib.workflows.runner import Outcome, Study, studied
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

    program, what = "attrib cells", "images"

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
    data: str | Path | Sequence[str | Path],
    model: str | Path | Classifier | Callable[..., Any],
    output: str | Path,
    *,
    weights: str | Path | None = None,
    classes: str | Sequence[str] | None = None,
    processor: str | Path | None = None,
    target: str | Sequence[str] = "predicted",
    methods: Sequence[str] = METHODS,
    options: Mapping[str, Any] | None = None,
    layer: str = "auto",
    context: Sequence[str] = (),
    masks: str | Path | None = None,
    compartments: Sequence[str] = (),
    samples: Sequence[str] | None = None,
    max_samples: int | None = None,
    overlay: str = "grey",
    pictures: int | str = "all",
    batch_size: int = 16,
    device: str | None = None,
    cluster: Any = None,
    seed: int = 0,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Path:
    """Explain a classifier on images of cells, and write pictures, tables and attributions into a folder.

    Parameters
    ----------
    data : path or sequence of path
        Images, and folders of them; the folders inside a folder are classes, from which accuracy and a confusion matrix follow.
    model : path, str, Classifier or callable
        The folder of a checkpoint, see `attrib.workflows.checkpoint.load_checkpoint`; ``"package.module:factory"`` or a network, with
        `classes`; or a classifier that is loaded.
    output : path
        Folder for the results. One that holds a run with the same model and settings is continued: images that are
        done are not done again.
    weights : path, optional
        A state dict for the factory.
    classes : str or sequence of str, optional
        Names of the outputs of a model of your own: a sequence, a text with commas, or a file with one per line.
    processor : path, optional
        Its `preprocessor_config.json`; models of timm bring their own.
    target : "predicted", "all", or sequence of class names
        Classes whose attributions `attributions.nc` holds.
    methods : sequence of str
        Of `attrib.functional.METHODS`, those that give a map of a layer.
    options : mapping, optional
        Arguments of methods, `relu`, `normalize` and `call`: ``{"relu": False}``, or ``{"grad_cam.relu": False}`` for one.
    layer : str, default "auto"
        See `attrib.grad_cam`.
    context : sequence of str
        Tables or files with what the model takes beside an image, matched by the images' names as in `results.csv`: age, sex; see
        `attrib.workflows.explain.explain`.
    masks : path, optional
        A folder of images with the images' names, nonzero where the cell is.
    compartments : sequence of str
        Names of the masks' values 1, 2, ..., such as nucleus, cytoplasm: the share of the attribution in each, and in the background, 0.
    samples : sequence of str, optional
        Images by name, as in `results.csv`; default: all.
    max_samples : int, optional
        At most so many, drawn evenly over the classes.
    overlay : {"grey", "colour", "contours"}
        What attributions lie on in pictures, see `attrib.plots.overlays`: a grey image by default, since stains have the colours of heat.
    pictures : int, "all" or "none"
        How many images get pictures, drawn evenly over the classes. They take most of the time.
    batch_size : int, default 16
        Images in memory and in a call of the model.
    device : str, optional
        Where to put a checkpoint's or a factory's network.
    cluster : int, str or Client, optional
        Worker processes, or the address of a Dask scheduler whose workers see the same files; default: this process.
    seed : int, default 0
        Of the draw of images, and of the random orders of pixels beside the deletion curves.
    overwrite : bool, default False
        Whether to begin anew in a folder of an earlier run.
    tell : callable, optional
        Gets ("images", images done, in all).

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        For unknown methods, classes, layers and images, a folder of another run, if no image has a mask in `masks`, and if no image can be
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
    >>> results = cells(folder / "images", classifier, folder / "results", methods=["grad_cam"])
    >>> sorted(p.name for p in results.glob("*_cell_grad_cam.png"))
    ['blast_cell_grad_cam.png', 'monocyte_cell_grad_cam.png']
    """
    classifier = classifier_of(model, weights, classes, processor, device)
    plan = plan_of(classifier, methods, layer, target, seed, compartments, options)
    most = picture_count(pictures)
    shares(1, cluster)
    if compartments and masks is None:
        raise ValueError("`compartments` names values of masks; give `masks` too")
    refuse_below_one(batch_size=batch_size, max_samples=max_samples)
    if overlay not in ("grey", "colour", "contours"):
        raise ValueError(f"`overlay` is {overlay!r}, expected grey, colour or contours")
    files = find_images(data)
    plain = file_names([f.name for f in files], RESERVED, LEGAL)
    files = [f._replace(name=plain[f.name]) for f in files]
    files = [files[k] for k in places_of([f.name for f in files], samples)]
    files = [files[k] for k in drawn_evenly([f.label for f in files], max_samples, seed)]
    masked = [f for f in files if mask_file(f, masks) is not None]
    if masks is not None and not masked:
        raise ValueError(_without_masks(files, Path(masks)))
    for f in masked:
        compartments_of(f, masks, compartments)  # refused before anything is written
    beside = context_of(context, classifier.model, [f.name for f in files])
    drawn = frozenset(files[k].name for k in drawn_evenly([f.label for f in files], most, seed))
    study = Cells(classifier, plan, masks, beside, Path(output).absolute(), overlay, drawn)
    by_name = {f.name: f for f in files}

    def finish(run: Folder, done: list[str], refused: dict[str, str]) -> None:
        unreadable = left_out(data) | {str(by_name[name].path): why for name, why in refused.items()}
        write_cohort(run, [by_name[n] for n in done], plan.classes, plan.methods, unreadable, drawn)

    return studied(
        study, by_name, output, finish, overwrite=overwrite, size=batch_size, cluster=cluster, tell=tell
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
