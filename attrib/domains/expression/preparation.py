"""From a matrix to what a network is trained on: splits that share no donor, more samples for rare labels, transforms."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import list_of, refuse_what_cannot_fit, whole_seed
from attrib._public import public
from attrib.labels.frames import matched, numbers

SPLITS = ("train", "validation", "test")

WAYS = ("mix", "gaussian", "smote")
NEIGHBOURS = 5
NOISE = 0.1  # of a gene's standard deviation within the label

TRANSFORMS = ("log1p", "none")


@public
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
    labels = np.asarray(list_of("label", label)).astype(str)
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

    largest = int(np.unique(labels, return_counts=True)[1].max())  # more folds than that are refused
    folds = max(2, min(round(1 / share), len(np.unique(groups)), largest))
    held = np.zeros(len(labels), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of labels with fewer samples than folds
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=whole_seed(seed) % 2**32)
        parts = [part for _, part in splitter.split(np.zeros(len(labels)), labels, groups)]
    held[parts[0]] = True
    for part in parts[1:]:  # a share above a half is several folds
        if held.mean() + len(part) / len(labels) <= share * 1.05:
            held[part] = True
    if held.all() or not held.any():
        raise ValueError("`group`: the samples cannot be divided, too few groups for these shares")
    return held


@public
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
    names, groups = (
        [str(v) for v in list_of(n, values)] for n, values in (("place", place), ("group", group))
    )
    if len(names) != len(groups):
        raise ValueError(f"`group` has {len(groups)} values, expected {len(names)}, one for each of `place`")
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


@public
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
    labels, measured = np.asarray(label), numbers("x", x)
    if measured.ndim != 2 or labels.shape != measured.shape[:1]:
        raise ValueError(
            f"`label` has shape {labels.shape} and `x` {measured.shape}, expected (samples,) and (samples, genes)"
        )
    largest = float(least) * len(np.unique(labels)) * measured.shape[1] * 8
    refuse_what_cannot_fit(largest, "min_samples", f"{least} samples of each label")
    floats = np.result_type(np.asarray(x).dtype, np.float32)  # what is drawn lies between whole numbers
    rows, names = [measured.astype(floats)], [labels]
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


@public
def transformed(x: xr.DataArray, transform: str) -> xr.DataArray:
    """Expression after a transform.

    Parameters
    ----------
    x : DataArray
        Expression, such as TPM.
    transform : {"log1p", "none"}
        ``log(1 + x)``, natural; or as it is.

    Returns
    -------
    DataArray
        With `units` that name the logarithm.

    Raises
    ------
    ValueError
        For another name, and for negative values under a logarithm.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.expression import transformed
    >>> transformed(xr.DataArray([0.0, 1.0]), "log1p").values.round(3)
    array([0.   , 0.693])
    """
    if transform not in TRANSFORMS:
        raise ValueError(f"`transform` is {transform!r}, expected {' or '.join(TRANSFORMS)}")
    if transform == "none":
        return x
    values = np.asarray(x.values, dtype=np.result_type(x.dtype, np.float32))
    if values.size and values.min() < 0:
        raise ValueError(
            f"`transform` is log1p, but the smallest value is {float(values.min()):.3g}; the data may be logarithms or "
            "z-scores already: pass `transform` none"
        )
    units = x.attrs.get("units", "expression")
    return x.copy(data=np.log1p(values)).assign_attrs(units=f"log(1 + {units})")


def _of_genes(values: Any, x: xr.DataArray, name: str) -> np.ndarray:
    """A number for each gene, in the order of `x`."""
    gene = x.dims[-1]
    if isinstance(values, pd.Series):
        values = xr.DataArray(values.to_numpy(), dims=(gene,), coords={gene: values.index})
    if isinstance(values, xr.DataArray):
        values = matched(values, x, name).values
    array = numbers(name, values).astype(np.float32)
    if array.shape != (x.sizes[gene],):
        raise ValueError(
            f"`{name}` has shape {array.shape}, expected {(x.sizes[gene],)}: a number for each gene of `x`"
        )
    return array


CLIP = 10.0  # standard deviations; a gene that is silent in training can be anything in a test sample


@public
def scaled(x: xr.DataArray, mean: np.ndarray, sd: np.ndarray) -> xr.DataArray:
    """Genes in standard deviations from a mean, cut off at ten.

    ``z = (x - mean) / sd``, at least -10 and at most 10

    Parameters
    ----------
    x : DataArray
        Samples by genes.
    mean, sd : array, Series or DataArray (genes,)
        Matched by the genes' labels where they have some. Genes whose `sd` is 0 become 0.

    Returns
    -------
    DataArray
        float32, in the unit ``sd``.

    Raises
    ------
    TypeError, ValueError
        For a `mean` or `sd` that is not one number for each gene, and labels that are not those of the genes.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.domains.expression import scaled
    >>> scaled(xr.DataArray([[3.0, 5.0, 99.0]], dims=("sample", "gene")), np.array([1.0, 5, 0]), np.array([2.0, 0, 1])).values
    array([[ 1.,  0., 10.]], dtype=float32)
    """
    centre, spread = (_of_genes(v, x, name) for v, name in ((mean, "mean"), (sd, "sd")))
    still = spread <= 0
    values = (np.asarray(x.values, dtype=np.float32) - centre) / np.where(still, np.float32(1), spread)
    values[:, still] = 0.0
    return x.copy(data=np.clip(values, -CLIP, CLIP)).assign_attrs(units="sd")
