"""What is computed of cell images, probabilities, attributions and deletion curves, and the files of one image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from attrib import functional
from attrib._arguments import refuse_unnamed
from attrib.domains.cells import ImageFile, read_compartments, read_mask
from attrib.domains.processors import pillow_module
from attrib.engine.model.companions import Companions
from attrib.engine.model.function import one_tensor
from attrib.engine.model.parameters import device_of
from attrib.functional import METHODS as METHODS_HERE
from attrib.functional import Curve, class_activation_maps
from attrib.io import replacing, save, write_json
from attrib.io.place import strict
from attrib.labels.align import forward_args
from attrib.labels.inputs import labelled_inputs
from attrib.plots import bars, overlaid, overlays
from attrib.plots.image import ACROSS
from attrib.plots.scale import shortened, wrapped
from attrib.scale.loading import first_line
from attrib.stats import entropy, mass_inside, rank_correlation
from attrib.workflows.checkpoint import Classifier
from attrib.workflows.drawing import method_name
from attrib.workflows.folder import save_picture, stamp
from attrib.workflows.plan import Context
from attrib.workflows.plan import plan as arguments_of

OPTIONS = (
    "relu",
    "normalize",
    "call",
)  # of the methods: maps lie on the pixels, of the one input, at one layer
METHODS = ("grad_cam", "grad_cam_plus_plus", "layer_cam")
SIDE_BY_SIDE = 20  # at most so many classes are explained for every image
ABOVE = 24  # that fit above an overlay
STEPS = 10
CONTROLS = 5  # random orders, shared by all methods

FIGURES = (
    "entropy", "mass_inside", "mass_inside_chance", "border_mass", "border_mass_chance", "deletion_area", "deletion_random_area", "deletion_z",
)  # fmt: skip


class Plan(NamedTuple):
    """The settings for every image; a folder holds images of one plan."""

    methods: tuple[str, ...]
    layer: str
    targets: str | tuple[str, ...]
    classes: tuple[str, ...]
    source: str
    seed: int = 0
    compartments: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = {}  # by method

    @property
    def goals(self) -> str | list[Any]:
        """The targets that are computed: all classes if they are few, for the picture that compares them."""
        if self.targets == "all" or len(self.classes) <= SIDE_BY_SIDE:
            return "all"
        named = () if self.targets == "predicted" else self.targets
        return [*(self.classes.index(t) for t in named if t != "predicted"), "predicted"]

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
    def together(self) -> list[tuple[list[str], Mapping[str, Any]]]:
        """Methods of the same options, which take one pass of the model, and these options."""
        some: dict[str, list[str]] = {}
        for m in self.methods:
            some.setdefault(repr(sorted(self.options.get(m, {}).items())), []).append(m)
        return [(names, self.options.get(names[0], {})) for names in some.values()]

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
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan for these arguments.

    Raises
    ------
    ValueError
        For unknown methods, classes and options.
    """
    maps = [name for name, m in METHODS_HERE.items() if m.about.result == "layer map"]
    refuse_unnamed("methods", methods, maps)
    named = [targets] if isinstance(targets, str) else list(dict.fromkeys(targets))
    refuse_unnamed("target", named, ["predicted", "all", *classifier.classes])
    chosen = "all" if "all" in named else "predicted" if named == ["predicted"] else tuple(named)
    if len({*compartments, "background"}) <= len(compartments):
        raise ValueError(
            f"`compartments` is {', '.join(compartments)}; expected different names for the mask's values from 1 on, without background, which is 0"
        )
    for key in options or {}:
        refuse_unnamed("options", [key.rpartition(".")[2]], OPTIONS)
    by_method = arguments_of(methods, options=options).by_method
    return Plan(
        tuple(dict.fromkeys(methods)),
        layer,
        chosen,
        classifier.classes,
        classifier.source,
        seed,
        tuple(compartments),
        {m: arguments for m, arguments in by_method.items() if arguments},
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
    try:
        with torch.no_grad():
            logits = one_tensor(classifier.model(x, *values, **named), len(x)).float()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the user's code
        raise ValueError(f"`model` fails on images of shape {tuple(x.shape)} ({first_line(error)}); check `processor`") from error  # fmt: skip
    if logits.ndim != 2 or logits.shape[1] != len(plan.classes) or len(plan.classes) < 2:
        raise ValueError(f"`classes` has {len(plan.classes)} names, but `model` gives {tuple(logits.shape)} for {len(x)} images, expected a logit for each, of at least 2")  # fmt: skip
    best = logits.argmax(1)
    explanations: dict[str, functional.Explanation] = {}
    for some, options in plan.together:
        explanations |= class_activation_maps(
            some, classifier.model, x, layer=plan.layer, targets=plan.goals, batch_size=len(x),
            additional_forward_args=beside, **options,
        )  # fmt: skip
    maps = torch.stack([torch.as_tensor(explanations[m].attribution) for m in plan.methods])
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


class Deletion(NamedTuple):
    """Deletion curves of one image: of each method, its area, that of random orders, and z against these."""

    curve: np.ndarray
    area: np.ndarray
    random_area: np.ndarray
    z: np.ndarray


class Cell(NamedTuple):
    """An image and its results.

    Attributes
    ----------
    file : ImageFile
    stamp : str
    image : DataArray (y, x, channel)
    probability : array (C,)
    maps : array (target, method, y, x)
        Attributions on the image's pixels; NaN outside the network's input.
    seen : array (target, method, row, column)
        Attributions on the network's input.
    deletion : Deletion
        Of the predicted class.
    classes, methods, labels : tuple of str
        `labels` belong to the target dim.
    layer : str
    mask : DataArray (y, x) or None
    compartments : DataArray (compartment, y, x) or None
    """

    file: ImageFile
    stamp: str
    image: xr.DataArray
    probability: np.ndarray
    maps: np.ndarray
    seen: np.ndarray
    deletion: Deletion
    classes: tuple[str, ...]
    methods: tuple[str, ...]
    labels: tuple[str, ...]
    layer: str
    mask: xr.DataArray | None
    compartments: xr.DataArray | None = None

    @property
    def predicted(self) -> str:
        """The class of the largest probability."""
        return self.classes[int(self.probability.argmax())]

    def at(self, target: str) -> int:
        """The index of a target along the target dim."""
        label = self.predicted if target == "predicted" else target
        return self.labels.index(label) if label in self.labels else self.labels.index("predicted")

    def labelled(self) -> xr.DataArray:
        """The attributions with labels."""
        coords = {
            "target": list(self.labels),
            "method": list(self.methods),
            "y": self.image.y,
            "x": self.image.x,
        }
        dims, attrs = ("target", "method", "y", "x"), {"units": "output"}
        return xr.DataArray(self.maps, dims=dims, coords=coords, name="attribution", attrs=attrs)


def write_cell(
    cell: Cell, targets: tuple[str, ...], folder: Path, overlay: str, *, pictured: bool = True
) -> None:
    """Write pictures, the prediction as JSON, and last the attributions: their file marks the image as finished."""
    name = cell.file.name
    quality = figures(cell, cell.labelled().isel(target=cell.at("predicted")))
    if pictured:
        _draw(cell, folder, overlay)
    write_json(
        strict(prediction(cell) | {"layer": cell.layer, "quality": quality}), folder / f"{name}_results.json"
    )
    save(_part(cell, targets, quality), folder / "parts" / f"{name}.nc")


def _draw(cell: Cell, folder: Path, overlay: str) -> None:
    """Write the pictures."""
    name, maps = cell.file.name, cell.labelled()
    predicted = maps.isel(target=cell.at("predicted"))
    _save_picture(cell.image.values, folder / f"{name}_original.png")
    for method in cell.methods:
        _save_picture(
            overlaid(
                cell.image,
                predicted.sel({"method": method}),
                overlay="colour" if overlay == "contours" else overlay,
            ),
            folder / f"{name}_{method}.png",
        )
    title = f"{shortened(name, 32)}: {shortened(cell.predicted, 32)} ({cell.probability.max():.1%})"
    over = lambda text, panels: wrapped(text, ABOVE * min(1 + panels, ACROSS))
    by_method = overlays(
        cell.image, predicted, "method", title=over(title, len(cell.methods)), titles=[method_name(m) for m in cell.methods],
        outline=cell.mask, overlay=overlay,
    )  # fmt: skip
    save_picture(by_method, folder / f"{name}_methods.png")
    chances = dict(zip(cell.classes, cell.probability, strict=True)) | {"predicted": cell.probability.max()}
    by_class = overlays(
        cell.image, maps.isel(method=0), "target", title=over(f"{title}, {method_name(cell.methods[0])}", len(cell.labels)), shared=True,
        outline=cell.mask, overlay=overlay, titles=[wrapped(f"{shortened(t, 32)} ({chances[t]:.1%})", ABOVE) for t in cell.labels],
    )  # fmt: skip
    save_picture(by_class, folder / f"{name}_classes.png")
    probability = xr.DataArray(
        cell.probability, dims="class", coords={"class": [shortened(c, 32) for c in cell.classes]}
    )
    chances_of = bars(probability, label="probability")
    chances_of.set_title(wrapped(title, 50), fontsize=9, loc="right")
    save_picture(chances_of.figure, folder / f"{name}_probabilities.png")


def prediction(cell: Cell) -> dict[str, Any]:
    """The network's prediction for the image."""
    order = np.argsort(-cell.probability, kind="stable")
    ranked = [{"class": cell.classes[k], "probability": float(cell.probability[k])} for k in order]
    content: dict[str, Any] = {
        "image_name": cell.file.name,
        "predicted_class": cell.predicted,
        "confidence": float(cell.probability.max()),
        "top_3_predictions": ranked[:3],
        "all_probabilities": {c: float(p) for c, p in zip(cell.classes, cell.probability, strict=True)},
    }
    return content if cell.file.label is None else content | {"true_class": cell.file.label}


def figures(cell: Cell, attributions: xr.DataArray) -> dict[str, dict[str, Any]]:
    """Quality of each method's attribution (method, y, x) of the predicted class."""
    quality: dict[str, dict[str, Any]] = {}
    entropies = entropy(attributions)
    inside = None if cell.mask is None else mass_inside(attributions, cell.mask)
    border = mass_inside(attributions, border_of(np.isfinite(attributions.values).any(0)))
    names = [] if cell.compartments is None else [str(c) for c in cell.compartments["compartment"].values]
    shares = {c: mass_inside(attributions, cell.compartments.sel(compartment=c, drop=True)) for c in names}  # type: ignore[union-attr]
    for k, method in enumerate(cell.methods):
        quality[method] = {
            "entropy": float(entropies[k]),
            "deletion_area": float(cell.deletion.area[k]),
            "deletion_random_area": float(cell.deletion.random_area[k]),
            "deletion_z": float(cell.deletion.z[k]),
            "deletion_curve": [float(v) for v in cell.deletion.curve[k]],
            "mass_inside": None if inside is None else float(inside[k]),
            "mass_inside_chance": None if inside is None else float(inside.chance.broadcast_like(inside)[k]),
            "border_mass": float(border[k]),
            "border_mass_chance": float(border.chance.broadcast_like(border)[k]),
            "rank_correlation": {},
        }
        if shares:
            quality[method]["compartments"] = {
                c: {"mass": float(of[k]), "chance": float(of.chance.broadcast_like(of)[k])}
                for c, of in shares.items()
            }
    for method, other in combinations(cell.methods, 2):
        r = rank_correlation(attributions.sel({"method": method}), attributions.sel({"method": other}))
        quality[method]["rank_correlation"][other] = quality[other]["rank_correlation"][method] = r
    return quality


def border_of(seen: np.ndarray) -> xr.DataArray:
    """The outer tenth of what the network saw, on each side: what lies there is seldom the cell."""
    border = np.zeros(seen.shape, bool)
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    if rows.size:
        top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        high, wide = max(1, (bottom - top) // 10), max(1, (right - left) // 10)
        border[top:bottom, left:right] = True
        border[top + high : bottom - high, left + wide : right - wide] = False
    return xr.DataArray(border & seen, dims=("y", "x"))


def _part(cell: Cell, targets: tuple[str, ...], quality: dict[str, Any]) -> xr.Dataset:
    places = [cell.at(t) for t in targets]
    maps = cell.labelled().isel(target=places).assign_coords(target=list(targets)).astype(np.float32)
    on_input = cell.seen[cell.at("predicted")]
    part = xr.Dataset({"attribution": maps})
    part["seen"] = (("method", "row", "column"), on_input.astype(np.float32))
    part["deletion"] = (("method", "share"), cell.deletion.curve)
    part["probability"] = ("class", cell.probability)
    for figure in FIGURES:
        values = [quality[m][figure] for m in cell.methods]
        part[figure] = ("method", [math.nan if v is None else v for v in values])
    if cell.compartments is not None:
        names = [str(c) for c in cell.compartments["compartment"].values]
        part = part.assign_coords(compartment=names)
        for kind in ("mass", "chance"):
            values = [[quality[m]["compartments"][c][kind] for c in names] for m in cell.methods]
            part[f"compartment_{kind}"] = (("method", "compartment"), values)
    pairs = {f"{a}~{b}": quality[a]["rank_correlation"][b] for a, b in combinations(cell.methods, 2)}
    part["agreement"] = xr.DataArray(
        list(pairs.values()), dims="pair", coords={"pair": np.asarray(list(pairs), dtype=str)}
    )
    return part.assign_coords({"class": list(cell.classes)}).assign_attrs(
        image=cell.file.name, path=str(cell.file.path), stamp=cell.stamp, label=cell.file.label or "",
        predicted=cell.predicted, confidence=float(cell.probability.max()), layer=cell.layer,
    )  # fmt: skip


def _save_picture(values: np.ndarray, path: Path) -> None:
    with replacing(path) as temporary:
        pillow_module().Image.fromarray(np.ascontiguousarray(values)).save(temporary)
