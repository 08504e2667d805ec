"""Arrays that belong to another array, brought into its order by the labels of their coords."""

from __future__ import annotations

from collections.abc import Collection, Hashable

import pandas as pd
import xarray as xr


def matched(
    a: xr.DataArray,
    x: xr.DataArray,
    name: str,
    *,
    free: Collection[Hashable] = (),
    repeated: Collection[Hashable] = (),
    other: str = "x",
) -> xr.DataArray:
    """An array whose labels stand in the order of those of `x`.

    Parameters
    ----------
    a : DataArray
        Any of the dims of `x`, in any order. Dims of size 1 without labels stand for all entries.
    x : DataArray
        The array that it belongs to. Where one of both has no labels along a dim, entries are matched by their places.
    name, other : str
        What errors call `a` and `x`.
    free : collection of str
        Dims that `x` need not have.
    repeated : collection of str
        Dims of `x` along which one entry stands for all, whatever its label.

    Returns
    -------
    DataArray
        The dims of `a`, in its order.

    Raises
    ------
    ValueError
        For dims that `x` lacks, other sizes, and labels that are missing or others: they are named.

    Examples
    --------
    >>> import xarray as xr
    >>> x = xr.DataArray([1, 2, 3], dims="gene", coords={"gene": ["INS", "GCG", "SST"]})
    >>> matched(x.isel(gene=[2, 0, 1]), x, "baselines").values
    array([1, 2, 3])
    """
    extra = [d for d in a.dims if d not in x.dims and d not in free]
    if extra:
        raise ValueError(f"`{name}` has dims {extra} that `{other}` lacks ({x.dims}); rename them")
    for d in a.dims:
        if d in free and d not in x.dims:
            continue
        labels, wanted = a.indexes.get(d), x.indexes.get(d)
        if a.sizes[d] == 1 and x.sizes[d] != 1 and (d in repeated or labels is None or wanted is None):
            continue
        if labels is not None and wanted is not None:
            if not labels.equals(wanted):
                refuse_other_labels(labels, wanted, name, d, other)
                a = a.isel({d: labels.get_indexer(wanted)})
        elif a.sizes[d] != x.sizes[d]:
            raise ValueError(
                f"`{name}` and `{other}` differ along {d!r}: {a.sizes[d]} entries and {x.sizes[d]}; select the same in both"
            )
    return a


def laid_like(a: xr.DataArray, x: xr.DataArray, name: str, other: str) -> xr.DataArray:
    """`a` in the order of the dims and labels that it shares with `x`, for pictures of both; dims of other sizes or names stay."""
    for d in set(a.dims) & set(x.dims):
        labels, wanted = a.indexes.get(d), x.indexes.get(d)
        if (
            a.sizes[d] == x.sizes[d]
            and labels is not None
            and wanted is not None
            and not labels.equals(wanted)
        ):
            refuse_other_labels(labels, wanted, name, d, other)
            a = a.isel({d: labels.get_indexer(wanted)})
    return a.transpose(*[d for d in x.dims if d in a.dims]) if set(a.dims) <= set(x.dims) else a


def truth(mask: xr.DataArray, name: str) -> xr.DataArray:
    """Booleans of a mask: what is not zero is inside, what is missing is not.

    Raises
    ------
    TypeError
        For texts and other values, each of which would be true.
    """
    if mask.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` has values of {mask.dtype}, expected booleans or numbers, zero outside")
    return mask.fillna(0).astype(bool)


def refuse_other_labels(labels: pd.Index, wanted: pd.Index, name: str, dim: Hashable, other: str) -> None:
    """Raise a ValueError that names the labels, unless both have the same ones, each once."""
    lacking, more = wanted.difference(labels, sort=False), labels.difference(wanted, sort=False)
    if len(lacking) or len(more):
        differences = [
            f"`{name}` {verb} {_listed(those)}"
            for verb, those in (("lacks", lacking), ("has", more))
            if len(those)
        ]
        raise ValueError(
            f"`{name}` and `{other}` have different labels along {dim!r}: {' and '.join(differences)}; select the same ones in both"
        )
    for index, which in ((labels, name), (wanted, other)):
        if not index.is_unique:
            raise ValueError(
                f"`{which}` has labels along {dim!r} more than once: {_listed(index[index.duplicated()].unique())}; "
                f"`{name}` and `{other}` cannot be matched by them"
            )


def text_along(a: xr.DataArray, dim: Hashable) -> xr.DataArray | None:
    """The text that tells what lies along a dim without labels, such as the words of tokens, which differ between samples.

    Returns
    -------
    DataArray or None
        The coord; None where the dim has labels, and where there are no such coords or several.
    """
    texts = [c for c in a.coords.values() if dim in c.dims and c.dtype.kind in "UOT"]
    return texts[0] if dim not in a.coords and len(texts) == 1 else None


def _listed(labels: pd.Index) -> str:
    return ", ".join(map(repr, labels[:3].tolist())) + (
        f" and {len(labels) - 3} more" if len(labels) > 3 else ""
    )
