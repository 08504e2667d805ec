"""Resampling of groups with replacement, as weights of samples."""

from __future__ import annotations

import numpy as np

from attrib._seed import whole_seed


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
