"""The files of one image of the study of cells."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.cells import ImageFile
from attrib.domains.preparation import pillow_module
from attrib.io import replacing, save, write_json
from attrib.io.place import strict
from attrib.plots import overlaid, overlays
from attrib.stats import entropy, mass_inside, rank_correlation


class Cell(NamedTuple):
    """An image and what was found of it.

    Attributes
    ----------
    found : ImageFile
    stamp : str
    image : DataArray (y, x, channel)
    probability : array (C,)
    maps : array (target, method, y, x)
        On the image's pixels; NaN where the network saw nothing.
    seen : array (target, method, row, column)
        On the network's input.
    curves : array (method, share)
        Deletion curves of the predicted class.
    classes, methods, labels : tuple of str
        `labels` are those of the target dim.
    layer : str
    mask : DataArray (y, x) or None
    """

    found: ImageFile
    stamp: str
    image: xr.DataArray
    probability: np.ndarray
    maps: np.ndarray
    seen: np.ndarray
    curves: np.ndarray
    classes: tuple[str, ...]
    methods: tuple[str, ...]
    labels: tuple[str, ...]
    layer: str
    mask: xr.DataArray | None

    @property
    def predicted(self) -> str:
        """The class of the largest probability."""
        return self.classes[int(self.probability.argmax())]

    def at(self, target: str) -> int:
        """The place of a target along the target dim."""
        asked = self.predicted if target == "predicted" else target
        return self.labels.index(asked) if asked in self.labels else self.labels.index("predicted")

    def labelled(self) -> xr.DataArray:
        """The maps with labels."""
        coords = {
            "target": list(self.labels),
            "method": list(self.methods),
            "y": self.image.y,
            "x": self.image.x,
        }
        return xr.DataArray(self.maps, dims=("target", "method", "y", "x"), coords=coords, name="attribution")


def stamp(path: Path) -> str:
    """Size and time of a file, by which a changed one is known."""
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"


def write_cell(cell: Cell, kept: tuple[str, ...], folder: Path) -> None:
    """Pictures, the prediction as JSON, and last the maps, whose file says that the image is done."""
    name, maps = cell.found.name, cell.labelled()
    own = maps.isel(target=cell.at("predicted"))
    quality = figures(cell, own)
    _save_picture(cell.image.values, folder / f"{name}_original.png")
    for method in cell.methods:
        _save_picture(overlaid(cell.image, own.sel({"method": method})), folder / f"{name}_{method}.png")
    title = f"{name}: {cell.predicted} ({cell.probability.max():.1%})"
    _save_figure(
        overlays(cell.image, own, "method", title=title, outline=cell.mask), folder / f"{name}_methods.png"
    )
    chances = dict(zip(cell.classes, cell.probability, strict=True)) | {"predicted": cell.probability.max()}
    shown = overlays(
        cell.image, maps.isel(method=0), "target", title=f"{title}, {cell.methods[0]}", shared=True, outline=cell.mask,
        titles=[f"{t} ({chances[t]:.1%})" for t in cell.labels],
    )  # fmt: skip
    _save_figure(shown, folder / f"{name}_classes.png")
    write_json(
        strict(prediction(cell) | {"layer": cell.layer, "quality": quality}), folder / f"{name}_results.json"
    )
    save(_part(cell, kept, quality), folder / "parts" / f"{name}.nc")


def prediction(cell: Cell) -> dict[str, Any]:
    """What the network says of the image."""
    order = np.argsort(-cell.probability, kind="stable")
    said = [{"class": cell.classes[k], "probability": float(cell.probability[k])} for k in order]
    found: dict[str, Any] = {
        "image_name": cell.found.name,
        "predicted_class": cell.predicted,
        "confidence": float(cell.probability.max()),
        "top_3_predictions": said[:3],
        "all_probabilities": {c: float(p) for c, p in zip(cell.classes, cell.probability, strict=True)},
    }
    return found if cell.found.label is None else found | {"true_class": cell.found.label}


def figures(cell: Cell, own: xr.DataArray) -> dict[str, dict[str, Any]]:
    """Quality of each method's map (method, y, x) of the predicted class."""
    found: dict[str, dict[str, Any]] = {}
    entropies = entropy(own)
    inside = None if cell.mask is None else mass_inside(own, cell.mask)
    for k, method in enumerate(cell.methods):
        found[method] = {
            "entropy": float(entropies[k]),
            "deletion_area": float(cell.curves[k].mean()),
            "deletion_curve": [float(v) for v in cell.curves[k]],
            "mass_inside": None if inside is None else float(inside[k]),
            "rank_correlation": {},
        }
    for one, other in combinations(cell.methods, 2):
        r = rank_correlation(own.sel({"method": one}), own.sel({"method": other}))
        found[one]["rank_correlation"][other] = found[other]["rank_correlation"][one] = r
    return found


def _part(cell: Cell, kept: tuple[str, ...], quality: dict[str, Any]) -> xr.Dataset:
    places = [cell.at(t) for t in kept]
    maps = cell.labelled().isel(target=places).assign_coords(target=list(kept)).astype(np.float32)
    own = cell.seen[cell.at("predicted")]
    found = xr.Dataset({"attribution": maps})
    found["seen"] = (("method", "row", "column"), own.astype(np.float32))
    found["deletion"] = (("method", "share"), cell.curves.astype(float))
    found["probability"] = ("class", cell.probability)
    for figure in ("entropy", "mass_inside"):
        values = [quality[m][figure] for m in cell.methods]
        found[figure] = ("method", [math.nan if v is None else v for v in values])
    pairs = {f"{a}~{b}": quality[a]["rank_correlation"][b] for a, b in combinations(cell.methods, 2)}
    found["agreement"] = xr.DataArray(
        list(pairs.values()), dims="pair", coords={"pair": np.asarray(list(pairs), dtype=str)}
    )
    return found.assign_coords({"class": list(cell.classes)}).assign_attrs(
        image=cell.found.name, path=str(cell.found.path), stamp=cell.stamp, label=cell.found.label or "",
        predicted=cell.predicted, confidence=float(cell.probability.max()), layer=cell.layer,
    )  # fmt: skip


def _save_picture(values: np.ndarray, path: Path) -> None:
    with replacing(path) as temporary:
        pillow_module().Image.fromarray(np.ascontiguousarray(values)).save(temporary)


def _save_figure(made: Any, path: Path) -> None:
    with replacing(path) as temporary:
        made.savefig(temporary)
