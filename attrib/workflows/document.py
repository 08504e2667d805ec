"""Parts of a study's summary page: links, pictures, tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import pandas as pd

STYLE = (
    "body{font:15px sans-serif;margin:2em;max-width:1400px}img{max-width:100%}table{border-collapse:collapse}"
    "td,th{padding:2px 10px;text-align:left;vertical-align:middle}td.n,th.n{text-align:right}.note{color:#833}"
    ".wrong{background:#fdd}.wide{overflow-x:auto}"
)
ROWS = 60  # of a table or a list


def document(title: str, parts: Iterable[str]) -> str:
    """A complete page.

    Parameters
    ----------
    title : str
        Plain text: the page's name and its first heading.
    parts : iterable of str
        HTML.
    """
    head = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
    return f"{head}<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n" + "\n".join(parts) + "\n</html>\n"


def links(files: Iterable[str]) -> str:
    """Links to files beside the page."""
    anchors = (f'<a href="{quote(f)}">{escape(f)}</a>' for f in files)
    return f"<p>{' '.join(anchors)}</p>"


def pictures(files: Iterable[str]) -> str:
    """Pictures below each other."""
    return "\n".join(f'<p><img src="{quote(f)}" alt="{escape(f)}"></p>' for f in files)


def listing(title: str, lines: Sequence[str], where: str) -> str:
    """A heading and a list of at most `ROWS` lines; empty without lines.

    Parameters
    ----------
    title : str
    lines : sequence of str
    where : str
        The file that has all of them.
    """
    if not lines:
        return ""
    more = [f"and {len(lines) - ROWS} more in {where}"] if len(lines) > ROWS else []
    items = "".join(f"<li>{escape(line)}</li>" for line in [*lines[:ROWS], *more])
    return f"<h2>{escape(title)}</h2><ul>{items}</ul>"


def table(rows: pd.DataFrame, where: str) -> str:
    """A table of at most `ROWS` rows.

    Parameters
    ----------
    rows : DataFrame
    where : str
        The file that has all of them.
    """
    if rows.empty:
        return "<p>None.</p>"
    head = "".join(_head(str(c), pd.api.types.is_numeric_dtype(rows[c])) for c in rows.columns)
    body = "".join(f"<tr>{''.join(map(_cell, r))}</tr>" for r in rows.head(ROWS).itertuples(index=False))
    more = f"<p>{len(rows) - ROWS} more rows are in {escape(where)}.</p>" if len(rows) > ROWS else ""
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>{more}'


def _head(name: str, number: bool) -> str:
    opening = '<th class="n">' if number else "<th>"
    return f"{opening}{escape(name.replace('_', ' '))}</th>"


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f'<td class="n">{value}</td>'
    if isinstance(value, float):
        return f'<td class="n">{"" if value != value else format(value, ".3g")}</td>'
    return f"<td>{escape(str(value))}</td>"
