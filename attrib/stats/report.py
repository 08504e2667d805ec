"""Figures of a classifier of two or several labels, with intervals from resampled groups.

The figures of all resamplings are computed here as one product with their weights, and the two areas from one sort.
scikit-learn gives the same numbers (tests compare them) one resampling at a time, about 20 times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import whole_seed
from attrib._public import public
from attrib.labels.frames import numbers
from attrib.stats.matching import complete, in_order, labels_of

FIGURES = ("precision", "recall", "f1")
OVERALL = ("accuracy", "macro avg", "weighted avg")


@public
def report(
    label: Sequence[Any] | np.ndarray | pd.Series | xr.DataArray,
    predicted: Sequence[Any] | np.ndarray | pd.Series | xr.DataArray,
    *,
    classes: Sequence[Any] | None = None,
    groups: Sequence[Any] | np.ndarray | pd.Series | xr.DataArray | None = None,
    n_bootstrap: int = 999,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Precision, recall and F1 of each label, their averages and the accuracy, with bootstrap intervals.

    ``precision = hits / called``, ``recall = hits / support``, ``f1 = 2 hits / (called + support)``

    Parameters
    ----------
    label : array (N,)
        The true labels.
    predicted : array (N,)
        A Series or a DataArray is matched to `label` by the samples' labels where both have them; so are `groups`.
    classes : sequence, optional
        The labels and their order; default: those that occur, sorted.
    groups : array (N,), optional
        Which samples belong together, such as all samples of one donor. A group is resampled as a unit; default: each
        sample is its own group.
    n_bootstrap : int, default 999
        Number of resamplings.
    level : float, default 0.95
        Coverage of the intervals.
    seed : int, default 0
        Seed of the resamplings.

    Returns
    -------
    DataFrame
        A row per label, then `accuracy`, `macro avg` (the mean over the labels that have samples) and `weighted avg` (weighted
        by support). Columns `precision`, `recall`, `f1`, each with `_lower` and `_upper` (percentiles), and `support`, the
        number of samples. The row `accuracy` has the accuracy in all three. Of a label that is never predicted precision is 0;
        of one without samples recall is NaN, and intervals leave out resamplings in which it has none.

    Raises
    ------
    ValueError
        For samples that are not the same in all arguments, and values that are not among `classes`.

    Notes
    -----
    Percentile intervals of a figure that is 0 or 1 in all samples have no width: they then say nothing.

    Examples
    --------
    >>> from attrib.stats import report
    >>> table = report(["a", "a", "b", "c"], ["a", "b", "b", "c"])
    >>> table.loc[["a", "b", "accuracy"], "recall"].to_dict()
    {'a': 0.5, 'b': 1.0, 'accuracy': 0.75}
    """
    y, samples = complete(np.asarray(label), "label"), labels_of(label)
    called = complete(in_order(predicted, samples, "predicted", "label"), "predicted")
    if y.ndim != 1 or called.shape != y.shape or not len(y):
        raise ValueError(
            f"`predicted` has shape {called.shape}, `label` {y.shape}; expected the same samples, at least one"
        )
    names = pd.Index(sorted(set(y.tolist()) | set(called.tolist())) if classes is None else list(classes))
    true, guess = (_places(v, names, n) for v, n in ((y, "label"), (called, "predicted")))
    together = np.arange(len(y)) if groups is None else in_order(groups, samples, "groups", "label")
    weights = np.concatenate([np.ones((1, len(y))), group_weights(together, len(y), n_bootstrap, seed)])
    figures, support = _figures(true, guess, weights, len(names))
    low, high = np.nanquantile(_seen(figures[1:]), [(1 - level) / 2, (1 + level) / 2], axis=0)
    columns: dict[str, np.ndarray] = {}
    for k, name in enumerate(FIGURES):
        columns |= {name: figures[0, :, k], f"{name}_lower": low[:, k], f"{name}_upper": high[:, k]}
    columns["support"] = np.append(support[0], [len(y)] * len(OVERALL)).astype(int)
    return pd.DataFrame(columns, index=pd.Index([*names, *OVERALL], name="label"))


def _places(values: np.ndarray, names: pd.Index, argument: str) -> np.ndarray:
    place = names.get_indexer(pd.Index(values))
    if (place < 0).any():
        raise ValueError(f"`{argument}` has {str(values[place < 0][0])!r}, which is not among `classes`")
    return place


def _figures(
    true: np.ndarray, guess: np.ndarray, weights: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Figures (resamplings, labels + 3, 3) and support (resamplings, labels)."""
    truth, called = np.eye(count)[true], np.eye(count)[guess]
    hits, support, calls = weights @ (truth * called), weights @ truth, weights @ called
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.stack([np.where(calls > 0, hits / calls, np.where(support > 0, 0.0, np.nan)), hits / support, 2 * hits / (calls + support)], 2)  # fmt: skip
    occurs = (support > 0)[..., None]
    total = weights.sum(1)
    accuracy = np.repeat((hits.sum(1) / total)[:, None, None], 3, 2)
    inside = np.where(occurs, each, 0.0)
    macro = inside.sum(1, keepdims=True) / occurs.sum(1, keepdims=True)
    weighted = (inside * support[..., None]).sum(1, keepdims=True) / total[:, None, None]
    return np.concatenate([each, accuracy, macro, weighted], 1), support


def _seen(figures: np.ndarray) -> np.ndarray:
    """The same, with 0 for what no resampling defines at all, such as a label without samples."""
    never = np.isnan(figures).all(0)
    return np.where(never, 0.0, figures)


@public
def performance(
    label: Sequence[Any] | np.ndarray | pd.Series | xr.DataArray,
    probability: Sequence[float] | np.ndarray | pd.Series | xr.DataArray,
    *,
    groups: Sequence[Any] | np.ndarray | pd.Series | xr.DataArray | None = None,
    threshold: float = 0.5,
    n_bootstrap: int = 999,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy, AUROC and seven more figures of a binary classifier, with bootstrap intervals.

    Parameters
    ----------
    label : array (N,)
        1 or True for positives, 0 or False for negatives; both must occur.
    probability : array (N,)
        Predicted probability of the positive class. A Series or a DataArray is matched to `label` by the samples' labels
        where both have them; so are `groups`.
    groups : array (N,), optional
        Which samples belong together, such as all pairs of one miRNA. A group is resampled as a unit; default: each sample
        is its own group.
    threshold : float, default 0.5
        A sample with at least this probability is called positive.
    n_bootstrap : int, default 999
        Number of resamplings.
    level : float, default 0.95
        Coverage of the intervals.
    seed : int, default 0
        Seed of the resamplings.

    Returns
    -------
    DataFrame
        Rows `accuracy`, `balanced_accuracy`, `sensitivity`, `specificity`, `precision`, `f1`, `mcc`, `auroc`,
        `average_precision`; columns `value`, `lower`, `upper` (percentiles). NaN where a figure is not defined;
        the intervals leave out resamplings in which it is not.

    Raises
    ------
    ValueError
        For labels other than 0 and 1, labels that are all the same, probabilities outside [0, 1], and samples that are
        not the same in all arguments.

    Examples
    --------
    >>> from attrib.stats import performance
    >>> table = performance([1, 1, 0, 0], [0.9, 0.4, 0.3, 0.2])
    >>> table.value[["accuracy", "sensitivity", "auroc"]].tolist()
    [0.75, 0.5, 1.0]
    """
    y, samples = complete(np.asarray(label), "label"), labels_of(label)
    p = numbers("probability", in_order(probability, samples, "probability", "label"))
    if y.ndim != 1 or set(np.unique(y).tolist()) != {0, 1}:
        raise ValueError(f"`label` has the values {np.unique(y)[:5].tolist()}, expected 0 and 1, both")
    if p.shape != y.shape or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"`probability` has shape {p.shape}, expected {y.shape} with values from 0 to 1")
    together = np.arange(len(y)) if groups is None else in_order(groups, samples, "groups", "label")
    weights = group_weights(together, len(y), n_bootstrap, seed)
    figures = _binary_figures(y.astype(bool), p, threshold, np.concatenate([np.ones((1, len(y))), weights]))
    table = pd.DataFrame({"value": figures.iloc[0]})
    ends = figures.iloc[1:].quantile([(1 - level) / 2, (1 + level) / 2])
    return table.assign(lower=ends.iloc[0], upper=ends.iloc[1])


def _binary_figures(y: np.ndarray, p: np.ndarray, threshold: float, weights: np.ndarray) -> pd.DataFrame:
    """A row per row of weights."""
    called = p >= threshold
    tp, fn, fp, tn = (weights @ (a & b) for a, b in ((y, called), (y, ~called), (~y, called), (~y, ~called)))
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        figures = {
            "accuracy": (tp + tn) / (tp + tn + fp + fn),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": tp / (tp + fp),
            "f1": 2 * tp / (2 * tp + fp + fn),
            "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
        }
    area, precision = zip(*(_ranked(y, p, w) for w in weights), strict=True)
    return pd.DataFrame(figures | {"auroc": area, "average_precision": precision})


def _ranked(y: np.ndarray, p: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Areas under the ROC and the precision-recall curve, ties as one step."""
    order = np.argsort(-p, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
    hits = np.cumsum(weight[order] * y[order])[ends]
    misses = np.cumsum(weight[order] * ~y[order])[ends]
    if hits[-1] == 0 or misses[-1] == 0:
        return float("nan"), float("nan")
    steps = np.diff(hits, prepend=0.0) / hits[-1]
    area = 1 - (steps * (misses - np.diff(misses, prepend=0.0) / 2)).sum() / misses[-1]
    seen = hits + misses
    return float(area), float((steps * hits / np.where(seen > 0, seen, 1)).sum())


def group_weights(groups: np.ndarray, n: int, count: int, seed: int) -> np.ndarray:
    """How often each sample is drawn in each resampling (count, n): a group is drawn whole.

    Parameters
    ----------
    groups : array (n,)
        Which samples belong together.
    n, count, seed : int

    Raises
    ------
    ValueError
        For another number of samples.
    """
    if groups.shape != (n,):
        raise ValueError(f"`groups` has shape {groups.shape}, expected {(n,)}")
    names, place = np.unique(groups, return_inverse=True)
    drawn = np.random.default_rng(whole_seed(seed)).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=count
    )
    return drawn[:, place].astype(float)
