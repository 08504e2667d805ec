"""The study of cell images: which pixels made a classifier say what it says, image by image and over the cohort."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from attrib.domains.cells import Found, find_images, read_image
from attrib.engine.model import device_of, one_tensor
from attrib.functional import MAPS
from attrib.io import load, write_json
from attrib.workflows.cellfiles import Cell, write_cell
from attrib.workflows.checkpoint import Classifier
from attrib.workflows.cohort import write_cohort
from attrib.workflows.deletion import deletion

METHODS = ("grad_cam", "grad_cam_plus_plus", "layer_cam")
SIDE_BY_SIDE = 20  # classes whose maps are made for every image
RECORD = "run.json"

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


class Plan(NamedTuple):
    """What every image is asked; a folder holds images of one plan."""

    methods: tuple[str, ...]
    layer: str
    targets: str | tuple[str, ...]
    classes: tuple[str, ...]
    source: str

    @property
    def goals(self) -> str | list[Any]:
        """The targets that are computed: all classes where they are few, for the picture of them side by side."""
        if self.targets == "all" or len(self.classes) <= SIDE_BY_SIDE:
            return "all"
        return [*(self.classes.index(t) for t in self.targets if self.targets != "predicted"), "predicted"]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of what is computed."""
        goals: Any = self.goals
        return (
            self.classes
            if goals == "all"
            else tuple(g if isinstance(g, str) else self.classes[g] for g in goals)
        )

    @property
    def kept(self) -> tuple[str, ...]:
        """The labels of the target dim of the results."""
        if self.targets == "all":
            return self.classes
        return ("predicted",) if self.targets == "predicted" else tuple(self.targets)


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
        Of `attrib.functional.MAPS`.
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
    plan = _plan(classifier, methods, layer, targets)
    if batch_size < 1 or (max_images is not None and max_images < 1):
        raise ValueError(
            f"--batch-size is {batch_size}, --max-images {max_images}; expected positive numbers"
        )
    found = find_images(images)[:max_images]
    folder = _folder(Path(output), plan)
    pending = [f for f in found if not _is_done(folder, f)]
    unreadable: dict[str, str] = {}
    done = len(found) - len(pending)
    for start in range(0, len(pending), batch_size):
        batch = _read(pending[start : start + batch_size], unreadable)
        for cell in _explained(classifier, plan, batch, masks):
            write_cell(cell, plan.kept, folder)
        done += len(pending[start : start + batch_size])
        if tell is not None:
            tell("images", done, len(found))
    finished = [f for f in found if str(f.path) not in unreadable]
    if not finished:
        raise ValueError(f"--images: none of {len(found)} can be read: {next(iter(unreadable.values()))}")
    summary, files = write_cohort(folder, finished, plan.classes, plan.methods, unreadable)
    return Study(folder, summary, files)


def _plan(classifier: Classifier, methods: Sequence[str], layer: str, targets: str | Sequence[str]) -> Plan:
    unknown = [m for m in methods if m not in MAPS]
    if unknown or not methods:
        raise ValueError(f"--methods is {' '.join(methods) or 'empty'}, expected some of {', '.join(MAPS)}")
    asked = (
        targets
        if targets in ("predicted", "all")
        else tuple([targets] if isinstance(targets, str) else targets)
    )
    strange = [t for t in asked if t not in classifier.classes] if isinstance(asked, tuple) else []
    if strange or not asked:
        raise ValueError(
            f"--targets is {' '.join(strange) or 'empty'}, expected predicted, all, or classes: {', '.join(classifier.classes[:20])}"
        )
    return Plan(tuple(dict.fromkeys(methods)), layer, asked, classifier.classes, classifier.source)


def _folder(path: Path, plan: Plan) -> Path:
    """The folder, new or of a run with the same plan."""
    settings = json.loads(json.dumps(plan._asdict()))
    record = path / RECORD
    if record.is_file():
        earlier = json.loads(record.read_text()).get("settings")
        if earlier != settings:
            other = [k for k in settings if (earlier or {}).get(k) != settings[k]]
            raise ValueError(
                f"--output is {path}, which holds a run with other {', '.join(other)}; name another folder"
            )
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(
            f"--output is {path}, which holds files of something else; name a new or an empty folder"
        )
    (path / "parts").mkdir(parents=True, exist_ok=True)
    write_json({"program": "attrib cells", "settings": settings}, record)
    return path


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


def stamp(path: Path) -> str:
    """Size and time of a file, by which a changed one is known."""
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"


def _read(batch: Sequence[Found], unreadable: dict[str, str]) -> list[tuple[Found, xr.DataArray]]:
    images = []
    for found in batch:
        try:
            images.append((found, read_image(found.path)))
        except ValueError as error:
            unreadable[str(found.path)] = str(error)
    return images


def _explained(
    classifier: Classifier, plan: Plan, batch: Sequence[tuple[Found, xr.DataArray]], masks: str | Path | None
) -> Iterator[Cell]:
    """Everything that is known of some images; those of one input size go through the model together."""
    rows = [torch.from_numpy(classifier.preparation.apply(image.values)) for _, image in batch]
    for _, numbers in groupby(
        sorted(range(len(batch)), key=lambda k: rows[k].shape), key=lambda k: rows[k].shape
    ):
        some = list(numbers)
        x = torch.stack([rows[k] for k in some])
        maps, probability, curves, name = _passes(classifier, plan, x)
        for j, k in enumerate(some):
            found, image = batch[k]
            frame = classifier.preparation.frame(*image.shape[:2])
            yield Cell(
                found, stamp(found.path), image, probability[j], frame.back(maps[:, :, j]), maps[:, :, j], curves[:, j],
                plan.classes, plan.methods, plan.labels, name, mask_of(found, image, masks),
            )  # fmt: skip


def _passes(classifier: Classifier, plan: Plan, x: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Maps (target, method, N, y, x), probabilities (N, C), deletion curves (method, N, share), the layer's name."""
    device = device_of(classifier.model) or x.device
    x = x.to(device)
    with torch.no_grad():
        logits = one_tensor(classifier.model(x), len(x)).float()
    if logits.ndim != 2 or logits.shape[1] != len(plan.classes) or len(plan.classes) < 2:
        raise ValueError(f"the model gives {tuple(logits.shape)} for {len(x)} images, expected logits of {len(plan.classes)} classes, at least 2")  # fmt: skip
    best = logits.argmax(1)
    maps: list[Tensor] = []
    curves: list[Tensor] = []
    layer = plan.layer
    for method in plan.methods:
        e = MAPS[method].explain(classifier.model, x, layer=layer, targets=plan.goals, batch_size=len(x))
        assert isinstance(e.attribution, Tensor)
        layer = str((e.notes or {})["layer"])
        maps.append(e.attribution)
        own = e.attribution[best, torch.arange(len(x))] if plan.goals == "all" else e.attribution[-1]
        curves.append(deletion(classifier.model, x, own, best, batch_size=4 * len(x)).cpu())
    stacked = torch.stack(maps, 1).cpu().numpy()
    return stacked, logits.softmax(1).cpu().double().numpy(), torch.stack(curves).numpy(), layer


def mask_of(found: Found, image: xr.DataArray, masks: str | Path | None) -> xr.DataArray | None:
    """The image's mask, if the folder has one.

    Raises
    ------
    ValueError
        If it is of another size.
    """
    if masks is None:
        return None
    places = [Path(masks) / (found.label or ""), Path(masks)]
    files = [p for place in places if place.is_dir() for p in sorted(place.iterdir()) if p.stem == found.path.stem and p.is_file()]  # fmt: skip
    if not files:
        return None
    mask = read_image(files[0]).max("channel") > 0
    if mask.shape != image.shape[:2]:
        raise ValueError(f"--masks: {files[0]} is {mask.shape}, its image {image.shape[:2]}")
    return mask
