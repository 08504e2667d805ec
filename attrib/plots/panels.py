"""One panel per label of a dim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from attrib.plots.image import aspect, label_axes
from attrib.plots.scale import DIVERGING, PERCENTILE, figure, number, robust_limit, value_label, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def panels(
    a: xr.DataArray,
    by: str,
    *,
    titles: Sequence[str] | None = None,
    columns: int = 5,
    percentile: float = PERCENTILE,
    label: str | None = None,
    shared: bool = True,
) -> Figure:
    """Draw an image per label of a dim, such as the mean attribution of each class.

    Parameters
    ----------
    a : DataArray
        Three dims: `by`, rows, columns.
    by : str
        The dim that becomes panels.
    titles : sequence of str, optional
        One per panel; default: the labels of `by`, and the coord `count` along it.
    columns : int, default 5
        Panels side by side.
    percentile : float, default 99
        The colours reach this percentile of all magnitudes, on both sides of zero.
    label : str, optional
        What the values are; default: the array's long name and unit.
    shared : bool, default True
        One scale for all panels, so that they compare, or each its own, so that weak ones are seen.

    Returns
    -------
    Figure
        With one colour bar; its label states the limit, or the panels' titles theirs.

    Raises
    ------
    ValueError
        If `a` has not three dims with `by` among them.
    """
    if a.ndim != 3 or by not in a.dims:
        dims = ", ".join(f"{d}: {k}" for d, k in a.sizes.items())
        raise ValueError(f"`a` has the dims ({dims}), expected {by!r} and two more")
    a = a.transpose(by, ...)
    columns = min(columns, a.sizes[by])
    rows = -(-a.sizes[by] // columns)
    wide = 1.9 * min(3.0, max(1.0, 0.6 * a.shape[2] / a.shape[1])) * (1.5 if columns == 1 else 1.0)
    made = figure((wide * columns + 1.5, 2.1 * rows + 0.5))
    limits = [robust_limit(a if shared else a[k], percentile) for k in range(a.sizes[by])]
    grid: Any = made.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    shown: Any = None
    for k, ax in enumerate(grid.ravel()):
        if k >= a.sizes[by]:
            ax.set_visible(False)
            continue
        title = _title(a, by, k) if titles is None else titles[k]
        shown = _panel(ax, a[k], limits[k], shared, title)
    bar = made.colorbar(shown, ax=grid, extend="both", aspect=30, fraction=0.04, pad=0.02)
    what = value_label(a) if label is None else label
    said = _said(what, percentile, limits[0] if shared else None)
    bar.set_label("\n".join(wrapped(t, 12 + 16 * rows) for t in said), fontsize=9)
    return made


def _said(what: str, percentile: float, limit: float | None) -> tuple[str, str]:
    """What the colours are, and where they end."""
    of = f"({percentile:g}th percentile of magnitudes"
    if limit is None:
        return f"{what}, as a share of its panel's limit", f"{of})"
    return what, f"{of}: {number(limit)})"


def _panel(ax: Any, a: xr.DataArray, limit: float, shared: bool, title: str) -> Any:
    """Draw one image; in shares of its own limit unless the scale is shared."""
    unit, said = (1.0, title) if shared else (limit, f"{title}\nlimit {number(limit)}")
    shown = ax.imshow(
        a.values / unit, cmap=DIVERGING, vmin=-limit / unit, vmax=limit / unit, interpolation="nearest", aspect=aspect(a)
    )  # fmt: skip
    ax.set_title(said, fontsize=10)
    label_axes(ax, a)
    ax.label_outer()
    ax.tick_params(labelsize=8)
    return shown


def _title(a: xr.DataArray, by: str, k: int) -> str:
    count = f" (n = {int(a['count'].values[k])})" if "count" in a.coords and a["count"].dims == (by,) else ""
    return f"{by} {a[by].values[k]}{count}" if a[by].dtype.kind in "iuf" else f"{a[by].values[k]}{count}"
