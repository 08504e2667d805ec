"""The study as a page that links to everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from attrib.workflows.sequence.files import Findings

STYLE = (
    "body{font:15px sans-serif;margin:2em;max-width:1400px}img{max-width:100%}td,th{padding:2px 10px;text-align:left}"
    "td.n{text-align:right}.note{color:#833}"
)
ROWS = 60  # of a table


def page(found: Findings, record: Mapping[str, Any], drawn: Sequence[str], records: Sequence[str]) -> str:
    """The page's text.

    Parameters
    ----------
    found : Findings
    record : mapping
        Of the run: `files`, `notes`, `settings`.
    drawn, records : sequence of str
        Pictures of motifs and experiments, and of records.
    """
    done = found.attributed
    bad = [p for p in found.problems if not p["kept"]]
    said = f"{done.x.sizes['sample']} records explained with {', '.join(done.results)}"
    said += f"; {len(bad)} left out" if bad else ""
    parts = [
        f"<h1>Sequences</h1><p>{escape(said)}. Seqlets are those of {escape(found.lead)}.</p>",
        f"<p>{' '.join(_link(f) for f in [*record['files'], 'run.json'] if not f.startswith('records/'))}</p>",
        *(f'<p class="note">{escape(k)}: {escape(v)}</p>' for k, v in record.get("notes", {}).items()),
        _listing(bad),
        "<h2>Motifs</h2>",
        *(_image(f) for f in drawn),
        _best(found),
        "<h2>Experiments</h2>",
        _table(found.experiments.drop(columns="sd")),
        "<h2>Records</h2>",
        *(_image(f) for f in records),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sequences</title><style>{STYLE}</style>'
        + "\n".join(parts)
        + "</html>\n"
    )


def _link(file: str) -> str:
    return f'<a href="{escape(file)}">{escape(file)}</a>'


def _image(file: str) -> str:
    return f'<p><img src="{escape(file)}" alt="{escape(file)}"></p>'


def _listing(bad: Sequence[Mapping[str, Any]]) -> str:
    items = "".join(f"<li>{escape(p['record'])}: {escape(p['problem'])}</li>" for p in bad[:ROWS])
    more = f"<li>and {len(bad) - ROWS} more in problems.csv</li>" if len(bad) > ROWS else ""
    return f"<h2>Left out</h2><ul>{items}{more}</ul>" if bad else ""


def _best(found: Findings) -> str:
    """The best match of each motif."""
    hits = found.discovered.hits
    return "" if hits is None else _table(hits.drop_duplicates("motif").drop(columns=["score", "offset"]))


def _table(table: pd.DataFrame) -> str:
    if table.empty:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(str(c))}</th>" for c in table.columns)
    rows = "".join(f"<tr>{''.join(map(_cell, r))}</tr>" for r in table.head(ROWS).itertuples(index=False))
    return f"<table><tr>{head}</tr>{rows}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td class="n">{"" if value != value else f"{value:.3g}"}</td>'
    return f"<td>{escape(str(value))}</td>"
