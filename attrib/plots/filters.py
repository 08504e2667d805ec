"""Filters as small pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.plots.scale import DIVERGING, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def filter_grid(w: xr.DataArray, *, columns: int = 8) -> Figure:
    """Draw the filters of a convolution of images, all on one scale centred at zero.

    Parameters
    ----------
    w : DataArray
        Of `attrib.filters`: dims filter, channel, y, x. Three channels are drawn as colours, grey standing for zero;
        of other numbers the sum over channels.
    columns : int, default 8
        Filters side by side.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        For other dims.
    """
    if set(w.dims) != {"filter", "channel", "y", "x"}:
        raise ValueError(f"`w` has dims {w.dims}, expected filter, channel, y, x")
    values = w.transpose("filter", "y", "x", "channel").values
    coloured = values.shape[-1] == 3
    values = values if coloured else values.sum(-1)
    limit = float(np.abs(values).max()) or 1.0
    rows = -(-len(values) // columns)
    made = figure((0.9 * min(columns, len(values)), 1.05 * rows))
    axes: Any = made.subplots(rows, min(columns, len(values)), squeeze=False)
    for k, ax in enumerate(axes.ravel()):
        ax.set_axis_off()
        if k < len(values):
            shown = 0.5 + 0.5 * values[k] / limit if coloured else values[k]
            ax.imshow(shown, **({} if coloured else {"cmap": DIVERGING, "vmin": -limit, "vmax": limit}))
            ax.set_title(str(w["filter"].values[k]), fontsize=7)
    return made
