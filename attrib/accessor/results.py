"""`a.attrib`: the calls on a result."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from attrib.accessor.view import labels_of, view

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

GROUP, ENTRY = "group", "entry"  # names that are not of the result


class Results:
    """What can be done with a result of attrib: `a.attrib` of every DataArray and Dataset.

    Parameters
    ----------
    result : DataArray or Dataset
        The result.

    Examples
    --------
    >>> import attrib, xarray as xr
    >>> a = xr.DataArray([[1.0, -3.0]], dims=("sample", "gene"), coords={"gene": ["INS", "GCG"]})
    >>> a.attrib.top(1)[["gene", "mean"]].values.tolist()
    [['GCG', -3.0]]
    """

    def __init__(self, result: Any) -> None:
        self._result = result

    def top(self, n: int = 10, *, by: str | None = None) -> pd.DataFrame:
        """The entries with the largest mean over the samples, by magnitude.

        Parameters
        ----------
        n : int, default 10
            Number of entries.
        by : str, optional
            A coord along the samples, such as the tissue: `n` entries for each of its labels. The sample dim itself: `n`
            entries for each sample. Default: one list for all samples.

        Returns
        -------
        DataFrame
            Columns: `input` for several inputs, `target` for several targets, `by`; `rank` from 1; a column for each other dim
            with the entry's label; `mean`, `sd` and `se` over the samples in the unit of the attribution, `same_sign` (share of
            the samples with the sign of the mean), `samples`; with `by` the `specificity` too, see `attrib.stats.top`.

        Raises
        ------
        ValueError
            If `n` is below 1, or `by` is no coord along the samples.
        """
        import pandas as pd

        parts = []
        for name, a in self._inputs().items():
            for k in range(a.sizes["target"]) if "target" in a.dims and by != "target" else [None]:
                table = _leading(a if k is None else a.isel(target=k), n, by)
                if k is not None:
                    table.insert(0, "target", a.get_index("target")[k])
                if name is not None:
                    table.insert(0, "input", name)
                parts.append(table)
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> pd.DataFrame:
        """A row for each sample and target: score, completeness error, sum, largest entry; see `attrib.stats.summary`.

        Returns
        -------
        DataFrame
        """
        from attrib.stats import summary

        return summary(self._result)

    def plot(self, x: xr.DataArray | None = None, *, n: int = 6) -> Figure:
        """The picture that fits the dims of the attribution.

        Parameters
        ----------
        x : DataArray, optional
            The input, drawn beside or below the attribution: images, sequences, volumes. Its samples are matched by their labels
            where both have some, so it may have more of them, in any order.
        n : int, default 6
            How many samples to draw, from the first on; of volumes, how many slices of the first sample; of tables, a fifth of the
            number of genes or other features.

        Returns
        -------
        Figure
            Letters where there is a dim `position`, words for `token`, slices for `i`, `j` and `k`, images for two dims (channels
            are summed), and for one dim bars, or a heat map of up to 20 samples. Of several targets, that of each sample's largest score; of
            several layers, the first.

        Raises
        ------
        ValueError
            For results with several inputs, for `n` below 1, for dims that no picture fits, and for an `x` without the samples of the
            result.
        """
        if n < 1:
            raise ValueError(f"`n` is {n}, expected at least 1")
        from attrib.accessor.pictures import picture

        a = self._single("plot()")
        return picture(a, None if x is None else _of_samples(x, a), n)

    def to_anndata(self, adata: Any = None, *, key: str | None = None) -> Any:
        """The attribution as a layer of an AnnData object; see `attrib.io.to_anndata`.

        Parameters
        ----------
        adata : AnnData, optional
            Where to put it; default: a new object.
        key : str, optional
            Name of the layer; default: the method's.

        Returns
        -------
        AnnData
        """
        from attrib.io import to_anndata

        return to_anndata(self._single("to_anndata()"), adata, key=key)

    def to_nifti(self, like: Any = None) -> Any:
        """The attribution of one sample as an image of nibabel; see `attrib.io.to_nifti`.

        Parameters
        ----------
        like : path or image of nibabel, optional
            The image that the result explains; default: the coord `affine`.

        Returns
        -------
        nibabel.Nifti1Image or nibabel.Nifti2Image
            Channels are summed.
        """
        from attrib.io import to_nifti

        a = self._single("to_nifti()")
        return to_nifti(a.sum("channel", keep_attrs=True) if "channel" in a.dims else a, like)

    def to_bedgraph(self, path: str | os.PathLike[str], *, sizes: Mapping[str, int] | None = None) -> Path:
        """Write the attribution as a track along the genome; see `attrib.io.save_bedgraph`.

        Parameters
        ----------
        path : str or path
            Ends in `.bedgraph`, `.bg` or `.bdg`; or in `.bw` or `.bigwig`.
        sizes : mapping of str to int, optional
            Lengths of the chromosomes, which bigWig needs.

        Returns
        -------
        Path
            The file.
        """
        from attrib.io import save_bedgraph

        return save_bedgraph(self._single("to_bedgraph()"), path, sizes=sizes)

    def _repr_html_(self) -> str:
        """What a notebook shows of `a.attrib`, and above the rest of `a`."""
        return "".join(view(a, name) for name, a in self._inputs(least=0).items())

    def __repr__(self) -> str:
        title = next((a.attrs.get("long_name", a.name) for a in self._inputs(least=0).values()), None)
        return f"{title or 'attribution'}: top(), summary(), plot(), to_anndata(), to_nifti(), to_bedgraph()"

    def _inputs(self, least: int = 1) -> dict[Hashable | None, xr.DataArray]:
        """The attribution of each input, its samples a dim even where there is one; of a single input under None."""
        from attrib.stats.summary import with_samples

        if not hasattr(self._result, "data_vars"):
            return {None: with_samples(self._result)}
        inputs = {k: v for k, v in self._result.data_vars.items() if not str(k).endswith("standard_error")}
        if len(inputs) < least:
            raise ValueError("the Dataset has no variables, expected attributions")
        return {name: with_samples(a) for name, a in inputs.items()}

    def _single(self, what: str) -> xr.DataArray:
        inputs = list(self._inputs().items())
        if len(inputs) > 1:
            names = ", ".join(repr(k) for k, _ in inputs)
            raise ValueError(f"{what} is of one input, and this result has {names}; pick one: result[{inputs[0][0]!r}].attrib.{what}")  # fmt: skip
        return inputs[0][1]


def _of_samples(x: xr.DataArray, a: xr.DataArray) -> xr.DataArray:
    """The input of the samples of `a`: by their labels where both have some, else of as many samples."""
    from attrib.stats import sample_dims

    dims = sample_dims(a)
    if dims[0] not in x.dims and (x.ndim < a.ndim or dims[0] in x.coords):
        x = x.expand_dims(dims[0])  # the input of a selected sample
    for d in dims:
        labels, wanted = x.indexes.get(d), a.indexes.get(d)
        if labels is not None and wanted is not None:
            if labels.equals(wanted):
                continue
            lacking = wanted[~wanted.isin(labels)].tolist()
            if lacking or not labels.is_unique:
                raise ValueError(
                    f"`x` has {f'no {d} {lacking[0]!r}' if lacking else f'labels along {d!r} more than once'}; "
                    "pass the input of the samples of the result"
                )
            x = x.isel({d: labels.get_indexer(wanted)})
        elif x.sizes.get(d, 1) not in (1, a.sizes[d]):
            raise ValueError(
                f"`x` has {x.sizes[d]} samples along {d!r} and the result {a.sizes[d]}; pass the input of the samples of the result"
            )
    return x


def _leading(a: xr.DataArray, n: int, by: str | None) -> pd.DataFrame:
    """The leading entries of an attribution of one target, over all samples or in each group of them."""
    import numpy as np
    import xarray as xr

    from attrib.labels.frames import text_along
    from attrib.stats import moments_by, sample_dims, top

    samples = sample_dims(a)
    entries = [d for d in a.dims if d not in samples]
    ordered = a.transpose(*samples, *entries)
    shape = tuple(a.sizes[d] for d in entries)
    flat = xr.DataArray(
        ordered.values.reshape(-1, int(np.prod(shape, dtype=int))),
        dims=("samples", ENTRY),
        coords={GROUP: ("samples", _groups(ordered, samples, by))},
        attrs=a.attrs,
    )
    table = top(moments_by(flat, GROUP), n)
    places = np.unravel_index(table.pop(ENTRY).to_numpy(), shape) if shape else ()
    for k, (d, place) in enumerate(zip(entries, places, strict=True)):
        table.insert(2 + k, str(d), labels_of(a, d)[place])
        texts = text_along(a, d)
        if texts is not None and by in texts.dims:  # words, which differ between samples
            sample = labels_of(a, by).tolist()
            words = texts.transpose(by, d).values
            table[str(d)] = [words[sample.index(s), p] for s, p in zip(table[GROUP], place, strict=True)]
    return table.drop(columns=[GROUP, "specificity"]) if by is None else table.rename(columns={GROUP: by})


def _groups(a: xr.DataArray, samples: tuple[Hashable, ...], by: str | None) -> np.ndarray:
    """The label of each sample; without `by` the same for all."""
    import numpy as np
    import xarray as xr

    like = xr.DataArray(np.zeros([a.sizes[d] for d in samples], dtype=int), dims=samples)
    if by is None:
        return like.values.reshape(-1)
    along = [str(c) for c in a.coords if a[c].ndim and set(a[c].dims) <= set(samples)]
    if by not in (*along, *samples):
        raise ValueError(
            f"`by` is {by!r}, expected a coord along the samples; there are {', '.join(along) or 'none'}"
        )
    labels = xr.DataArray(labels_of(a, by), dims=a[by].dims)
    return xr.broadcast(labels, like)[0].transpose(*samples).values.reshape(-1)
