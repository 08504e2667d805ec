"""More samples for labels that have few: mixtures of two, noise, or points between neighbours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attrib._seed import whole_seed

WAYS = ("mix", "gaussian", "smote")
NEIGHBOURS = 5
NOISE = 0.1  # of a gene's standard deviation within the label


class Augmented(NamedTuple):
    """Samples after augmentation.

    Attributes
    ----------
    x : array (N + new, genes)
        The samples themselves, and then the new ones.
    label : array (N + new,)
    new : array of bool (N + new,)
        Which were made.
    """

    x: np.ndarray
    label: np.ndarray
    new: np.ndarray


def augmented(x: np.ndarray, label: np.ndarray, least: int, way: str = "mix", seed: int = 0) -> Augmented:
    """Make samples until every label has at least `least`.

    Parameters
    ----------
    x : array (N, genes)
        Training samples, and no others.
    label : array (N,)
    least : int
        Samples per label; 0 makes none.
    way : {"mix", "gaussian", "smote"}
        `"mix"`: a random point on the line between two samples of the label. `"gaussian"`: a sample with noise of a tenth of
        each gene's standard deviation within the label. `"smote"`: a point between a sample and one of its five nearest of
        the label. A label with one sample gets copies of it.
    seed : int

    Returns
    -------
    Augmented

    Raises
    ------
    ValueError
        For another `way`, and a negative `least`.

    References
    ----------
    Chawla et al. (2002), SMOTE: synthetic minority over-sampling technique. doi:10.1613/jair.953

    Examples
    --------
    >>> import numpy as np
    >>> from attrib.domains.expression import augmented
    >>> more = augmented(np.array([[0.0], [1.0], [5.0]]), np.array(["a", "a", "b"]), 3)
    >>> more.label.tolist(), int(more.new.sum())
    (['a', 'a', 'b', 'a', 'b', 'b'], 3)
    """
    if way not in WAYS:
        raise ValueError(f"`augment` is {way!r}, expected {', '.join(WAYS)}")
    if least < 0:
        raise ValueError(f"`min_samples` is {least}, expected 0 or more")
    labels = np.asarray(label)
    rows, names = [np.asarray(x)], [labels]
    for k, name in enumerate(np.unique(labels)):
        samples = rows[0][labels == name]
        count = least - len(samples)
        if count > 0:
            fresh = _made(samples, count, way, np.random.default_rng([whole_seed(seed), k]))
            rows.append(fresh.astype(rows[0].dtype))
            names.append(np.full(count, name, dtype=labels.dtype))
    total = np.concatenate(names)
    return Augmented(np.concatenate(rows), total, np.arange(len(total)) >= len(labels))


def _made(samples: np.ndarray, count: int, way: str, rng: np.random.Generator) -> np.ndarray:
    """New samples (count, genes) of one label."""
    first = rng.integers(len(samples), size=count)
    if way == "gaussian":
        return samples[first] + NOISE * samples.std(0) * rng.standard_normal((count, samples.shape[1]))
    if len(samples) == 1:
        return samples[first]
    if way == "smote":
        near = _neighbours(samples)
        second = near[first, rng.integers(near.shape[1], size=count)]
    else:
        second = (first + rng.integers(1, len(samples), size=count)) % len(samples)
    share = rng.random((count, 1))
    return samples[first] + share * (samples[second] - samples[first])


def _neighbours(samples: np.ndarray) -> np.ndarray:
    """The nearest samples of each, without itself."""
    from sklearn.neighbors import NearestNeighbors

    k = min(NEIGHBOURS, len(samples) - 1)
    return NearestNeighbors(n_neighbors=k).fit(samples).kneighbors(return_distance=False)
