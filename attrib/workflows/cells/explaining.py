"""What is computed of cell images: the settings, and a classifier's probabilities, attributions and deletion curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from attrib import functional
from attrib._nearest import refuse_unnamed
from attrib.domains.cells import ImageFile, read_compartments, read_mask
from attrib.engine.model.companions import Companions
from attrib.engine.model.function import one_tensor
from attrib.engine.model.parameters import device_of
from attrib.functional import METHODS as METHODS_HERE
from attrib.functional import Curve, class_activation_maps
from attrib.labels.align import forward_args
from attrib.labels.inputs import labelled_inputs
from attrib.workflows.cells.image import Cell, Deletion
from attrib.workflows.checkpoint import Classifier
from attrib.workflows.context import Context
from attrib.workflows.folder import stamp

METHODS = ("grad_cam", "grad_cam_plus_plus", "layer_cam")
SIDE_BY_SIDE = 20  # at most so many classes are explained for every image
STEPS = 10
CONTROLS = 5  # random orders, shared by all methods


class Plan(NamedTuple):
    """The settings for every image; a folder holds images of one plan."""

    methods: tuple[str, ...]
    layer: str
    targets: str | tuple[str, ...]
    classes: tuple[str, ...]
    source: str
    seed: int = 0
    compartments: tuple[str, ...] = ()

    @property
    def goals(self) -> str | list[Any]:
        """The targets that are computed: all classes if they are few, for the picture that compares them."""
        if self.targets == "all" or len(self.classes) <= SIDE_BY_SIDE:
            return "all"
        return [*(self.classes.index(t) for t in self.targets if self.targets != "predicted"), "predicted"]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the targets that are computed."""
        goals: Any = self.goals
        return (
            self.classes
            if goals == "all"
            else tuple(g if isinstance(g, str) else self.classes[g] for g in goals)
        )

    @property
    def saved_labels(self) -> tuple[str, ...]:
        """The labels of the target dim of the results."""
        if self.targets == "all":
            return self.classes
        return ("predicted",) if self.targets == "predicted" else tuple(self.targets)


def plan_of(
    classifier: Classifier,
    methods: Sequence[str],
    layer: str,
    targets: str | Sequence[str],
    seed: int = 0,
    compartments: Sequence[str] = (),
) -> Plan:
    """The plan for these arguments.

    Raises
    ------
    ValueError
        For unknown methods and classes.
    """
    maps = [name for name, m in METHODS_HERE.items() if m.about.result == "layer map"]
    refuse_unnamed("methods", methods, maps)
    chosen = (
        targets
        if targets in ("predicted", "all")
        else tuple([targets] if isinstance(targets, str) else targets)
    )
    if isinstance(chosen, tuple):
        refuse_unnamed("target", chosen, ["predicted", "all", *classifier.classes])
    if len({*compartments, "background"}) <= len(compartments):
        raise ValueError(
            f"`compartments` is {', '.join(compartments)}; expected different names for the mask's values from 1 on, without background, which is 0"
        )
    return Plan(
        tuple(dict.fromkeys(methods)),
        layer,
        chosen,
        classifier.classes,
        classifier.source,
        seed,
        tuple(compartments),
    )


def deletion(
    model: Callable[..., Any],
    rows: Tensor,
    maps: Tensor,
    target: Tensor,
    batch_size: int = 32,
    several: bool = False,
    beside: Any = (),
    seed: int = 0,
) -> functional.Curve:
    """Deletion curves of several methods, beside random orders of the pixels.

    Parameters
    ----------
    model : callable
        Images (N, C, y, x) to logits (N, classes).
    rows : Tensor (N, C, y, x)
        Images as the model takes them.
    maps : Tensor (method, N, y, x)
        Importance; the channels of a pixel go together.
    target : Tensor (N,)
        The class of each image.
    batch_size : int, default 32
        Rows per model call.
    several : bool, default False
        Whether an image may have several labels: probabilities are sigmoids then.
    beside : tuple, mapping or Beside
        What goes into the model beside the images, as `additional_forward_args`.
    seed : int, default 0
        Of the random orders.

    Returns
    -------
    Curve
        Scores (method, N, 11) are probabilities; areas and z (method, N), and `random_area` that of the same random orders for
        all methods.
    """

    def probabilities(x: Tensor, *values: Any, **named: Any) -> Tensor:
        logits = one_tensor(model(x, *values, **named), len(x)).float()
        return logits.sigmoid() if several else logits.softmax(1)

    return functional.deletion.explain(
        probabilities, rows, maps[:, :, None].to(rows.device), baselines=rows.mean((2, 3), keepdim=True),
        targets=[target.tolist()] * len(maps), steps=STEPS, n_random=CONTROLS, seed=seed, batch_size=batch_size,
        additional_forward_args=beside,
    )  # fmt: skip


def explained(
    classifier: Classifier,
    plan: Plan,
    batch: Sequence[tuple[ImageFile, xr.DataArray]],
    masks: str | Path | None,
    context: Context | None = None,
) -> Iterator[Cell]:
    """All results of some images, with what goes into the model beside them; images of one input size go through it together."""
    rows = [torch.from_numpy(classifier.preparation.apply(image.values)) for _, image in batch]
    for _, numbers in groupby(
        sorted(range(len(batch)), key=lambda k: rows[k].shape), key=lambda k: rows[k].shape
    ):
        some = list(numbers)
        x = torch.stack([rows[k] for k in some])
        beside = _beside(x, [batch[k][0].name for k in some], context or Context())
        maps, probability, curves, name = _passes(classifier, plan, x, beside)
        for j, k in enumerate(some):
            file, image = batch[k]
            frame = classifier.preparation.frame(*image.shape[:2])
            yield Cell(
                file, stamp(file.path, mask_file(file, masks)), image, probability[j], frame.back(maps[:, :, j]), maps[:, :, j], deletion_of(curves, j),
                plan.classes, plan.methods, plan.labels, name, mask_of(file, image, masks), compartments_of(file, masks, plan.compartments),
            )  # fmt: skip


def deletion_of(curves: Curve, j: int) -> Deletion:
    """The curves of image `j`, method by method."""
    assert curves.random_area is not None
    assert curves.z is not None
    fields = (curves.score, curves.area, curves.random_area, curves.z)
    return Deletion(*(t[:, j].cpu().double().numpy() for t in fields))


def _beside(x: Tensor, names: Sequence[str], context: Context) -> Any:
    """The values of these images, in the form that the pure functions take."""
    images = xr.DataArray(x.numpy(), dims=("sample", "channel", "y", "x"), coords={"sample": list(names)})
    return forward_args(context.of(images), labelled_inputs(images), x.dtype)


def _passes(
    classifier: Classifier, plan: Plan, x: Tensor, beside: Any
) -> tuple[np.ndarray, np.ndarray, Curve, str]:
    """Attributions (target, method, N, y, x), probabilities (N, C), deletion curves (method, N, share), the layer's name."""
    device = device_of(classifier.model) or x.device
    x = x.to(device)
    values, named = Companions(beside, len(x)).at(torch.arange(len(x)), x)
    with torch.no_grad():
        logits = one_tensor(classifier.model(x, *values, **named), len(x)).float()
    if logits.ndim != 2 or logits.shape[1] != len(plan.classes) or len(plan.classes) < 2:
        raise ValueError(f"the model gives {tuple(logits.shape)} for {len(x)} images, expected logits of {len(plan.classes)} classes, at least 2")  # fmt: skip
    best = logits.argmax(1)
    explanations = class_activation_maps(
        plan.methods,
        classifier.model,
        x,
        layer=plan.layer,
        targets=plan.goals,
        batch_size=len(x),
        additional_forward_args=beside,
    )
    maps = torch.stack([torch.as_tensor(e.attribution) for e in explanations.values()])
    predicted = maps[:, best, torch.arange(len(x))] if plan.goals == "all" else maps[:, -1]
    curves = deletion(
        classifier.model,
        x,
        predicted,
        best,
        batch_size=4 * len(x),
        several=classifier.several,
        beside=beside,
        seed=plan.seed,
    )
    layers = next(iter(explanations.values())).layers
    assert layers is not None
    probability = (logits.sigmoid() if classifier.several else logits.softmax(1)).cpu().double().numpy()
    return maps.transpose(0, 1).cpu().numpy(), probability, curves, layers[0]


def mask_of(file: ImageFile, image: xr.DataArray, masks: str | Path | None) -> xr.DataArray | None:
    """The image's mask, if the folder has one.

    Raises
    ------
    ValueError
        If it is of another size.
    """
    path = mask_file(file, masks)
    if path is None:
        return None
    mask = read_mask(path)
    if mask.shape != image.shape[:2]:
        raise ValueError(f"`masks`: {path} is {mask.shape}, its image {image.shape[:2]}")
    return mask


def compartments_of(file: ImageFile, masks: str | Path | None, names: Sequence[str]) -> xr.DataArray | None:
    """The compartments of the image's mask, if they have names and the folder has a mask."""
    path = mask_file(file, masks)
    return read_compartments(path, names) if names and path is not None else None


def mask_file(file: ImageFile, masks: str | Path | None) -> Path | None:
    """The file of an image's mask, if the folder has one."""
    if masks is None:
        return None
    for place in (Path(masks) / (file.label or ""), Path(masks)):
        if place.is_dir():
            mask = _by_stem(place, place.stat().st_mtime_ns).get(file.path.stem)
            if mask is not None:
                return mask
    return None


@lru_cache(maxsize=64)
def _by_stem(folder: Path, changed: int) -> dict[str, Path]:
    """The files of a folder as it was at some time, by their names without ending; the first of several."""
    return {p.stem: p for p in sorted(folder.iterdir(), reverse=True) if p.is_file()}
