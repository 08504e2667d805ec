"""Sums and labels of a cohort of cell images, collected part by part, without the attributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._version import __version__
from attrib.stats import consistency
from attrib.workflows.cells.image import FIGURES

COARSE = 16  # cells of a map's side, by which images are compared


class CohortSums:
    """Sums over a cohort.

    Parameters
    ----------
    methods : tuple of str
        In the order of the results.

    Attributes
    ----------
    frame : (int, int)
        Height and width that hold every image.
    layer : str
        The layer of the attributions.
    strange : set of str
        Folders that are no class.
    """

    def __init__(self, methods: tuple[str, ...]) -> None:
        self.methods = methods
        self.frame, self.layer, self.strange = (0, 0), "", set[str]()
        self._rows: list[dict[str, Any]] = []
        self._sizes: list[tuple[int, int]] = []
        self._labels: list[str] = []
        self._sums: dict[str, np.ndarray] = {}
        self._squares: dict[str, np.ndarray] = {}
        self._small: list[np.ndarray] = []
        self._one_size = True
        self._deletion: Any = 0.0
        self._targets: np.ndarray = np.array([])

    def add(self, part: xr.Dataset) -> None:
        """Add an image's part."""
        size = part["attribution"].sizes["y"], part["attribution"].sizes["x"]
        self.frame = (max(self.frame[0], size[0]), max(self.frame[1], size[1]))
        self.layer, self._targets = part.attrs["layer"], part["target"].values
        label = part.attrs["label"]
        if label and label not in part["class"].values:
            self.strange.add(label)
        self._rows.append(row(part, self.methods))
        self._sizes.append(size)
        self._labels.append(label)
        self._deletion = self._deletion + part["deletion"].transpose("method", "share").values
        self._add_seen(part)

    def _add_seen(self, part: xr.Dataset) -> None:
        seen = part["seen"].transpose("method", "row", "column").values.astype(float)
        first = next(iter(self._sums.values()), seen)
        self._one_size &= first.shape == seen.shape
        if self._one_size:
            name = part.attrs["predicted"]
            self._sums[name] = self._sums.get(name, 0.0) + seen
            self._squares[name] = self._squares.get(name, 0.0) + seen**2
            self._small.append(coarse(seen))

    def table(self) -> pd.DataFrame:
        """A row per image: prediction, true class if known, and the quality of each method."""
        return pd.DataFrame(self._rows)

    def curves(self) -> dict[str, list[float]]:
        """The mean deletion curve of each method."""
        mean = self._deletion / len(self._rows)
        return {m: mean[k].tolist() for k, m in enumerate(self.methods)}

    def mean(self) -> xr.DataArray | None:
        """Mean attribution (predicted, method, row, column) of each predicted class; None if the inputs differ in size."""
        if not self._one_size:
            return None
        names = sorted(self._sums)
        predicted = [r["predicted"] for r in self._rows]
        counts = [predicted.count(n) for n in names]
        values = np.stack([self._sums[n] / count for n, count in zip(names, counts, strict=True)])
        coords = {"predicted": names, "method": list(self.methods), "count": ("predicted", counts)}
        attrs = {"long_name": "mean map of the predicted class", "units": "output"}
        dims = ("predicted", "method", "row", "column")
        return xr.DataArray(
            values.astype(np.float32), dims=dims, coords=coords, name="attribution", attrs=attrs
        )

    def sd(self) -> xr.DataArray | None:
        """Standard deviation over the images of each predicted class, as `mean`; NaN for one image."""
        mean = self.mean()
        if mean is None:
            return None
        n = mean["count"].values[:, None, None, None]
        squares = np.stack([self._squares[str(name)] for name in mean["predicted"].values])
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.sqrt(np.maximum(squares - n * mean.values.astype(float) ** 2, 0) / (n - 1))
        return mean.copy(data=np.where(n > 1, values, np.nan).astype(np.float32)).assign_attrs(
            long_name="standard deviation of the maps of the predicted class"
        )

    def alike(self) -> pd.DataFrame | None:
        """Correlation of the maps of two images, within and between predicted classes, by method, on 16 by 16 cells."""
        predicted = [r["predicted"] for r in self._rows]
        if not self._one_size or len(set(predicted)) < 2:
            return None
        maps = xr.DataArray(np.stack(self._small), dims=("sample", "method", "row", "column"))
        tables = [
            consistency(maps.isel(method=k), predicted).assign(method=m) for k, m in enumerate(self.methods)
        ]
        return pd.concat(tables, ignore_index=True)[["method", "samples", "pairs", "correlation", "p"]]

    def labels(self) -> xr.DataArray:
        """Labels of the attributions (image, target, method, y, x), in pixels from each image's upper left corner; values are NaN."""
        attrs = {"units": "output", "long_name": "class activation map", "layer": self.layer}
        shape = (len(self._rows), len(self._targets), len(self.methods), *self.frame)
        return xr.DataArray(
            np.broadcast_to(np.float32(np.nan), shape), dims=("image", "target", "method", "y", "x"),
            coords=self._coords(), name="attribution", attrs=attrs | {"attrib_version": __version__},
        )  # fmt: skip

    def _coords(self) -> dict[str, Any]:
        heights, widths = zip(*self._sizes, strict=True)
        pixels = {"units": "pixel"}
        return {
            "image": [r["image"] for r in self._rows],
            "target": self._targets,
            "method": list(self.methods),
            "y": ("y", np.arange(self.frame[0]), pixels),
            "x": ("x", np.arange(self.frame[1]), pixels),
            "predicted": ("image", [r["predicted"] for r in self._rows]),
            "label": ("image", self._labels),
            "confidence": ("image", [r["confidence"] for r in self._rows]),
            "height": ("image", list(heights)),
            "width": ("image", list(widths)),
        }


def coarse(maps: np.ndarray) -> np.ndarray:
    """Means (..., 16, 16) of blocks of maps (..., row, column); smaller maps as they are."""
    for axis in (-2, -1):
        n = maps.shape[axis]
        if n > COARSE:
            edges = np.arange(COARSE) * n // COARSE
            width = np.diff([*edges, n]).reshape((-1, 1) if axis == -2 else (-1,))
            maps = np.add.reduceat(maps, edges, axis) / width
    return maps.astype(np.float32)


def row(part: xr.Dataset, methods: tuple[str, ...]) -> dict[str, Any]:
    """An image's line of the table."""
    figures: dict[str, Any] = {k: part.attrs[k] for k in ("image", "path", "predicted", "confidence")}
    label = part.attrs["label"]
    if label in part["class"].values:
        figures |= {"label": label, "correct": label == figures["predicted"]}
    for m in methods:
        values = part.sel({"method": m})
        inside = bool(np.isfinite(values["mass_inside"]))
        figures |= {f"{m}_{n}": float(values[n]) for n in FIGURES if inside or not n.startswith("mass")}
    pairs = zip(part["pair"].values, part["agreement"].values, strict=True)
    return figures | {f"{pair}_rank_correlation": float(v) for pair, v in pairs}
