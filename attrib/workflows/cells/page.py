"""The summary of a cohort of cell images as a page that links to everything."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd


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
