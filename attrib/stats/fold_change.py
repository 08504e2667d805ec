"""Expression of each label's samples against the rest, beside which attributions can be laid."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from attrib.stats.matching import Labelled
from attrib.stats.one_against_rest import moments_by


def fold_change(x: Labelled, by: Any, *, pseudocount: float = 1.0) -> xr.Dataset:
    """Mean expression of each label's samples, and its log2 fold change against all other samples.

    ``log2((mean in the label + c) / (mean over all other samples + c))``

    Parameters
    ----------
    x : DataArray, DataFrame or AnnData
        Expression (samples, genes), not logarithms.
    by : str or array
        As in `attrib.stats.moments_by`.
    pseudocount : float, default 1.0
        c, in the unit of `x`.

    Returns
    -------
    Dataset
        Over `by` and the genes: `mean_expression` in the unit of `x`, and `log2_fold_change`.

    Raises
    ------
    ValueError
        For fewer than two labels, and a `pseudocount` that is not positive. Means below ``-pseudocount`` give NaN.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import fold_change
    >>> x = xr.DataArray([[7.0], [1.0], [1.0]], dims=("sample", "gene"), coords={"tissue": ("sample", ["a", "b", "b"])})
    >>> fold_change(x, "tissue").log2_fold_change.values.tolist()
    [[2.0], [-2.0]]
    """
    if not pseudocount > 0:
        raise ValueError(f"`pseudocount` is {pseudocount}, expected a positive number")
    moments = moments_by(x, by)
    by = moments["count"].dims[0]
    if moments.sizes[by] < 2:
        raise ValueError(f"`by` has the label {moments[by].values.tolist()} alone, expected two or more")
    mean, n = moments["mean"], moments["count"]
    elsewhere = ((mean * n).sum(by) - mean * n) / (n.sum() - n)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = xr.DataArray(np.log2(mean + pseudocount) - np.log2(elsewhere + pseudocount))
    return xr.Dataset({"mean_expression": mean, "log2_fold_change": change.transpose(*mean.dims)})
