"""`a.attrib`: the calls on a result, which picture fits it, and what a notebook shows of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from html import escape
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import numpy as np
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure


GROUP, ENTRY = "group", "entry"  # names that are not of the result

TABLE = 20  # samples that are rows of a heat map; of more, the mean is drawn
FEATURES = 5  # bars or columns where there would be one picture
LETTERS = 200  # of a sequence in a picture
VOXELS = ("i", "j", "k")

ROWS = 5  # samples in the view
STRONGEST = 3  # entries of each


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

    def plot(self, x: Any = None, *, n: int = 6) -> Figure:
        """The picture that fits the dims of the attribution.

        Parameters
        ----------
        x : DataArray, or any array or table that methods take, optional
            The input, drawn beside or below the attribution: images, sequences, volumes. Its samples are matched by their labels
            where both have some, so it may have more of them, in any order. An array without labels has the dims of the result.
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


def _of_samples(x: Any, a: xr.DataArray) -> xr.DataArray:
    """The input of the samples of `a`: by their labels where both have some, else of as many samples."""
    import xarray as xr

    from attrib.labels.inputs import labelled_inputs
    from attrib.stats import sample_dims

    dims = sample_dims(a)
    if not isinstance(x, xr.DataArray):
        x = labelled_inputs(x, dims=[d for d in a.dims if d not in ("target", "layer")]).arrays[0]
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


def picture(a: xr.DataArray, x: xr.DataArray | None, n: int) -> Figure:
    """The picture of the first samples, or of the mean over all of them."""
    from attrib.plots import bars, comparison, heatmap, panels, text
    from attrib.plots.panels import letters_above
    from attrib.plots.scale import shortened, value_label, wrapped
    from attrib.workflows import drawing

    a = drawing.at_largest_target(next(iter(drawing.each_layer({"": a}).values())))
    if set(VOXELS) <= set(a.dims):
        return _slices(a, x, n)
    flat = drawing.flat_samples(a)
    lead = str(flat.dims[0])
    if "token" in flat.dims[1:]:
        return text(flat[:n].sum([d for d in flat.dims[1:] if d != "token"], keep_attrs=True))
    if "position" in flat.dims[1:] and ("nucleotide" in flat.dims or x is not None):
        return _logos(flat[:n], None if x is None else drawing.flat_samples(x)[:n])
    if flat.ndim == 2:
        samples, features = flat.sizes[lead], n * FEATURES
        if 1 < samples <= TABLE:
            return _figure(heatmap(flat, most=max(features, samples)))
        mean = flat[0] if samples == 1 else drawing.mean_with_sd(flat)
        what = "" if samples == 1 else f"mean of {samples} samples: "
        return _figure(bars(mean, n=features, label=f"{what}{value_label(a)}"))
    plane = drawing.plane(flat)[:n]
    if plane.ndim != 3:
        raise ValueError(
            f"no picture fits the dims {', '.join(map(str, a.dims))}; select or average some, then plot again"
        )
    letters = drawing.PANEL_LETTERS if x is None else letters_above(plane)
    titles = [wrapped(shortened(named(plane, lead, k), 2 * letters), letters) for k in range(len(plane))]
    if x is None:
        return panels(plane, lead, titles=titles, columns=min(n, 3))
    images = drawing.input_plane(drawing.flat_samples(x))[:n]
    return comparison(images, {drawing.name(a, "attribution"): plane}, titles=titles)


def _figure(ax: Any) -> Figure:
    return ax.figure


def _slices(a: xr.DataArray, x: xr.DataArray | None, n: int) -> Figure:
    """The slices of the first sample that hold most of its magnitude."""
    import numpy as np

    from attrib.plots import slice_summary
    from attrib.plots.scale import value_label

    volume = _volume(a)
    across = abs(volume).sum(["i", "j"]).values
    strongest = np.sort(np.argsort(-across, kind="stable")[:n])
    labels = labels_of(volume, "k")[strongest].tolist()
    return slice_summary(volume if x is None else _volume(x), volume, "k", labels, label=value_label(a))


def _volume(a: xr.DataArray) -> xr.DataArray:
    """The first sample, its channels summed."""
    summed = a.sum("channel", keep_attrs=True) if "channel" in a.dims else a
    return summed.isel({d: 0 for d in summed.dims if d not in VOXELS}).transpose(*VOXELS)


def _logos(a: xr.DataArray, x: xr.DataArray | None) -> Figure:
    """A logo for each sample, below each other; a heat map of mutations, and of values of letters that may not be there."""
    from attrib.plots import attribution_logo, mutation_map
    from attrib.plots.scale import figure, shortened, wrapped
    from attrib.workflows.sequence.settings import MUTATIONS, importance

    method = str(a.attrs.get("method", ""))
    letters = "nucleotide" in a.dims
    mapped = letters and (
        method == MUTATIONS or (x is None and bool(((a.fillna(0) != 0).sum("nucleotide") > 1).any()))
    )
    if letters and x is not None and not mapped:
        a = importance(method, a, x)
    count = a.sizes["position"]
    if count > LETTERS and "position" not in a.coords:
        a = a.assign_coords(position=range(count))
    drawing = figure((1.2 + 0.1 * min(max(30, count), LETTERS), 0.4 + 1.6 * len(a)))
    for k, ax in enumerate(drawing.subplots(len(a), 1, squeeze=False)[:, 0]):
        stretch = {"position": _strongest(a[k])}
        (mutation_map if mapped else attribution_logo)(
            a[k].isel(stretch), None if x is None else x[k].isel(stretch), ax=ax
        )
        of_all = f"; the strongest {LETTERS} of {count:,} positions" if count > LETTERS else ""
        title = shortened(named(a, a.dims[0], k)) + of_all
        ax.set_title(wrapped(title, int((drawing.get_figwidth() - 1) / 0.075)), fontsize=9, loc="left")
        if k < len(a) - 1:
            ax.set_xlabel("")
    return drawing


def _strongest(a: xr.DataArray) -> slice:
    """The stretch of at most `LETTERS` positions that holds most of an attribution's magnitude."""
    import numpy as np

    strength = abs(a).fillna(0).sum([d for d in a.dims if d != "position"]).values
    sums = np.concatenate([[0.0], np.cumsum(strength)])
    begin = int(np.argmax(sums[LETTERS:] - sums[:-LETTERS])) if len(strength) > LETTERS else 0
    return slice(begin, begin + LETTERS)


def view(a: xr.DataArray, name: Hashable | None = None) -> str:
    """The first samples of one input's attribution in a table: score, residual, strongest entries."""
    from attrib.plots.scale import value_label
    from attrib.stats import sample_dims

    heads = [*(["target"] if "target" in a.dims else []), *sample_dims(a)]
    sizes = [a.sizes[d] for d in heads]
    count = prod(sizes)
    title = " of ".join(escape(t) for t in (value_label(a), *([] if name is None else [str(name)])))
    if a.chunks is not None:
        return f"<div><b>{title}</b>: computed when it is needed, in {prod(map(len, a.chunks))} blocks</div>"
    residual = "delta" in a.coords
    columns = [*map(str, heads), "score", *(["residual"] if residual else []), "strongest entries"]
    rows = [_row(a, heads, _unravelled(k, sizes), residual) for k in range(min(ROWS, count))]
    more = f"<div>and {count - ROWS:,} more: <code>a.attrib.summary()</code></div>" if count > ROWS else ""
    head = "".join(f"<th style='text-align:left'>{escape(c)}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(c)}</td>" for c in row) + "</tr>"
        for row in rows
    )
    messages = "".join(
        f"<div>{escape(str(a.attrs[k]))}</div>" for k in ("completeness", "rtol") if k in a.attrs
    )
    return f"<div><b>{title}</b></div>{messages}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _row(a: xr.DataArray, heads: list[Hashable], places: list[int], residual: bool) -> list[str]:
    """A sample's cells: labels, score, residual, strongest entries."""
    import numpy as np

    sample = a.isel(dict(zip(heads, places, strict=True)))
    cells = [named(a, d, k) for d, k in zip(heads, places, strict=True)]
    for coord in ("prediction", *(["delta"] if residual else [])):
        single = coord in sample.coords and sample[coord].ndim == 0
        cells.append(f"{float(sample[coord]):.3g}" if single else "")
    values = np.asarray(sample.values, dtype=float).reshape(-1)
    strongest = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:STRONGEST]
    entries = [
        f"{', '.join(named(sample, d, p) for d, p in zip(sample.dims, _unravelled(int(k), sample.shape), strict=True))}: {values[k]:.3g}"
        for k in strongest
    ]
    return [*cells, "; ".join(entries)]


def named(a: xr.DataArray, dim: Hashable, k: int) -> str:
    """An entry of a dim in words: its label if that is a text, else the dim's name and the label."""
    label = labels_of(a, dim)[k]
    return str(label) if isinstance(label, str) else f"{dim} {label}"


def _unravelled(k: int, sizes: Sequence[int]) -> list[int]:
    import numpy as np

    return [int(v) for v in np.unravel_index(k, tuple(sizes))] if len(sizes) else []


def labels_of(a: xr.DataArray, name: Hashable) -> np.ndarray:
    """Labels of a dim, or values of a coord; of a dim without labels the text along it, or its positions."""
    import numpy as np

    from attrib.labels.frames import text_along

    if name in a.coords:
        return np.asarray(a[name].values)
    texts = text_along(a, name)
    return np.arange(a.sizes[name]) if texts is None or texts.ndim > 1 else np.asarray(texts.values)
