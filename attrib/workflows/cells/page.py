"""The summary page of a cohort of cell images, with links to all files."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd

from attrib.workflows.cells.image import FIGURES

STYLE = (
    "body{font:15px sans-serif;margin:2em}img{max-width:100%}td,th{padding:2px 10px;vertical-align:middle;text-align:left}"
    "td.n{text-align:right}figure{display:inline-block;margin:0 1em 1em 0}.wrong{background:#fdd}p.s{max-width:60em}"
)
MEANINGS = {
    "entropy": "entropy, from 0 (one pixel has all) to 1 (all the same)",
    "deletion_area": "deletion area: small if the attribution ranks the pixels well",
    "deletion_random_area": "deletion area of random orders",
    "deletion_z": "standard deviations by which the deletion area is smaller than those of random orders",
    "mass_inside": "share of the attribution inside the mask",
    "mass_inside_chance": "share inside the mask by chance: its share of the pixels",
    "rank_correlation": "rank correlation of two methods",
}


def page(
    summary: Mapping[str, Any], table: pd.DataFrame, files: Sequence[str], methods: Sequence[str]
) -> str:
    """The summary page, with links to all files."""
    pictures = "".join(
        f'<figure><img src="{quote(f)}" alt="{html.escape(f)}"><figcaption>{html.escape(f.removesuffix(".png").replace("_", " ", 1))}'
        "</figcaption></figure>"
        for f in files
        if f.endswith(".png")
    )
    rows = "".join(_row(r) for r in table.to_dict("records"))
    truth = "<th>folder</th>" if "label" in table else "<th></th>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Cells</title>'
        f"<style>{STYLE}</style>{_head(summary, files)}{_skipped(summary)}{_quality(summary, methods)}"
        f"<h2>Cohort</h2>{pictures}<h2>Images</h2><p class=s>Each attribution has its own scale; the number under it is its largest "
        "value. Dark edges were cropped away: the network did not see them. Red rows: wrong.</p>"
        f"<table><tr><th>image</th>{truth}<th>predicted</th><th>attributions of the predicted class</th></tr>{rows}</table></html>\n"
    )


def _head(summary: Mapping[str, Any], files: Sequence[str]) -> str:
    accuracy = "" if summary["accuracy"] is None else f", accuracy {summary['accuracy']:.1%}"
    links = " ".join(f'<a href="{quote(f)}">{html.escape(f)}</a>' for f in files)
    layer = html.escape(summary["layer"])
    return f"<h1>Cells</h1><p>{summary['images']} images{accuracy}; attributions of layer {layer}.</p><p>{links}</p>"


def _skipped(summary: Mapping[str, Any]) -> str:
    """Images and folders that were left out."""
    strange = ", ".join(html.escape(f) for f in summary["folders_that_are_no_class"])
    folders = f"<p>Folders that are no class of the model: {strange}.</p>" if strange else ""
    bad = "".join(
        f"<li>{html.escape(u['path'])}: {html.escape(u['reason'])}</li>" for u in summary["unreadable"]
    )
    return folders + (f"<h2>Unreadable</h2><ul>{bad}</ul>" if bad else "")


def _quality(summary: Mapping[str, Any], methods: Sequence[str]) -> str:
    """Figures in rows, methods in columns; pairs of methods below."""
    mean = dict(summary["mean_quality"])
    lines = []
    for figure in FIGURES[::-1]:
        values = [mean.pop(f"{m}_{figure}", None) for m in methods]
        if any(v is not None for v in values):
            lines.append(f"<tr><td>{MEANINGS[figure]}</td>{''.join(map(_cell, values))}</tr>")
    pairs = "".join(
        f"<tr><td>{html.escape(k.removesuffix('_rank_correlation').replace('~', ', '))}</td>{_cell(v)}</tr>"
        for k, v in mean.items()
    )
    head = "".join(f"<th>{html.escape(m)}</th>" for m in methods)
    tables = f"<h2>Mean quality</h2><table><tr><th></th>{head}</tr>{''.join(lines)}</table>"
    return tables + (
        f"<table><tr><th>{MEANINGS['rank_correlation']}</th></tr>{pairs}</table>" if pairs else ""
    )


def _cell(value: float | None) -> str:
    return f"<td class=n>{'' if value is None else f'{value:.3f}'}</td>"


def _row(row: Mapping[str, Any]) -> str:
    name, label = html.escape(str(row["image"])), str(row.get("label", ""))
    link = quote(str(row["image"]))
    predicted = f"{html.escape(row['predicted'])} ({row['confidence']:.1%})"
    has_label = label not in ("", "nan")
    mark = ' class="wrong"' if has_label and label != row["predicted"] else ""
    truth = f"<td>{html.escape(label)}</td>" if has_label else "<td></td>"
    return (
        f'<tr{mark}><td>{name}<br><a href="{link}_results.json">figures</a> <a href="{link}_classes.png">classes</a></td>'
        f'{truth}<td>{predicted}</td><td><a href="{link}_methods.png">'
        f'<img src="{link}_methods.png" alt="attributions of {name}" height="230" loading="lazy"></a></td></tr>'
    )
