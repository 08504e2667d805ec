"""The files of a cohort of cell images: maps of all, table, means, confusion matrix, summary and its page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib import __version__
from attrib.domains.cells import Found
from attrib.io import load, replacing, save, write_json
from attrib.plots import confusion, panels
from attrib.workflows.cellfiles import strict


def write_cohort(
    folder: Path,
    found: Sequence[Found],
    classes: Sequence[str],
    methods: Sequence[str],
    unreadable: Mapping[str, str],
) -> tuple[dict[str, Any], list[str]]:
    """From the images' parts: `attributions.nc`, `results.csv`, mean maps, confusion matrix, `summary.json`, `index.html`.

    Returns
    -------
    (dict, list of str)
        The summary, and the names of the files.
    """
    parts = [load(folder / "parts" / f"{f.name}.nc") for f in found]
    table = results_table(parts, methods)
    files = ["attributions.nc", "results.csv"]
    save(attributions(parts), folder / "attributions.nc")
    save(table, folder / "results.csv")
    files += _means(folder, parts, methods)
    counts = confusion_matrix(table, classes)
    if counts is not None:
        save(counts.to_pandas().rename_axis("true").reset_index(), folder / "confusion_matrix.csv")
        with replacing(folder / "confusion_matrix.png") as temporary:
            confusion(counts).savefig(temporary)
        files += ["confusion_matrix.csv", "confusion_matrix.png"]
    summary = strict(_summary(table, parts, methods, unreadable))
    write_json(summary, folder / "summary.json")
    with replacing(folder / "index.html") as temporary:
        temporary.write_text(page(summary, table, files, methods), encoding="utf-8")
    return summary, [*files, "summary.json", "index.html"]


def attributions(parts: Sequence[xr.Dataset]) -> xr.DataArray:
    """Maps (image, target, method, y, x) in pixels of each image from its upper left corner; NaN beyond it."""
    maps = [p["attribution"] for p in parts]
    size = tuple(max(m.sizes[d] for m in maps) for d in ("y", "x"))
    values = np.full((len(maps), *maps[0].shape[:2], *size), np.nan, np.float32)
    for k, m in enumerate(maps):
        values[k, :, :, : m.sizes["y"], : m.sizes["x"]] = m.transpose("target", "method", "y", "x").values
    pixels = {"units": "pixel"}
    coords = {
        "image": [p.attrs["image"] for p in parts],
        "target": maps[0].target.values,
        "method": maps[0].method.values,
        "y": ("y", np.arange(size[0]), pixels),
        "x": ("x", np.arange(size[1]), pixels),
        "predicted": ("image", [p.attrs["predicted"] for p in parts]),
        "label": ("image", [p.attrs["label"] for p in parts]),
        "confidence": ("image", [p.attrs["confidence"] for p in parts]),
        "height": ("image", [m.sizes["y"] for m in maps]),
        "width": ("image", [m.sizes["x"] for m in maps]),
    }
    attrs = {"units": "output", "long_name": "class activation map", "layer": parts[0].attrs["layer"], "attrib_version": __version__}  # fmt: skip
    dims = ("image", "target", "method", "y", "x")
    return xr.DataArray(values, dims=dims, coords=coords, name="attribution", attrs=attrs)


def results_table(parts: Sequence[xr.Dataset], methods: Sequence[str]) -> pd.DataFrame:
    """A row per image: prediction, truth where known, and the quality of each method."""
    rows = []
    for p in parts:
        row: dict[str, Any] = {
            "image": p.attrs["image"],
            "path": p.attrs["path"],
            "predicted": p.attrs["predicted"],
        }
        row["confidence"] = p.attrs["confidence"]
        if p.attrs["label"] in p["class"].values:
            row |= {"label": p.attrs["label"], "correct": p.attrs["label"] == p.attrs["predicted"]}
        for m in methods:
            row[f"{m}_entropy"] = float(p["entropy"].sel({"method": m}))
            row[f"{m}_deletion_area"] = float(p["deletion"].sel({"method": m}).mean())
            if np.isfinite(p["mass_inside"].sel({"method": m})):
                row[f"{m}_mass_inside"] = float(p["mass_inside"].sel({"method": m}))
        row |= {f"{pair}_rank_correlation": float(v) for pair, v in zip(p["pair"].values, p["agreement"].values, strict=True)}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def confusion_matrix(table: pd.DataFrame, classes: Sequence[str]) -> xr.DataArray | None:
    """Counts (true, predicted); None where no folder names a class."""
    if "label" not in table:
        return None
    known = table.dropna(subset="label")
    counts = pd.crosstab(known.label, known.predicted).reindex(
        index=list(classes), columns=list(classes), fill_value=0
    )
    true = list(classes)
    return xr.DataArray(
        counts.to_numpy(), dims=("true", "predicted"), coords={"true": true, "predicted": list(classes)}
    )


def _means(folder: Path, parts: Sequence[xr.Dataset], methods: Sequence[str]) -> list[str]:
    """Mean map per predicted class, on the network's input; a picture per method."""
    if len({p["seen"].shape for p in parts}) > 1:
        return []
    seen = xr.concat([p["seen"] for p in parts], "image").assign_coords(
        predicted=("image", [p.attrs["predicted"] for p in parts])
    )
    groups = seen.groupby("predicted")
    mean = groups.mean().assign_coords(
        count=("predicted", [int((seen.predicted == c).sum()) for c in sorted(groups.groups)])
    )
    mean.attrs = {"long_name": "mean map of the predicted class", "units": "output"}
    save(mean.rename("attribution"), folder / "mean_maps.nc")
    names = ["mean_maps.nc"]
    for m in methods:
        with replacing(folder / f"mean_{m}.png") as temporary:
            panels(mean.sel({"method": m}, drop=True), "predicted").savefig(temporary)
        names.append(f"mean_{m}.png")
    return names


def _summary(
    table: pd.DataFrame, parts: Sequence[xr.Dataset], methods: Sequence[str], unreadable: Mapping[str, str]
) -> dict[str, Any]:
    numbers = [c for c in table.columns if any(c.startswith(m) for m in methods)]
    labelled = "correct" in table
    return {
        "images": len(table),
        "unreadable": [{"path": p, "reason": r} for p, r in unreadable.items()],
        "folders_that_are_no_class": sorted(
            {
                p.attrs["label"]
                for p in parts
                if p.attrs["label"] and p.attrs["label"] not in p["class"].values
            }
        ),
        "predicted": {str(k): int(v) for k, v in table.predicted.value_counts().items()},
        "accuracy": float(table.correct.dropna().astype(bool).mean()) if labelled else None,
        "layer": parts[0].attrs["layer"],
        "mean_quality": {c: float(table[c].mean()) for c in numbers},
        "deletion_curves": {
            m: np.mean([p["deletion"].sel({"method": m}).values for p in parts], 0).tolist() for m in methods
        },
        "attrib_version": __version__,
    }


def page(
    summary: Mapping[str, Any], table: pd.DataFrame, files: Sequence[str], methods: Sequence[str]
) -> str:
    """The summary as a page that links to everything."""
    accuracy = "" if summary["accuracy"] is None else f", accuracy {summary['accuracy']:.1%}"
    head = f"<h1>Cells</h1><p>{summary['images']} images{accuracy}; maps of layer {html.escape(summary['layer'])}.</p>"
    bad = "".join(
        f"<li>{html.escape(u['path'])}: {html.escape(u['reason'])}</li>" for u in summary["unreadable"]
    )
    bad = f"<h2>Unreadable</h2><ul>{bad}</ul>" if bad else ""
    quality = "".join(f"<tr><td>{html.escape(k)}</td><td>{'' if v is None else f'{v:.3f}'}</td></tr>" for k, v in summary["mean_quality"].items())  # fmt: skip
    links = " ".join(f'<a href="{html.escape(f)}">{html.escape(f)}</a>' for f in files)
    pictures = "".join(
        f'<img src="{html.escape(f)}" alt="{html.escape(f)}">' for f in files if f.endswith(".png")
    )
    rows = "".join(_row(r) for r in table.to_dict("records"))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Cells</title>'
        "<style>body{font:15px sans-serif;margin:2em}img{max-width:100%}td{padding:2px 10px;vertical-align:middle}"
        ".wrong{background:#fdd}</style>"
        f"{head}<p>{links}</p>{bad}<h2>Mean quality</h2><table>{quality}</table><h2>Cohort</h2>{pictures}"
        f"<h2>Images</h2><table>{rows}</table></html>\n"
    )


def _row(row: Mapping[str, Any]) -> str:
    name, label = html.escape(str(row["image"])), str(row.get("label", ""))
    said = f"{html.escape(row['predicted'])} ({row['confidence']:.1%})"
    known = label not in ("", "nan")
    mark = ' class="wrong"' if known and label != row["predicted"] else ""
    truth = f"<td>{html.escape(label)}</td>" if known else "<td></td>"
    return (
        f'<tr{mark}><td>{name}<br><a href="{name}_results.json">figures</a> <a href="{name}_classes.png">classes</a></td>'
        f'{truth}<td>{said}</td><td><img src="{name}_methods.png" alt="maps of {name}" height="150"></td></tr>'
    )
