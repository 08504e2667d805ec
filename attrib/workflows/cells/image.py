"""The files of one image of the study of cells."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.cells import ImageFile
from attrib.domains.processors import pillow_module
from attrib.io import replacing, save, write_json
from attrib.io.place import strict
from attrib.plots import bars, overlaid, overlays
from attrib.plots.scale import shortened
from attrib.stats import entropy, mass_inside, rank_correlation
from attrib.workflows.drawing import method_name
from attrib.workflows.folder import save_picture

FIGURES = (
    "entropy", "mass_inside", "mass_inside_chance", "border_mass", "border_mass_chance", "deletion_area", "deletion_random_area", "deletion_z",
)  # fmt: skip


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
    title = f"{name}: {cell.predicted} ({cell.probability.max():.1%})"
    by_method = overlays(
        cell.image, predicted, "method", title=title, titles=[method_name(m) for m in cell.methods], outline=cell.mask, overlay=overlay,
    )  # fmt: skip
    save_picture(by_method, folder / f"{name}_methods.png")
    chances = dict(zip(cell.classes, cell.probability, strict=True)) | {"predicted": cell.probability.max()}
    by_class = overlays(
        cell.image, maps.isel(method=0), "target", title=f"{title}, {method_name(cell.methods[0])}", shared=True, outline=cell.mask, overlay=overlay,
        titles=[f"{t} ({chances[t]:.1%})" for t in cell.labels],
    )  # fmt: skip
    save_picture(by_class, folder / f"{name}_classes.png")
    probability = xr.DataArray(cell.probability, dims="class", coords={"class": list(cell.classes)})
    chances_of = bars(probability, label="probability")
    chances_of.set_title(shortened(title), fontsize=9)
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
