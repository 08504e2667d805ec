"""Letters as high as their numbers: attributions along a sequence, and motifs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.plots.scale import axes, dim_label, value_label, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LETTERS = ("A", "C", "G", "T")
WIDTH = 0.085  # inches per letter of a new figure
WIDE = 0.92  # of a letter, as a share of its place
MOST = 400  # letters that can be told apart in one picture


def attribution_logo(
    a: xr.DataArray,
    x: xr.DataArray | None = None,
    *,
    ax: Axes | None = None,
    limit: float | None = None,
    label: str | None = None,
) -> Axes:
    """Draw a sequence's letters as high as their attributions, negative ones below zero.

    Parameters
    ----------
    a : DataArray
        Attributions of one sequence: dims `nucleotide` and `position`, or `position` alone.
    x : DataArray, optional
        The sequence, one-hot: dims `nucleotide` and `position`. Each position's letter gets the position's sum; needed
        where `a` has no `nucleotide`. Without it every entry of `a` that is not 0 is drawn, letters piled up.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.
    limit : float, optional
        The axis goes from minus to plus this value; default: as far as the letters.
    label : str, optional
        What the values are; default: the array's long name and unit.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For other dims, and more than 400 positions, which nobody can read; select some.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import attribution_logo
    >>> letters = xr.DataArray([[1.0, 0], [0, 0], [0, 1], [0, 0]], dims=("nucleotide", "position"))
    >>> x = letters.assign_coords(nucleotide=list("ACGT"))
    >>> ax = attribution_logo(xr.DataArray([2.0, -1.0], dims="position"), x)
    >>> len(ax.collections[0].get_paths())
    2
    """
    heights = _heights(a, x)
    if len(heights) > MOST:
        raise ValueError(
            f"`a` has {len(heights)} positions, expected at most {MOST} to be legible; select some: a.isel(position=slice(0, {MOST}))"
        )
    ax = axes(ax, (1.2 + WIDTH * max(30, len(heights)), 1.9))
    _draw_logo(heights, ax)
    low, high = _logo_reach(heights) if limit is None else (-limit, limit)
    ax.set_ylim(low, high)
    ax.axhline(0, color="black", linewidth=0.6)
    label_positions(ax, a)
    ax.set_ylabel(wrapped(value_label(a), 22) if label is None else label, fontsize=9)
    return ax


def motif_logo(motif: xr.DataArray, *, ax: Axes | None = None) -> Axes:
    """Draw a motif: each column as high as its information, shared out among the letters by their probability.

    Parameters
    ----------
    motif : DataArray
        Dims `nucleotide` and `position`, probabilities; with negative entries, contributions, which are drawn as they
        are.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.

    Returns
    -------
    Axes
        From 0 to 2 bits (contributions: as far as they reach).

    Raises
    ------
    ValueError
        For other dims.
    """
    p = _matrix(motif)
    frequencies = bool((p >= 0).all() and np.allclose(p.sum(1), 1, atol=0.02))
    heights = p * _bits(p)[:, None] if frequencies else p
    ax = axes(ax, (1.0 + 0.2 * len(p), 1.5))
    _draw_logo(heights, ax)
    if frequencies:
        ax.set_ylim(0, 2)
        ax.set_yticks([0, 1, 2])
    else:
        ax.set_ylim(*_logo_reach(heights))
        ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xticks(range(len(p)), [str(k + 1) for k in range(len(p))], fontsize=7)
    ax.tick_params(length=2, labelsize=7)
    ax.set_ylabel("bits" if frequencies else wrapped(value_label(motif), 16), fontsize=8)
    return ax


def _matrix(a: xr.DataArray) -> np.ndarray:
    """Numbers (positions, 4)."""
    letters = [str(v) for v in a["nucleotide"].values] if "nucleotide" in a.dims else []
    if a.ndim != 2 or "position" not in a.dims or sorted(letters) != list(LETTERS):
        raise ValueError(f"got dims {a.dims}, expected nucleotide (A, C, G, T) and position")
    return a.transpose("position", "nucleotide").sel(nucleotide=list(LETTERS)).values.astype(float)


def _bits(p: np.ndarray) -> np.ndarray:
    """Information of each column against even letters."""
    return np.asarray(2 + (p * np.log2(np.where(p > 0, p, 1))).sum(1)).clip(0)


def _heights(a: xr.DataArray, x: xr.DataArray | None) -> np.ndarray:
    """Heights (positions, 4)."""
    if x is None:
        return np.nan_to_num(_matrix(a))
    totals = a.sum("nucleotide") if "nucleotide" in a.dims else a
    if totals.dims != ("position",) or totals.sizes["position"] != x.sizes.get("position"):
        raise ValueError(
            f"`a` has {dict(a.sizes)}, `x` {dict(x.sizes)}; expected the same positions of one sequence"
        )
    return np.nan_to_num(_matrix(x)) * np.nan_to_num(totals.values)[:, None]


def _logo_reach(heights: np.ndarray) -> tuple[float, float]:
    """Limits that hold all piles, with a little room."""
    up, down = heights.clip(min=0).sum(1).max(initial=0), heights.clip(max=0).sum(1).min(initial=0)
    room = 0.06 * (up - down) or 1.0
    return float(down - room), float(up + room)


def _draw_logo(heights: np.ndarray, ax: Axes) -> None:
    """Letters piled up from zero, the smallest first; negative ones down from zero."""
    from matplotlib.collections import PathCollection

    paths, colours = [], []
    for place, column in enumerate(heights):
        up = down = 0.0
        for k in np.argsort(np.abs(column), kind="stable"):
            if column[k] == 0:
                continue
            low = up if column[k] > 0 else down + column[k]
            paths.append(outline(LETTERS[k]).transformed(_box(place, low, abs(column[k]))))
            colours.append(COLOURS[LETTERS[k]])
            up, down = up + max(column[k], 0), down + min(column[k], 0)
    ax.add_collection(PathCollection(paths, facecolors=colours, linewidths=0), autolim=False)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.set_xlim(-0.7, len(heights) - 0.3)


def _box(place: int, low: float, height: float) -> Any:
    """From a letter's outline to its place."""
    from matplotlib.transforms import Affine2D

    return Affine2D().scale(WIDE, height).translate(place, low)


def label_positions(ax: Axes, a: xr.DataArray) -> None:
    """The positions' own labels at round places."""
    own = a["position"].values if "position" in a.coords else np.arange(a.sizes["position"])
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100) if len(own) <= 14 * s or s == 100)
    places = (
        [k for k in range(len(own)) if own[k] % step == 0]
        if own.dtype.kind in "iu"
        else range(0, len(own), step)
    )
    ax.set_xticks(list(places), [str(own[k]) for k in places], fontsize=8)
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlabel(dim_label(a, "position"), fontsize=9)


# FOLDED attrib/plots/logo.py: """A sequence's letters as high as their attributions."""
if TYPE_CHECKING:
    from matplotlib.axes import Axes


def letters(
    a: xr.DataArray, *, ax: Axes | None = None, limit: float | None = None, label: str | None = None
) -> Axes:
    """Draw the letters along a sequence, each as high as its attribution, negative ones below zero.

    Parameters
    ----------
    a : DataArray
        One dim, with the coord `letter` along it. NaN is no letter.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.
    limit : float, optional
        The axis goes from minus to plus this value; default: as far as the letters.
    label : str, optional
        What the values are; default: the array's long name and unit.

    Returns
    -------
    Axes
        Small letters below the axis spell the sequence where attributions are too small to be read.

    Raises
    ------
    ValueError
        If `a` has another number of dims, or no letters.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import letters
    >>> a = xr.DataArray([1.0, -2.0], dims="position", coords={"letter": ("position", ["A", "C"])})
    >>> len(letters(a).collections[0].get_paths())
    2
    """
    if a.ndim != 1 or "letter" not in a.coords:
        raise ValueError(f"`a` has dims {a.dims}, expected one, with the coord `letter`")
    (dim,) = a.dims
    known = np.isfinite(a.values)
    places, heights, names = np.flatnonzero(known), a.values[known], a["letter"].values[known].astype(str)
    ax = axes(ax, (1.4 + 0.16 * len(places), 2.0))
    _draw(ax, places, heights, names)
    ax.set_ylim(*_reach(heights, limit))
    _spell(ax, places, names, a[dim].values[known] if dim in a.coords else places)
    ax.set_xlabel(dim_label(a, dim), fontsize=9)
    ax.set_ylabel(wrapped(value_label(a), 24) if label is None else label, fontsize=9)
    return ax


def _draw(ax: Axes, places: np.ndarray, heights: np.ndarray, names: np.ndarray) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2D

    paths = [
        Affine2D().scale(0.9, h).translate(x, 0).transform_path(outline(n))
        for x, h, n in zip(places, heights, names.tolist(), strict=True)
    ]
    made: Any = PathCollection(paths, facecolors=[COLOURS.get(n, OTHER) for n in names], linewidths=0)
    made.set_transform(ax.transData)
    ax.add_collection(made)
    ax.spines[["top", "right"]].set_visible(False)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xlim(-0.7, max(places, default=0) + 0.7)


def _reach(heights: np.ndarray, limit: float | None) -> tuple[float, float]:
    """Limits that hold all letters, with a little room."""
    low, high = (heights.min(initial=0), heights.max(initial=0)) if limit is None else (-limit, limit)
    room = 0.06 * (float(np.abs(heights).max(initial=0)) or 1.0)
    return float(low - room), float(high + room)


def _spell(ax: Axes, places: np.ndarray, names: np.ndarray, numbers: np.ndarray) -> None:
    """The sequence below the axis, the positions at every fifth letter."""
    spelled = [
        f"{n}\n{v}" if int(v) % 5 == 0 or k == 0 else str(n)
        for k, (n, v) in enumerate(zip(names, numbers, strict=True))
    ]
    ax.set_xticks(places, spelled, fontsize=7)
    ax.tick_params(axis="x", length=0)
    ax.tick_params(axis="y", labelsize=8)


# FOLDED attrib/plots/logo.py: """The outlines and colours of letters."""
if TYPE_CHECKING:
    from matplotlib.path import Path

COLOURS = {"A": "#2e8b57", "C": "#2166ac", "G": "#e08214", "T": "#b2182b"}
OTHER = "#777777"
SLIM = 0.3  # of a letter's height: the least width that is stretched to the whole, so that an I stays slim


@functools.cache
def outline(letter: str) -> Path:
    """A letter's outline, one wide around 0 and one high from 0."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    path = TextPath((0, 0), letter, size=10, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    wide = max(box.width, SLIM * 10)
    middle = Affine2D().translate(-box.x0 - box.width / 2, -box.y0)
    return middle.scale(1 / wide, 1 / box.height).transform_path(path)
