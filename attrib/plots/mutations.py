"""A number for each letter of each position, such as in-silico mutagenesis, as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from attrib.labels.matching import laid_like
from attrib.plots.logo import label_positions
from attrib.plots.scale import axes, colours, extends, literal, number, robust_limit, value_label, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
