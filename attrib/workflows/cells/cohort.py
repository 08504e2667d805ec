"""The files and the page of a cohort of cell images, written from one image's part at a time: memory does not grow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._version import __version__
from attrib.domains.cells import ImageFile, read_image
from attrib.io import load, save, save_rows, write_json
from attrib.io.place import strict
from attrib.plots import confusion, panels
from attrib.plots.scale import figure, shortened, with_unit
from attrib.stats import consistency
from attrib.workflows.cells.explaining import FIGURES
from attrib.workflows.drawing import method_name
from attrib.workflows.folder import Folder
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, table
from attrib.workflows.study import write_confusion

COARSE = 16  # cells of a map's side, by which images are compared
GALLERY = 6  # images of a row

MEANINGS = {
    "entropy": "entropy, from 0 (one pixel has all) to 1 (all the same)",
    "deletion_area": "deletion area: small if the attribution ranks the pixels well",
    "deletion_random_area": "deletion area of random orders",
    "deletion_z": "standard deviations by which the deletion area is smaller than those of random orders",
    "border_mass": "share of the attribution in the outer tenth of the image, where the cell seldom is",
    "border_mass_chance": "share in the outer tenth by chance",
    "mass_inside": "share of the attribution inside the mask",
    "mass_inside_chance": "share inside the mask by chance: its share of the pixels",
}
MORE = 1.1  # times the chance level
CAPTION = (
    "Each attribution has its own scale; the number under it is its largest value. Dark edges were cropped away: the network did not "
    "see them. Red: wrong."
)


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
    masked : int
        Images with a mask.
    compartments : list of str
        Names of the masks' values.
    """

    def __init__(self, methods: tuple[str, ...]) -> None:
        self.methods = methods
        self.frame, self.layer, self.strange, self.masked = (0, 0), "", set[str](), 0
        self.compartments: list[str] = []
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
        self.masked += bool(np.isfinite(part["mass_inside_chance"].values).any())
        if "compartment" in part.coords:
            self.compartments = part["compartment"].values.astype(str).tolist()
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
        sums, squares = (
            np.stack([of[str(name)] for name in mean["predicted"].values])
            for of in (self._sums, self._squares)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.sqrt(np.maximum(squares - sums**2 / n, 0) / (n - 1))
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
        of_method = {n: float(values[n]) for n in FIGURES}
        for c in map(str, part.coords["compartment"].values if "compartment" in part.coords else ()):
            of_method[f"mass_in_{c}"] = float(values["compartment_mass"].sel(compartment=c))
            of_method[f"mass_in_{c}_chance"] = float(values["compartment_chance"].sel(compartment=c))
        # without a share there is no chance beside it, so that both means are over the same images
        without = {f"{n}_chance" for n, v in of_method.items() if np.isnan(v)}
        without |= {"mass_inside"} if np.isnan(of_method["mass_inside"]) else set()
        figures |= {f"{m}_{n}": v for n, v in of_method.items() if n not in without}
    pairs = zip(part["pair"].values, part["agreement"].values, strict=True)
    return figures | {f"{pair}_rank_correlation": float(v) for pair, v in pairs}


def write_cohort(
    run: Folder,
    images: Sequence[ImageFile],
    classes: Sequence[str],
    methods: Sequence[str],
    unreadable: Mapping[str, str],
    drawn: Collection[str],
) -> None:
    """Write the files of the cohort from the images' parts, of which some have pictures (`drawn`)."""
    cohort = CohortSums(tuple(methods))
    for part in parts(run.path, images):
        cohort.add(part)
    table = cohort.table()
    save_rows(
        (_in_frame(p, cohort) for p in parts(run.path, images)), cohort.labels(), run.file("attributions.nc")
    )
    save(table, run.file("results.csv"))
    _means(run, cohort)
    if "label" in table:
        run.picture(
            "confusion_matrix.png", confusion(write_confusion(table.dropna(subset="label"), classes, run))
        )
    alike = cohort.alike()
    if alike is not None:
        save(alike, run.file("class_consistency.csv"))
    pictured = table[table.image.isin(list(drawn))]
    if len(pictured):
        run.picture("gallery.png", gallery(run.path, pictured, methods[0]))
    summary: dict[str, Any] = strict(_summary(table, cohort, unreadable, classes))
    write_json(summary, run.file("summary.json"))
    run.text("index.html", study_page(summary, table, run.files, methods, drawn))


def parts(folder: Path, images: Sequence[ImageFile]) -> Iterator[xr.Dataset]:
    """The part of each image, one in memory at a time."""
    return (load(folder / "parts" / f"{image.name}.nc") for image in images)


def _in_frame(part: xr.Dataset, cohort: CohortSums) -> np.ndarray:
    """An image's attributions (target, method, y, x) in the upper left corner of the cohort's frame; NaN beyond."""
    attributions = part["attribution"].transpose("target", "method", "y", "x").values
    values = np.full((*attributions.shape[:2], *cohort.frame), np.nan, np.float32)
    values[:, :, : attributions.shape[2], : attributions.shape[3]] = attributions
    return values


def _means(run: Folder, cohort: CohortSums) -> None:
    """Write the mean attribution per predicted class, on the network's input, with a picture per method."""
    mean = cohort.mean()
    if mean is None:
        return
    save(mean, run.file("mean_maps.nc"))
    for m in cohort.methods:
        attribution = mean.sel({"method": m}, drop=True)
        label = with_unit(f"mean {method_name(m)}", mean.attrs)
        run.picture(f"mean_{m}.png", panels(attribution, "predicted", shared=False, label=label))
    sd = cohort.sd()
    if sd is None or not (several := [str(c) for c in sd["predicted"].values[sd["count"].values > 1]]):
        return
    save(sd, run.file("variation_maps.nc"))
    for m in cohort.methods:
        spread = sd.sel({"method": m, "predicted": several}, drop=True)
        label = with_unit(f"sd of {method_name(m)}", sd.attrs)
        run.picture(f"variation_{m}.png", panels(spread, "predicted", shared=False, label=label))


def gallery(folder: Path, table: pd.DataFrame, method: str) -> Any:
    """The images on which a method is the surest by deletion against random orders, and those on which it is the least sure."""
    column = f"{method}_deletion_z"
    ranked = table[table[column].notna()].sort_values(column, ascending=False, kind="stable")
    half = min(GALLERY, len(ranked) // 2) or len(ranked)
    rows = {
        "largest deletion z": ranked.head(half),
        "smallest deletion z": ranked.tail(half) if len(ranked) > 1 else ranked.head(0),
    }
    drawing = figure((max(4.0, 1.9 * half), 5.2))
    grid: Any = drawing.subplots(2, max(1, half), squeeze=False)
    for axes, (title, some) in zip(grid, rows.items(), strict=True):
        for ax in axes:
            ax.set_axis_off()
        for ax, r in zip(axes, some.to_dict("records"), strict=False):
            ax.imshow(read_image(folder / f"{r['image']}_{method}.png").values)
            wrong = r.get("correct") is False
            ax.set_title(
                f"{shortened(str(r['image']), 18)}\n{shortened(str(r['predicted']), 18)}{' (wrong)' if wrong else ''}\nz {r[column]:.1f}",
                fontsize=7,
            )
        axes[0].text(
            -0.08, 0.5, title, rotation=90, va="center", ha="right", fontsize=8, transform=axes[0].transAxes
        )
    return drawing


def _summary(
    table: pd.DataFrame, cohort: CohortSums, unreadable: Mapping[str, str], classes: Sequence[str]
) -> dict[str, Any]:
    numbers = [c for c in table.columns if any(c.startswith(m) for m in cohort.methods) and not c.endswith("_deletion_z")]  # fmt: skip
    labelled = "correct" in table
    return {
        "images": len(table),
        "classes": list(classes),
        "masked": cohort.masked,
        "compartments": cohort.compartments,
        "unreadable": [{"path": p, "reason": r} for p, r in unreadable.items()],
        "folders_that_are_no_class": sorted(cohort.strange),
        "predicted": {str(k): int(v) for k, v in table.predicted.value_counts().items()},
        "accuracy": float(table.correct.dropna().astype(bool).mean()) if labelled else None,
        "layer": cohort.layer,
        "mean_quality": {c: float(table[c].mean()) for c in numbers},
        "deletion_z_median": {m: float(table[f"{m}_deletion_z"].median()) for m in cohort.methods},
        "deletion_curves": cohort.curves(),
        "attrib_version": __version__,
    }


def study_page(
    summary: Mapping[str, Any], rows: pd.DataFrame, files: Sequence[str], methods: Sequence[str], drawn: Collection[str]
) -> str:  # fmt: skip
    """The summary page, with links to all files."""
    accuracy = "" if summary["accuracy"] is None else f", accuracy {summary['accuracy']:.1%}"
    strange = summary["folders_that_are_no_class"]
    images = [_image(r) for r in rows.to_dict("records") if r["image"] in drawn]
    few = f"Pictures of {len(images)} of {len(rows)} images; more with --pictures all."
    views = [
        {"kind": "picture", "file": "{name}_methods.png"},
        {"kind": "picture", "file": "{name}_classes.png"},
        {"kind": "picture", "file": "{name}_probabilities.png"},
        {"kind": "link", "file": "{name}_results.json", "title": "figures"},
    ]
    return page(
        "Cells",
        [
            paragraphs(f"{summary['images']} images{accuracy}; attributions of layer {summary['layer']}."),
            paragraphs(border, note=True) if (border := on_the_border(summary, methods)) else None,
            links(files),
            paragraphs(f"Folders that are no class of the model: {', '.join(strange)}.", note=True) if strange else None,
            listing("Unreadable", [f"{u['path']}: {u['reason']}" for u in summary["unreadable"]], "summary.json"),
            browser("Images", images, views, order=["confidence", *(c for c in rows if str(c).endswith("deletion_z"))], caption=CAPTION),
            paragraphs(few) if len(images) < len(rows) else None,
            table("Mean quality", _quality(summary, methods), "summary.json"),
            _agreement(summary),
            pictures("Cohort", [f for f in files if f.endswith(".png")]),
            table("All images", rows.drop(columns="path", errors="ignore"), "results.csv"),
        ],
    )  # fmt: skip


def on_the_border(summary: Mapping[str, Any], methods: Sequence[str]) -> str:
    """Which methods' attributions lie on the border more than by chance; empty if none does."""
    quality = pd.Series(summary["mean_quality"], dtype=float)
    more = []
    for m in methods:
        mass, chance = (float(quality.get(f"{m}_border_mass{end}", np.nan)) for end in ("", "_chance"))
        if mass > MORE * chance:
            more.append(f"{method_name(m)} ({mass:.0%}, by chance {chance:.0%})")
    return f"On the outer tenth of the images lies more of the attribution than by chance: {', '.join(more)}. Look at the mean maps: frames, crops or stains may speak for a class." if more else ""  # fmt: skip


def _image(row: Mapping[str, Any]) -> dict[str, Any]:
    label = row.get("label")
    is_named = isinstance(label, str) and label != ""
    says = f"predicted {row['predicted']} ({row['confidence']:.1%})" + (
        f", folder {label}" if is_named else ""
    )
    return {
        "name": str(row["image"]), "says": says, "label": label if is_named else "", "wrong": is_named and label != row["predicted"],
        "confidence": row["confidence"], **{k: v for k, v in row.items() if str(k).endswith("deletion_z")},
    }  # fmt: skip


def _quality(summary: Mapping[str, Any], methods: Sequence[str]) -> pd.DataFrame:
    """Figures in rows, methods in columns; NaN where no image has the figure."""
    mean = pd.Series(summary["mean_quality"], dtype=float)
    z = pd.Series(summary["deletion_z_median"], dtype=float)
    rows: list[dict[str, Any]] = [
        {"figure": f"{MEANINGS['deletion_z']} (median)"} | {m: float(z[m]) for m in methods}
    ]
    rows += [
        {"figure": MEANINGS[f]} | {m: float(mean.get(f"{m}_{f}", np.nan)) for m in methods}
        for f in FIGURES[::-1]
        if any(f"{m}_{f}" in mean for m in methods)
    ]
    rows += [
        {"figure": f"share of the attribution in {c}{says}"} | {m: float(mean.get(f"{m}_mass_in_{c}{end}", np.nan)) for m in methods}
        for c in summary["compartments"]
        for end, says in (("", ""), ("_chance", ", by chance"))
    ]  # fmt: skip
    return pd.DataFrame(rows).rename(columns={m: method_name(m) for m in methods})


def _agreement(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    end = "_rank_correlation"
    pairs = {k.removesuffix(end): v for k, v in summary["mean_quality"].items() if k.endswith(end)}
    if not pairs:
        return None
    rows = pd.DataFrame(
        {
            "methods": [", ".join(map(method_name, k.split("~"))) for k in pairs],
            "mean rank correlation": pd.Series(list(pairs.values()), dtype=float),
        }
    )
    return table("Agreement of methods", rows, "summary.json")
