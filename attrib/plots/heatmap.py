"""Tables as colours, every row and column by its name."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib._arguments import refuse_other_dims, shown
from attrib._public import public
from attrib.labels.frames import laid_like, truth
from attrib.plots.scale import (
    PERCENTILE,
    axes,
    colour_bar,
    colours,
    dim_label,
    extends,
    figure,
    limit_text,
    literal,
    robust_limit,
    shortened,
    value_label,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CELL = 0.165  # inches: room for names of 7 points
LARGEST = 0.55  # inches of a cell where there are few
NAMES = 60  # names that are legible along one side
LETTER = 0.06  # inches of a letter of 7 points
WIDEST = 12.0  # inches


@public
def heatmap(
    a: xr.DataArray,
    *,
    outline: Mapping[Hashable, Any] | xr.DataArray | None = None,
    ax: Axes | None = None,
    limit: float | None = None,
    percentile: float = PERCENTILE,
    label: str | None = None,
    title: str = "",
    most: int = NAMES,
) -> Axes:
    """Draw a table, such as mean attributions of genes by tissue, with the name of every row and column.

    Parameters
    ----------
    a : DataArray
        Two dims: rows and columns. Dims of size 1 are dropped.
    outline : mapping or DataArray, optional
        What is framed: labels by dim (``{"tissue": "Liver"}``, ``{"tissue": ["Liver", "Lung"], "gene": "INS"}``), or a boolean
        array of the dims of `a`.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window, as large as names of 7 points need.
    limit : float, optional
        The value of the last colour, in the unit of `a`; default: `robust_limit`.
    percentile : float, default 99
        Percentile of the magnitudes for the default limit.
    label : str, optional
        What the values are; default: the array's long name and unit.
    title : str, optional
        Title of the picture.
    most : int, default 60
        Names along one side. Of more rows or columns those of the largest mean magnitude are drawn, and the title says so.

    Returns
    -------
    Axes
        With negative values blue to red, centred at zero; without, white to red from zero. Grey where there is no value.

    Raises
    ------
    ValueError
        If `a` has more or fewer dims than two; for labels to outline that it lacks.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import heatmap
    >>> a = xr.DataArray([[1.0, -1.0]], dims=("tissue", "gene"), coords={"tissue": ["liver"], "gene": ["INS", "GCG"]})
    >>> ax = heatmap(a, outline={"gene": "INS"})
    >>> [t.get_text() for t in ax.get_xticklabels()]
    ['INS', 'GCG']
    """
    a = two_dims(a)
    frame = None if outline is None else _frame(outline, a)
    notes = []
    for dim in a.dims:
        if a.sizes[dim] > most and is_words(a, dim):
            notes.append(f"{most} of {a.sizes[dim]} {dim} labels, those of the largest mean magnitude")
            strongest = {dim: _strongest(a, dim, most)}
            a, frame = a.isel(strongest), None if frame is None else frame.isel(strongest)
    letters = 60 if ax is not None else min(60, max(24, int(9 * _size(a)[0])))  # in a line above the axes
    ax = axes(ax, _size(a))
    bound = robust_limit(a, percentile) if limit is None else limit
    picture = ax.imshow(a.values, **colours(a.values, bound), interpolation="nearest", aspect="auto")
    ax.set_facecolor("0.8")
    orient(ax, a)
    name_cells(ax, a)
    if frame is not None:
        _draw_frame(ax, frame.values)
    heading = "\n".join(wrapped(line, letters) for line in [*title.splitlines(), *notes])
    if heading:
        ax.set_title(heading, fontsize=10)
    quantity = value_label(a) if label is None else label
    note = limit_text(bound, percentile if limit is None else None)
    bar = colour_bar(ax.figure, picture, ax, quantity, note, extends(a.values, bound))
    finite = a.values[np.isfinite(a.values)]
    if np.array_equal(finite, finite.round()):  # of counts there are no halves
        bar.ax.yaxis.get_major_locator().set_params(integer=True)
    return literal(ax)


@public
def confusion(table: xr.DataArray, *, normalize: bool = False) -> Figure:
    """Draw a confusion matrix: true by predicted classes.

    Parameters
    ----------
    table : DataArray
        Counts: dims true, predicted, with the classes as labels.
    normalize : bool, default False
        Draw shares of each true class, in percent, in place of counts.

    Returns
    -------
    Figure
        At most 12 inches wide and high for up to 60 classes. Numbers stand in the cells where they fit; with more than 12
        classes zeros are left out. Of more than 60 classes those with the most errors are drawn, and the title says so.

    Raises
    ------
    ValueError
        For other dims.

    Notes
    -----
    scikit-learn's `ConfusionMatrixDisplay` would load pyplot and its global state.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import confusion
    >>> classes = {"true": ["a", "b"], "predicted": ["a", "b"]}
    >>> ax = confusion(xr.DataArray([[3, 1], [0, 2]], dims=("true", "predicted"), coords=classes)).axes[0]
    >>> [t.get_text() for t in ax.texts]
    ['3', '1', '0', '2']
    """
    refuse_other_dims("table", table, ("true", "predicted"))
    table = table.transpose("true", "predicted")
    counts = table.values
    totals = counts.sum(1)
    title = ""
    places = np.arange(len(counts))
    if len(counts) > NAMES and counts.shape[0] == counts.shape[1]:
        errors = totals + counts.sum(0) - 2 * np.diag(counts)
        places = np.sort(np.argsort(-errors, kind="stable")[:NAMES])
        title = f"{NAMES} of {len(counts)} classes, those with the most errors"
        table = table.isel(true=places, predicted=places)
    values = table.values.astype(float)
    if normalize:
        values = 100 * values / np.maximum(totals[places], 1)[:, None]
    width, height = _size(table)
    drawing = figure((width, height))
    ax = drawing.add_subplot()
    last = 100.0 if normalize else float(values.max(initial=0)) or 1.0
    picture = ax.imshow(values, cmap="Blues", vmin=0, vmax=last, aspect="auto")
    cell = _cell(table)
    words = [f"{v:.0f}" for v in values.ravel()]
    points = min(10.0, 72 * cell / (0.64 * max(map(len, words))), 72 * cell / 1.3)
    if points >= 6:
        for (i, j), v in np.ndenumerate(values):
            text = words[i * values.shape[1] + j]
            if text != "0" or len(values) <= 12:
                color = "white" if v > last / 2 else "black"
                ax.text(j, i, text, ha="center", va="center", color=color, fontsize=points)
    name_cells(ax, table)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    if title:
        ax.set_title(title, fontsize=10)
    colour_bar(drawing, picture, ax, "share of the true class (%)" if normalize else "samples")
    return drawing


def two_dims(a: xr.DataArray) -> xr.DataArray:
    """The array without dims of size 1, refused unless two dims remain."""
    single = [d for d in a.dims if a.sizes[d] == 1]
    slim = a.squeeze(single, drop=True) if a.ndim - len(single) >= 2 else a
    if slim.ndim != 2:
        dims = ", ".join(f"{d}: {n}" for d, n in a.sizes.items())
        raise ValueError(
            f"`a` has the dims ({dims}), expected 2; select or add up the others, e.g. a.sum({str(a.dims[0])!r})"
        )
    return slim


def is_words(a: xr.DataArray, dim: Hashable) -> bool:
    """Whether the labels of a dim are names, not numbers."""
    return a[dim].dtype.kind not in "iufmM"


def name_cells(ax: Axes, a: xr.DataArray) -> None:
    """The names of the dims, and of every row and column that has one; of numbers about ten."""
    for dim, axis, describe in (
        (a.dims[1], ax.xaxis, ax.set_xlabel),
        (a.dims[0], ax.yaxis, ax.set_ylabel),
    ):
        n = a.sizes[dim]
        places = np.arange(n) if is_words(a, dim) or n <= 10 else np.arange(0, n, -(-n // 10))
        names = [shortened(str(a[dim].values[k])) for k in places]
        turned = axis is ax.xaxis and _turned(names, a)
        axis.set_ticks(places, names, fontsize=7, rotation=90 if turned else 0)
        describe(dim_label(a, dim), fontsize=9)


def _turned(names: list[str], a: xr.DataArray) -> bool:
    return max(map(len, names), default=0) * LETTER > 0.9 * _cell(a) * max(1, a.sizes[a.dims[1]] / len(names))


def _cell(a: xr.DataArray) -> float:
    """Inches of a cell: larger where there are few, and such that a square of 60 fits 12 inches."""
    most = max(a.sizes.values())
    names = max(_longest(a, d) for d in a.dims)
    fits = (WIDEST - 2.2 - LETTER * names) / most
    return min(LARGEST, max(CELL, 4.0 / most), fits)


def _longest(a: xr.DataArray, dim: Hashable) -> int:
    """Letters of the longest name."""
    return max((len(shortened(str(v))) for v in a[dim].values), default=0)


def _size(a: xr.DataArray) -> tuple[float, float]:
    cell = _cell(a)
    rows, columns = a.shape
    turned = _turned([shortened(str(v)) for v in a[a.dims[1]].values], a)
    below = 0.55 + (LETTER * _longest(a, a.dims[1]) if turned else 0.15)
    left = 0.55 + LETTER * _longest(a, a.dims[0])
    return max(3.2, left + cell * columns + 1.3), below + max(1.9, cell * rows) + 0.45


def _strongest(a: xr.DataArray, dim: Hashable, most: int) -> np.ndarray:
    """Places of the labels of the largest mean magnitude, in their order."""
    size = np.nan_to_num(abs(a).mean([d for d in a.dims if d != dim]).values)
    return np.sort(np.argsort(-size, kind="stable")[:most])


def _frame(outline: Mapping[Hashable, Any] | xr.DataArray, a: xr.DataArray) -> xr.DataArray:
    """A boolean array of the dims of `a`: what is inside of the outline."""
    if isinstance(outline, xr.DataArray):
        if set(outline.dims) != set(a.dims) or any(outline.sizes[d] != a.sizes[d] for d in a.dims):
            raise ValueError(f"`outline` has {dict(outline.sizes)}, expected {dict(a.sizes)}")
        return truth(laid_like(outline, a, "outline", "a"), "outline")
    if not isinstance(outline, Mapping):
        raise TypeError(
            f"`outline` is {shown(outline)}, expected a mapping of dims to labels, or a DataArray"
        )
    inside = xr.DataArray(np.ones(a.shape, bool), dims=a.dims)
    for dim, labels in outline.items():
        if dim not in a.dims:
            raise ValueError(f"`outline` names the dim {dim!r}, expected some of {a.dims}")
        wanted = [labels] if isinstance(labels, str) or np.ndim(labels) == 0 else list(labels)
        missing = [label for label in wanted if label not in a[dim].values]
        if missing:
            raise ValueError(f"`outline` names {missing}, which {dim!r} lacks")
        inside = inside & xr.DataArray(np.isin(a[dim].values, wanted), dims=[dim])
    return inside.transpose(*a.dims)


def _draw_frame(ax: Axes, inside: np.ndarray) -> None:
    """Lines between the cells that are inside and those that are not."""
    from matplotlib.collections import LineCollection

    padded = np.pad(inside, 1)
    rows, columns = np.nonzero(padded[1:] != padded[:-1])
    level = [[(j - 1.5, i - 0.5), (j - 0.5, i - 0.5)] for i, j in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])
    upright = [[(j - 0.5, i - 1.5), (j - 0.5, i - 0.5)] for i, j in zip(rows, columns, strict=True)]
    ax.add_collection(
        LineCollection([*level, *upright], colors="black", linewidths=1.6, capstyle="projecting", clip_on=False)
    )  # fmt: skip


def orient(ax: Axes, a: xr.DataArray) -> None:
    """Let higher coordinates lie up and right, as `xarray.plot` has it, in an image drawn from the top and the left.

    Rows of an image stay as they are: a dim without coords, or one called y whose coords are 0, 1, 2, ...; so do names.
    """
    rows, columns = a.dims[:2]
    if _ascends(a, rows) and not _is_image_row(a, rows):
        ax.invert_yaxis()
    if _descends(a, columns):
        ax.invert_xaxis()


def _steps(a: xr.DataArray, dim: Hashable) -> np.ndarray:
    if dim not in a.coords or a[dim].dtype.kind not in "iufmM" or a.sizes[dim] < 2:
        return np.zeros(1)
    return np.diff(a[dim].values).astype(float)


def _ascends(a: xr.DataArray, dim: Hashable) -> bool:
    return bool((_steps(a, dim) > 0).all())


def _descends(a: xr.DataArray, dim: Hashable) -> bool:
    return bool((_steps(a, dim) < 0).all())


def _is_image_row(a: xr.DataArray, dim: Hashable) -> bool:
    return dim == "y" and np.array_equal(a[dim].values, np.arange(a.sizes[dim]))
