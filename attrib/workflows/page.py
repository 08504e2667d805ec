"""The page of a study: one template for all, made of parts; it needs no server and no network."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files as package_files
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from attrib.io.place import strict

ROWS = 500  # of a table
LINES = 60  # of a list
Part = dict[str, Any]


def page(title: str, parts: Iterable[Part | None]) -> str:
    """A page as text.

    Parameters
    ----------
    title : str
        Its name and first heading.
    parts : iterable of dict or None
        What the other functions here return; None is left out.

    Notes
    -----
    Pictures are loaded when they come into view. ``#sample=NAME&method=NAME`` behind the address opens a sample.

    Examples
    --------
    >>> text = page("Cells", [paragraphs("3 images."), table("Results", pd.DataFrame({"image": ["a"]}), "results.csv")])
    >>> "<h1>Cells</h1>" in text
    True
    """
    from jinja2 import Environment  # takes 40 ms

    from attrib.functional import METHODS

    methods = {name: m.about.long_name for name, m in METHODS.items()} | {
        "noise_tunnel_ig": "Noise tunnel of IG"
    }
    environment = Environment(autoescape=True)
    environment.filters["path"] = quote
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    source = package_files("attrib.workflows").joinpath("page.html").read_text(encoding="utf-8")
    content = [p for p in parts if p is not None]
    return environment.from_string(source).render(title=title, parts=content, methods=methods) + "\n"


def paragraphs(*lines: str, note: bool = False) -> Part:
    """Paragraphs; a note stands out."""
    return {"kind": "text", "lines": lines, "note": note}


def links(files: Iterable[str]) -> Part:
    """Links to files beside the page."""
    return {"kind": "links", "files": list(files)}


def listing(title: str, lines: Sequence[str], where: str) -> Part | None:
    """A heading and a list of at most `LINES` lines; none without lines.

    Parameters
    ----------
    title : str
    lines : sequence of str
    where : str
        The file that has all of them.
    """
    if not lines:
        return None
    more = [f"and {len(lines) - LINES} more in {where}"] if len(lines) > LINES else []
    return {"kind": "listing", "title": title, "lines": [*lines[:LINES], *more]}


def pictures(title: str, files: Iterable[str]) -> Part | None:
    """Pictures with their names; none without files."""
    names = list(files)
    return {"kind": "pictures", "title": title, "files": names} if names else None


def table(title: str, rows: pd.DataFrame, where: str) -> Part:
    """A sortable table of at most `ROWS` rows, with a search.

    Parameters
    ----------
    title : str
    rows : DataFrame
    where : str
        The file that has all of them.
    """
    columns = [
        {"name": str(c).replace("_", " "), "number": pd.api.types.is_numeric_dtype(rows[c])}
        for c in rows.columns
    ]
    cells = [[_cell(v) for v in row] for row in rows.head(ROWS).itertuples(index=False, name=None)]
    return {
        "kind": "table", "title": title, "columns": columns, "rows": cells, "where": where, "more": max(0, len(rows) - ROWS),
    }  # fmt: skip


def _cell(value: Any) -> tuple[str, float | None]:
    """A value's text, and the number by which it is sorted."""
    if isinstance(value, bool | np.bool_):
        return ("yes" if value else "no"), None
    if isinstance(value, int | np.integer):
        return str(value), int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        large = 999.5 <= abs(number) < 1e6
        return (format(number, ".0f" if large else ".3g"), number) if number == number else ("", None)
    return ("" if value is None or value is pd.NA else str(value)), None


def browser(
    title: str,
    samples: Sequence[Mapping[str, Any]],
    views: Sequence[Mapping[str, Any]],
    *,
    choices: Sequence[Mapping[str, Any]] = (),
    order: Sequence[str] = (),
    caption: str = "",
) -> Part | None:
    """A list of samples to search, sort and filter, with what there is of each.

    Parameters
    ----------
    title : str
    samples : sequence of mapping
        `name`, and optionally `says` (a line of text), `label`, `wrong` (bool) and whatever views and order refer to.
    views : sequence of mapping
        What is shown of a sample, by `kind`: `picture`, `link` and `frame` of a `file` (``"{file}_{method}.png"``: fields of the sample
        and choices), `links`, `table` (`columns`), `grid` (of `quantised`) and `track`, which read the sample's field `key`, by the
        choices in `by`. Those with `beside` stand side by side.
    choices : sequence of mapping
        `name` and `options`; `range` for a slider; `start`, the number of the first option.
    order : sequence of str
        Fields to sort by.
    caption : str
        Plain text above.
    """
    if not samples:
        return None
    data = {"samples": samples, "views": views, "choices": choices, "order": order}
    return {"kind": "browser", "title": title, "caption": caption, "data": strict(data)}


def search(title: str, file: str, caption: str) -> Part:
    """A search in means by label, which a script beside the page holds.

    Parameters
    ----------
    title, caption : str
    file : str
        A script that sets ``window.GENES``: `genes`, `symbols`, `labels`, `means` (base64 of little-endian float32, genes times labels) and
        `units` by method.
    """
    return {"kind": "search", "title": title, "file": file, "caption": caption}


def quantised(values: np.ndarray) -> dict[str, Any]:
    """A matrix as signed bytes in base64, with its sizes and the value of 127."""
    limit = float(np.nanmax(np.abs(values), initial=0.0))
    steps = np.rint(np.nan_to_num(values) / (limit or 1.0) * 127).astype(np.int8)
    rows, columns = values.shape
    text = base64.b64encode(steps.tobytes()).decode("ascii")
    return {"limit": limit, "values": text, "rows": rows, "columns": columns}
