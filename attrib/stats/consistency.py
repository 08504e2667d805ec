"""Whether samples of one label have attributions alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._seed import whole_seed
from attrib.stats.matching import Labelled, by_labels, samples_along, values_along

CHUNK = 1 << 18  # entries at a time


def consistency(
    a: Labelled,
    label: str | Sequence[Any] | np.ndarray | pd.Series | xr.DataArray,
    *,
    dim: str = "sample",
    n_permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean correlation of the attributions of two samples, within each label and between labels.

    Parameters
    ----------
    a : DataArray, DataFrame or AnnData
        Attributions with the dim `dim`.
    label : str or array
        A coord along `dim`, or one value per sample; a DataArray or a Series is matched by the samples' labels.
    dim : str, default "sample"
        The samples.
    n_permutations : int, default 999
        Relabellings for the p-value.
    seed : int, default 0
        Their seed.

    Returns
    -------
    DataFrame
        `samples`: ``within LABEL`` for each, ``within labels``, ``between labels``, and ``within - between``; `pairs`, how
        many; `correlation`, the mean of Pearson's r; `p` of the last row, one-sided, by relabelling.

    Raises
    ------
    ValueError
        For fewer than two labels, or labels that are not one per sample.

    Notes
    -----
    Attributions without spread correlate with none: their r counts as 0. Memory: the data, and 260,000 entries of them in
    float64.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.stats import consistency
    >>> values = np.random.default_rng(0).normal(size=(8, 50)) + np.repeat([[1.0], [0.0]], 4, 0) * np.arange(50)
    >>> table = consistency(xr.DataArray(values, dims=("sample", "gene")), ["TLE"] * 4 + ["HC"] * 4)
    >>> bool(table.correlation[1] > 0.9 and abs(table.correlation[0]) < 0.2)
    True
    """
    a = by_labels(a, "a", (dim, "feature"))
    dim = samples_along(a, dim)
    labels = values_along(label, a, dim, "label")
    if labels.shape != (a.sizes[dim],):
        raise ValueError(f"`label` has shape {labels.shape}, expected {a.sizes[dim]}, one per sample")
    names = np.unique(labels)
    if len(names) < 2:
        raise ValueError(f"`label` has {len(names)} different values, expected at least two")
    r = _correlations(np.asarray(a.transpose(dim, ...).values).reshape(a.sizes[dim], -1))
    first, second = np.triu_indices(len(r), 1)
    pairs = r[first, second]
    same = labels[first] == labels[second]
    rows = [_row(f"within {n}", pairs[same & (labels[first] == n)]) for n in names]
    rows += [_row("within labels", pairs[same]), _row("between labels", pairs[~same])]
    gap = _gap(pairs, same)
    rng = np.random.default_rng([whole_seed(seed), 5])
    reached = 0
    for _ in range(n_permutations):
        order = rng.permutation(len(labels))
        reached += _gap(pairs, labels[order][first] == labels[order][second]) >= gap - 1e-12
    rows.append({"samples": "within - between", "pairs": len(pairs), "correlation": gap, "p": (1 + reached) / (1 + n_permutations)})  # fmt: skip
    return pd.DataFrame(rows, columns=["samples", "pairs", "correlation", "p"])


def _row(name: str, r: np.ndarray) -> dict[str, Any]:
    return {
        "samples": name,
        "pairs": len(r),
        "correlation": float(r.mean()) if len(r) else np.nan,
        "p": np.nan,
    }


def _gap(pairs: np.ndarray, same: np.ndarray) -> float:
    return float(pairs[same].mean() - pairs[~same].mean()) if same.any() and not same.all() else 0.0


def _correlations(x: np.ndarray) -> np.ndarray:
    """Pearson's r of each pair of rows, some columns at a time."""
    mean = x.mean(1, dtype=np.float64)[:, None]
    products = np.zeros((len(x), len(x)))
    for start in range(0, x.shape[1], CHUNK):
        part = x[:, start : start + CHUNK] - mean
        products += part @ part.T
    size = np.sqrt(np.diag(products))
    size = np.where(size > 0, size, np.inf)
    return products / size / size[:, None]
