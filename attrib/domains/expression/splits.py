"""Samples for training, validation and test, so that no donor is in two of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

SPLITS = ("train", "validation", "test")


def split_by_group(
    label: Sequence[Any] | np.ndarray,
    group: Sequence[Any] | np.ndarray | None = None,
    *,
    test: float = 0.2,
    validation: float = 0.1,
    seed: int = 0,
) -> np.ndarray:
    """The split of each sample: whole groups, with labels as evenly spread as groups allow.

    Parameters
    ----------
    label : array (N,)
        What is predicted.
    group : array (N,), optional
        What samples must not be divided, such as the donor; default: each sample by itself.
    test, validation : float, default 0.2, 0.1
        Shares of the samples, about.
    seed : int

    Returns
    -------
    array of str (N,)
        ``"train"``, ``"validation"`` or ``"test"``.

    Raises
    ------
    ValueError
        For shares that leave a split empty, and fewer than three groups.

    Notes
    -----
    `sklearn.model_selection.StratifiedGroupKFold` chooses the groups.

    Examples
    --------
    >>> from attrib.domains.expression import split_by_group
    >>> place = split_by_group(["skin", "lung"] * 10, [k // 2 for k in range(20)], test=0.2, validation=0.2)
    >>> [int((place == s).sum()) for s in ("train", "validation", "test")]
    [12, 4, 4]
    """
    labels = np.asarray(label).astype(str)
    groups = np.arange(len(labels)) if group is None else np.asarray(group).astype(str)
    if not (0 < test < 1 and 0 < validation < 1 and test + validation < 1):
        raise ValueError(
            f"`test` is {test}, `validation` {validation}; expected shares above 0 whose sum is below 1"
        )
    count = len(np.unique(groups))
    if groups.shape != labels.shape or count < len(SPLITS):
        raise ValueError(
            f"`group` has {count} different values for {len(labels)} samples, expected at least {len(SPLITS)}: one for each split"
        )
    place = np.full(len(labels), "train", dtype="<U10")
    remaining = np.arange(len(labels))
    for name, share in (("test", test), ("validation", validation / (1 - test))):
        held = _fold(labels[remaining], groups[remaining], share, seed)
        place[remaining[held]] = name
        remaining = remaining[~held]
    check_split(place, groups)
    return place


def _fold(labels: np.ndarray, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which samples are held out."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(max(2, round(1 / share)), len(np.unique(groups)))
    held = np.zeros(len(labels), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of labels with fewer samples than folds
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        parts = [part for _, part in splitter.split(np.zeros(len(labels)), labels, groups)]
    held[parts[0]] = True
    for part in parts[1:]:  # a share above a half is several folds
        if held.mean() + len(part) / len(labels) <= share * 1.05:
            held[part] = True
    if held.all() or not held.any():
        raise ValueError("the samples cannot be divided: too few groups for these shares")
    return held


def check_split(place: Sequence[str] | np.ndarray, group: Sequence[Any] | np.ndarray) -> None:
    """Refuse splits that have a group in common.

    Parameters
    ----------
    place : array of str (N,)
        ``"train"``, ``"validation"`` or ``"test"`` of each sample.
    group : array (N,)
        Such as the donor.

    Raises
    ------
    ValueError
        For a group in two splits, naming it, for other names of splits, and splits without samples.

    Examples
    --------
    >>> from attrib.domains.expression import check_split
    >>> check_split(["train", "train", "validation", "test"], ["donor 1", "donor 1", "donor 2", "donor 3"])
    """
    names, groups = np.asarray(place).astype(str).tolist(), np.asarray(group).astype(str).tolist()
    strange = sorted(set(names) - set(SPLITS))
    if strange:
        raise ValueError(f"`split` has the value {strange[0]!r}, expected {', '.join(SPLITS)}")
    empty = [s for s in SPLITS if s not in names]
    if empty:
        raise ValueError(
            f"`split` has no sample for {empty[0]}, expected some for each of {', '.join(SPLITS)}"
        )
    where: dict[str, str] = {}
    for g, s in zip(groups, names, strict=True):
        if where.setdefault(g, s) != s:
            raise ValueError(
                f"`split`: samples of {g} are in {where[g]} and in {s}; what is learned of a donor would be tested on it"
            )
