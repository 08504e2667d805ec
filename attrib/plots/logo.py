"""One sequence: letters whose heights are numbers, a heat map of its mutations, and several methods above each other.

Drawn here because packages for logos draw into pyplot, or one letter at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import refuse_other_dims
from attrib._public import public
from attrib.labels.frames import laid_like
from attrib.plots.scale import (
    axes,
    colours,
    dim_label,
    extends,
    figure,
    literal,
    number,
    robust_limit,
    value_label,
    with_unit,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path


LETTERS = ("A", "C", "G", "T")
COLOURS = {"A": "#2e8b57", "C": "#2166ac", "G": "#e08214", "T": "#b2182b"}
OTHER = "#777777"
WIDTH = 0.085  # inches per letter of a new figure
WIDE = 0.92  # a letter's width, as a share of its position's
SLIM = 0.3  # widths below this share of a letter's height are not stretched further, so that an I stays slim
MOST = 400  # letters that are legible in one picture

SEQLET = "#f2e394"


@public
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
        The sequence, one-hot: dims `nucleotide` and `position`. Each position's letter is as high as the position's
        sum. Required where `a` has no `nucleotide`. Without it every entry of `a` that is not 0 is drawn, and letters are
        piled up.
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
        For other dims, and for more than 400 positions, which are not legible.

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
    _draw_piles(ax, heights)
    low, high = _reach(heights) if limit is None else (-limit, limit)
    ax.set_ylim(low, high)
    ax.axhline(0, color="black", linewidth=0.6)
    label_positions(ax, a)
    ax.set_ylabel(wrapped(value_label(a), 22) if label is None else label, fontsize=9)
    return literal(ax)


@public
def letters(
    a: xr.DataArray, *, ax: Axes | None = None, limit: float | None = None, label: str | None = None
) -> Axes:
    """Draw the letters along a sequence, each as high as its attribution, negative ones below zero.

    Parameters
    ----------
    a : DataArray
        One dim, with the coord `letter` along it. Entries that are not finite are left out.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.
    limit : float, optional
        The axis goes from minus to plus this value; default: as far as the letters.
    label : str, optional
        What the values are; default: the array's long name and unit.

    Returns
    -------
    Axes
        Small letters below the axis spell the sequence.

    Raises
    ------
    ValueError
        If `a` has more or fewer dims than one, or no coord `letter`.

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
    finite = np.isfinite(a.values)
    positions, heights, names = (
        np.flatnonzero(finite),
        a.values[finite],
        a["letter"].values[finite].astype(str),
    )
    ax = axes(ax, (1.4 + 0.16 * len(positions), 2.0))
    _draw(
        ax,
        ((n, x, 0, h) for n, x, h in zip(names.tolist(), positions.tolist(), heights.tolist(), strict=True)),
        0.9,
    )
    ax.spines[["top", "right"]].set_visible(False)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set_xlim(-0.7, max(positions, default=0) + 0.7)
    low, high = (heights.min(initial=0), heights.max(initial=0)) if limit is None else (-limit, limit)
    margin = 0.06 * (float(np.abs(heights).max(initial=0)) or 1.0)
    ax.set_ylim(low - margin, high + margin)
    _spell(ax, positions, names, a[dim].values[finite] if dim in a.coords else positions)
    ax.set_xlabel(dim_label(a, dim), fontsize=9)
    ax.set_ylabel(wrapped(value_label(a), 24) if label is None else label, fontsize=9)
    return literal(ax)


@public
def motif_logo(motif: xr.DataArray, *, ax: Axes | None = None) -> Axes:
    """Draw a motif: each column is as high as its information, divided among the letters by their probabilities.

    Parameters
    ----------
    motif : DataArray
        Dims `nucleotide` and `position`: probabilities, or other numbers such as contributions, which are heights as
        they are. With the attr `sites`, the information is corrected for their number.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.

    Returns
    -------
    Axes
        From 0 to 2 bits; for contributions as far as they reach. A motif whose sites are too few to tell anything says so.

    Raises
    ------
    ValueError
        For other dims.

    Notes
    -----
    Few sites look conserved by chance: by 3 / (2 ln 2 n) bits on average for n sites, which are taken off each column
    (Schneider et al. 1986, doi:10.1016/0022-2836(86)90165-8).

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif
    >>> from attrib.plots import motif_logo
    >>> ax = motif_logo(as_motif([[1, 0.5], [0, 0.5], [0, 0], [0, 0]]))
    >>> float(max(p.get_extents().y1 for p in ax.collections[0].get_paths()))
    2.0
    """
    p = _matrix(motif, "motif")
    frequencies = bool((p >= 0).all() and np.allclose(p.sum(1), 1, atol=0.02))
    heights = p * _bits(p, motif.attrs.get("sites"))[:, None] if frequencies else p
    ax = axes(ax, (1.0 + 0.2 * len(p), 1.5))
    _draw_piles(ax, heights)
    if frequencies:
        ax.set_ylim(0, 2)
        ax.set_yticks([0, 1, 2])
        if not heights.any():
            sites = motif.attrs.get("sites")
            few = f"{sites:,.0f} site{'s' * (sites != 1)}: " if sites else ""
            ax.text(0.5, 0.5, f"{few}no more than chance", ha="center", va="center", fontsize=7, color="0.4", transform=ax.transAxes)  # fmt: skip
    else:
        ax.set_ylim(*_reach(heights))
        ax.axhline(0, color="black", linewidth=0.6)
    ticks = [
        k for k in range(len(p)) if len(p) <= 12 or k == 0 or (k + 1) % 5 == 0
    ]  # more numbers run together
    ax.set_xticks(ticks, [str(k + 1) for k in ticks], fontsize=7)
    ax.tick_params(length=2, labelsize=7)
    ax.set_ylabel("bits" if frequencies else wrapped(value_label(motif), 16), fontsize=8)
    return literal(ax)


def _matrix(a: xr.DataArray, name: str) -> np.ndarray:
    """The array's numbers (positions, 4); what is missing is 0."""
    letters = [str(v) for v in a["nucleotide"].values] if "nucleotide" in a.dims else []
    if a.ndim != 2 or "position" not in a.dims or sorted(letters) != list(LETTERS):
        raise ValueError(f"`{name}` has dims {a.dims}, expected nucleotide (A, C, G, T) and position")
    values = a.transpose("position", "nucleotide").sel(nucleotide=list(LETTERS)).values.astype(float)
    if np.isinf(values).any():
        raise ValueError(f"`{name}` has infinite entries, expected numbers")
    return np.nan_to_num(values)


def _bits(p: np.ndarray, sites: float | None) -> np.ndarray:
    """Information of each column in bits, against a quarter for each letter, less what so few sites show by chance."""
    chance = 1.5 / (np.log(2) * sites) if sites else 0.0
    return np.asarray(2 + (p * np.log2(np.where(p > 0, p, 1))).sum(1) - chance).clip(0)


def _heights(a: xr.DataArray, x: xr.DataArray | None) -> np.ndarray:
    """Heights of the letters (positions, 4)."""
    if x is None:
        return _matrix(a, "a")
    x = laid_like(x, a, "x", "a")
    totals = a.sum("nucleotide") if "nucleotide" in a.dims else a
    if totals.dims != ("position",) or totals.sizes["position"] != x.sizes.get("position"):
        raise ValueError(
            f"`a` has {dict(a.sizes)}, `x` {dict(x.sizes)}; expected the same positions of one sequence"
        )
    if np.isinf(totals.values).any():
        raise ValueError("`a` has infinite entries, expected numbers")
    return _matrix(x, "x") * np.nan_to_num(totals.values)[:, None]


def _reach(heights: np.ndarray) -> tuple[float, float]:
    """Limits of an axis that hold all piles, with a margin."""
    up, down = heights.clip(min=0).sum(1).max(initial=0), heights.clip(max=0).sum(1).min(initial=0)
    margin = 0.06 * (up - down) or 1.0
    return float(down - margin), float(up + margin)


def _draw_piles(ax: Axes, heights: np.ndarray) -> None:
    """Letters piled up from zero, the smallest first; negative ones down from zero."""
    glyphs = []
    for position, column in enumerate(heights):
        up = down = 0.0
        for k in np.argsort(np.abs(column), kind="stable"):
            if column[k] == 0:
                continue
            low = up if column[k] > 0 else down + column[k]
            glyphs.append((LETTERS[k], position, low, abs(column[k])))
            up, down = up + max(column[k], 0), down + min(column[k], 0)
    _draw(ax, glyphs, WIDE)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.set_xlim(-0.7, len(heights) - 0.3)


def _draw(ax: Axes, glyphs: Iterable[tuple[str, float, float, float]], width: float) -> None:
    """Letters at a position, from a low end, with a height; a negative height turns a letter upside down."""
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2D

    paths, colours = [], []
    for letter, position, low, height in glyphs:
        paths.append(Affine2D().scale(width, height).translate(position, low).transform_path(outline(letter)))
        colours.append(COLOURS.get(letter, OTHER))
    ax.add_collection(PathCollection(paths, facecolors=colours, linewidths=0), autolim=False)


def _spell(ax: Axes, positions: np.ndarray, names: np.ndarray, numbers: np.ndarray) -> None:
    """The sequence below the axis, with the label of the first and of every fifth position."""
    counted = numbers if numbers.dtype.kind in "iu" else positions
    spelled = [
        f"{n}\n{v}" if c % 5 == 0 or k == 0 else str(n)
        for k, (n, v, c) in enumerate(zip(names, numbers, counted, strict=True))
    ]
    ax.set_xticks(positions, spelled, fontsize=7)
    ax.tick_params(axis="x", length=0)
    ax.tick_params(axis="y", labelsize=8)


def label_positions(ax: Axes, a: xr.DataArray) -> None:
    """The positions' labels at round numbers."""
    labels = a["position"].values if "position" in a.coords else np.arange(a.sizes["position"])
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100) if len(labels) <= 14 * s or s == 100)
    places = (
        [k for k in range(len(labels)) if labels[k] % step == 0]
        if labels.dtype.kind in "iu"
        else range(0, len(labels), step)
    )
    ax.set_xticks(list(places), [str(labels[k]) for k in places], fontsize=8)
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlabel(dim_label(a, "position"), fontsize=9)


@functools.cache
def outline(letter: str) -> Path:
    """A letter's outline: of width 1 centred at 0, of height 1 from 0."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    path = TextPath((0, 0), letter, size=10, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    wide = max(box.width, SLIM * 10)
    middle = Affine2D().translate(-box.x0 - box.width / 2, -box.y0)
    return middle.scale(1 / wide, 1 / box.height).transform_path(path)


@public
def mutation_map(
    a: xr.DataArray,
    x: xr.DataArray | None = None,
    *,
    ax: Axes | None = None,
    limit: float | None = None,
    colorbar: bool = True,
    label: str | None = None,
) -> Axes:
    """Draw the effect of each substitution, and mark the letters of the sequence.

    Parameters
    ----------
    a : DataArray
        Of `attrib.in_silico_mutagenesis`, or gradients, for one sequence: dims `nucleotide` and `position`.
    x : DataArray, optional
        The sequence, one-hot, of the same dims.
    ax : matplotlib Axes, optional
        Where to draw; default: a new figure without a window.
    limit : float, optional
        The colours go from minus to plus this value; default: the 99.5th percentile of the magnitudes.
    colorbar : bool, default True
        Whether to add a colour bar.
    label : str, optional
        What the values are; default: the array's long name and unit.

    Returns
    -------
    Axes
        Rows A, C, G, T from the top; red raises the score, blue lowers it (values without a sign are all red); a dot marks the
        sequence's letter.

    Raises
    ------
    ValueError
        For other dims, and for an `x` of other positions.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.plots import mutation_map
    >>> letters = xr.DataArray([[1.0, 0], [0, 0], [0, 1], [0, 0]], dims=("nucleotide", "position"))
    >>> x = letters.assign_coords(nucleotide=list("ACGT"))
    >>> [t.get_text() for t in mutation_map(x - 1, x).get_yticklabels()]
    ['A', 'C', 'G', 'T']
    """
    sizes = a.sizes if x is None else x.sizes
    if set(a.dims) != {"nucleotide", "position"} or dict(sizes) != dict(a.sizes):
        raise ValueError(
            f"`a` has {dict(a.sizes)}, `x` {dict(sizes)}; expected nucleotide and position of one sequence"
        )
    a = a.transpose("nucleotide", "position")
    size = a.sizes["position"]
    ax = axes(ax, (1.8 + 0.085 * max(30, size), 1.7))
    bound = robust_limit(a, 99.5) if limit is None else limit
    picture = ax.imshow(
        a.values, **colours(a.values, bound), interpolation="nearest", aspect="auto",
        extent=(-0.5, size - 0.5, 3.5, -0.5),
    )  # fmt: skip
    if x is not None:
        row, position = np.nonzero(laid_like(x, a, "x", "a").values > 0)
        ax.scatter(position, row, s=3, color="black", linewidths=0)
    ax.set_yticks(range(4), [str(v) for v in a["nucleotide"].values], fontsize=8)
    label_positions(ax, a)
    if colorbar:
        bar = ax.figure.colorbar(picture, ax=ax, extend=extends(a.values, bound), pad=0.01, fraction=0.03)
        quantity = value_label(a) if label is None else label
        bar.set_label(f"{wrapped(quantity, 24)}\n(limit {number(bound)})", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        literal(bar.ax)
    return literal(ax)


@public
def sequence_tracks(
    x: xr.DataArray,
    attributions: Mapping[str, xr.DataArray],
    mutations: xr.DataArray | None = None,
    *,
    seqlets: pd.DataFrame | None = None,
    title: str = "",
) -> Figure:
    """Draw attributions of one sequence as logos below each other, and its mutations as a heat map.

    Parameters
    ----------
    x : DataArray
        The sequence, one-hot: dims `nucleotide` and `position`.
    attributions : mapping of str to DataArray
        Names, and attributions of the positions: dim `position`, or with `nucleotide` too, which is summed.
    mutations : DataArray, optional
        Of `attrib.in_silico_mutagenesis`: dims `nucleotide` and `position`.
    seqlets : DataFrame, optional
        Rows with `start` and `end`, half-open and counted from 0 in `x`. Their spans are shaded.
    title : str
        Title of the figure; default: none.

    Returns
    -------
    Figure
        Each row has its own scale.

    Raises
    ------
    ValueError
        For more than 400 positions, and where there is nothing to draw.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.sequences import one_hot
    >>> from attrib.plots import sequence_tracks
    >>> a = xr.DataArray([1.0, -1.0, 0.5, 0.0], dims="position")
    >>> len(sequence_tracks(one_hot("ACGT")[0], {"saliency": a, "deep_lift": a}).axes)
    2
    """
    refuse_other_dims("x", x, ("nucleotide", "position"))
    count = len(attributions) + (mutations is not None)
    size = x.sizes["position"]
    if not count or size > MOST:
        raise ValueError(
            f"`x` has {size} positions, there are {count} rows to draw; expected at most {MOST} positions and at least one row"
        )
    drawing = figure((1.9 + WIDTH * max(40, size), 0.5 + 1.45 * count))
    grid: Any = drawing.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
    for ax, (name, a) in zip(grid, attributions.items(), strict=False):
        unit = with_unit("", a.attrs).strip()
        attribution_logo(a, x, ax=ax, label=f"{wrapped(name, 20)}\n{wrapped(unit, 20)}".strip())
        _shade(ax, seqlets)
    if mutations is not None:
        mutation_map(mutations, x, ax=grid[-1], label=with_unit("score change", mutations.attrs))
        grid[-1].set_ylabel("mutant\nletter", fontsize=9)
        grid[-1].set_xlim(-0.7, size - 0.3)
    for ax in grid[:-1]:
        ax.set_xlabel("")
    drawing.suptitle(wrapped(title, int(drawing.get_figwidth() / 0.085)), fontsize=10)
    return drawing


def _shade(ax: Any, seqlets: pd.DataFrame | None) -> None:
    """Shade the seqlets' spans behind the letters."""
    if seqlets is not None:
        for start, end in zip(seqlets.start, seqlets.end, strict=True):
            ax.axvspan(start - 0.5, end - 0.5, color=SEQLET, alpha=0.6, zorder=-2, linewidth=0)
