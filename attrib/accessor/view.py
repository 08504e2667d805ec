"""What a notebook shows of a result: the first samples in a table, above xarray's own view."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from html import escape
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

ROWS = 5  # samples in the view
STRONGEST = 3  # entries of each


def view(a: xr.DataArray, name: Hashable | None = None) -> str:
    """The first samples of one input's attribution in a table: score, residual, strongest entries."""
    from attrib.plots.scale import value_label
    from attrib.stats import sample_dims

    heads = [*(["target"] if "target" in a.dims else []), *sample_dims(a)]
    sizes = [a.sizes[d] for d in heads]
    count = prod(sizes)
    title = " of ".join(escape(t) for t in (value_label(a), *([] if name is None else [str(name)])))
    if a.chunks is not None:
        return f"<div><b>{title}</b>: computed when it is needed, in {prod(map(len, a.chunks))} blocks</div>"
    residual = "delta" in a.coords
    columns = [*map(str, heads), "score", *(["residual"] if residual else []), "strongest entries"]
    rows = [_row(a, heads, _unravelled(k, sizes), residual) for k in range(min(ROWS, count))]
    more = f"<div>and {count - ROWS:,} more: <code>a.attrib.summary()</code></div>" if count > ROWS else ""
    head = "".join(f"<th style='text-align:left'>{escape(c)}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(c)}</td>" for c in row) + "</tr>"
        for row in rows
    )
    told = "".join(f"<div>{escape(str(a.attrs[k]))}</div>" for k in ("completeness", "rtol") if k in a.attrs)
    return f"<div><b>{title}</b></div>{told}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _row(a: xr.DataArray, heads: list[Hashable], places: list[int], residual: bool) -> list[str]:
    """A sample's cells: labels, score, residual, strongest entries."""
    import numpy as np

    sample = a.isel(dict(zip(heads, places, strict=True)))
    cells = [named(a, d, k) for d, k in zip(heads, places, strict=True)]
    for coord in ("prediction", *(["delta"] if residual else [])):
        single = coord in sample.coords and sample[coord].ndim == 0
        cells.append(f"{float(sample[coord]):.3g}" if single else "")
    values = np.asarray(sample.values, dtype=float).reshape(-1)
    strongest = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:STRONGEST]
    entries = [
        f"{', '.join(named(sample, d, p) for d, p in zip(sample.dims, _unravelled(int(k), sample.shape), strict=True))}: {values[k]:.3g}"
        for k in strongest
    ]
    return [*cells, "; ".join(entries)]


def named(a: xr.DataArray, dim: Hashable, k: int) -> str:
    """An entry of a dim in words: its label if that is a text, else the dim's name and the label."""
    label = labels_of(a, dim)[k]
    return str(label) if isinstance(label, str) else f"{dim} {label}"


def _unravelled(k: int, sizes: Sequence[int]) -> list[int]:
    import numpy as np

    return [int(v) for v in np.unravel_index(k, tuple(sizes))] if len(sizes) else []


def labels_of(a: xr.DataArray, name: Hashable) -> np.ndarray:
    """Labels of a dim, or values of a coord; of a dim without labels the text along it, or its positions."""
    import numpy as np

    from attrib.labels.matching import text_along

    if name in a.coords:
        return np.asarray(a[name].values)
    texts = text_along(a, name)
    return np.arange(a.sizes[name]) if texts is None or texts.ndim > 1 else np.asarray(texts.values)
