"""What the page of a cohort of cell images shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from attrib.workflows.cells.image import FIGURES
from attrib.workflows.drawing import method_name
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, table

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
