"""Which pictures belong to a set of results, and what they show."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr

from attrib.plots.panels import letters_above
from attrib.plots.scale import number, shortened, wrapped
from attrib.stats import mean_by, sample_dims

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS = ("channel", "channels", "band", "c", "rgb")
SAMPLES = 8  # columns of a comparison
GROUPS = 20  # panels of means
PANEL_LETTERS = 21  # that fit in a line above a panel
FEATURES = 25  # rows of a table of means

Attributions = Mapping[str, xr.DataArray]


def pictures(
    x: xr.DataArray,
    results: Attributions,
    *,
    titles: Sequence[str] | None = None,
    chosen: Sequence[int] | None = None,
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Names of the pictures for one input, with functions that draw them.

    Parameters
    ----------
    x : DataArray
        The input.
    results : mapping of str to DataArray
        Attributions of it by method.
    titles : sequence of str, optional
        One per sample chosen.
    chosen : sequence of int, optional
        Samples to compare, by position; default: the first ones.

    Yields
    ------
    (str, callable)
        `comparison` and `mean_per_class`; nothing if samples have more than two dims beside a channel.
    """
    results = each_layer(results)
    flat = {m: flat_samples(at_largest_target(a)) for m, a in results.items()}
    inputs, rank = flat_samples(x), spatial_rank(x)
    if rank == 2:
        yield "comparison", lambda: _compared(inputs, flat, titles, chosen)
    elif rank == 1:
        yield "comparison", lambda: _top_features(flat)
    if rank in (1, 2):
        yield "mean_per_class", lambda: _means(results)


def spatial_rank(x: xr.DataArray) -> int:
    """Number of a sample's dims with more than one entry, without the channel."""
    flat = flat_samples(x)
    return flat.ndim - 1 - len(_channel(flat))


def each_layer(results: Attributions) -> dict[str, xr.DataArray]:
    """Attributions of several layers, as one result for each layer."""
    by_layer: dict[str, xr.DataArray] = {}
    for method, a in results.items():
        if "layer" not in a.dims or "layer" not in a.attrs:
            by_layer[method] = a
            continue
        for k, layer in enumerate(a["layer"].values):
            by_layer[f"{method} {layer}"] = a.isel(layer=k, drop=True).assign_attrs(layer=str(layer))
    return by_layer


def at_largest_target(a: xr.DataArray) -> xr.DataArray:
    """Attributions of each sample's target with the largest score."""
    if "target" not in a.dims:
        return a
    best = a["prediction"].argmax("target")
    return a.isel(target=best)


def flat_samples(a: xr.DataArray) -> xr.DataArray:
    """The array with one sample dim in front, without its other dims of one entry."""
    dims = sample_dims(a)
    if len(dims) == 1:
        return _slim(a, dims[0])
    return _slim(a.stack({"samples": dims}, create_index=False), "samples")


def _slim(a: xr.DataArray, lead: Hashable) -> xr.DataArray:
    """`lead` in front; other dims of one entry are dropped, but one dim is kept."""
    single = [d for d in a.dims if d != lead and a.sizes[d] == 1]
    return a.squeeze(single[: max(0, a.ndim - 2)], drop=True).transpose(lead, ...)


def _channel(flat: xr.DataArray) -> list[Hashable]:
    """The channel among three dims after the first: by its name, or because it is short."""
    core = list(flat.dims)[1:]
    named = [d for d in core if str(d).lower() in CHANNELS]
    return (named or [d for d in core if flat.sizes[d] <= 4])[:1] if len(core) == 3 else []


def plane(flat: xr.DataArray) -> xr.DataArray:
    """Attributions (samples, rows, columns), summed over channels, which keeps the totals."""
    channel = _channel(flat)
    return flat.sum(channel, keep_attrs=True) if channel else flat


def _over(plane: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """An attribution without one of the input's dims (such as letters), repeated along it."""
    gone = {d: like.sizes[d] for d in like.dims[1:3] if d not in plane.dims}
    return plane.expand_dims(gone).transpose(plane.dims[0], *like.dims[1:3]) if gone else plane


def input_plane(flat: xr.DataArray) -> xr.DataArray:
    """Inputs as images: (samples, rows, columns), or with three colours last, scaled to [0, 1]."""
    channel = _channel(flat)
    if not channel:
        return flat
    if flat.sizes[channel[0]] != 3:
        return flat.mean(channel, keep_attrs=True)
    low, high = float(flat.min()), float(flat.max())
    scaled = (flat - low) / ((high - low) or 1.0)
    return scaled.transpose(flat.dims[0], ..., channel[0])


def _compared(x: xr.DataArray, results: Attributions, titles: Any, chosen: Sequence[int] | None) -> Figure:
    from attrib.plots import comparison

    rows = list(range(min(SAMPLES, x.shape[0]))) if chosen is None else list(chosen)
    first = next(iter(results.values()))
    image = input_plane(x)[rows]
    captions = [_title(first, i, letters_above(image)) for i in rows] if titles is None else titles
    maps = {name(a, m): _over(plane(a)[rows], image) for m, a in results.items()}
    return comparison(image, maps, titles=captions)


def _title(a: xr.DataArray, i: int, letters: int) -> str:
    """A sample's label, target and score, in lines of so many letters."""
    dim = a.dims[0]
    label = a[dim].values[i] if dim in a.coords else i
    lines = [str(label) if isinstance(label, str) else f"{dim} {label}"]
    if "target" in a.coords and a["target"].ndim:
        lines.append(f"target {a['target'].values[i]}")
    if "prediction" in a.coords:
        lines.append(f"score {number(float(a['prediction'].values[i]))}")
    return "\n".join(wrapped(shortened(line, 2 * letters), letters) for line in lines)


def method_name(method: str) -> str:
    """The field's term for a method of the register; a correction (`saliency:filter`, `saliency_filter`) stands behind it."""
    from attrib.functional import METHODS

    base, _, correction = method.partition(":")
    if base not in METHODS and base.rpartition("_")[0] in METHODS:  # as files are called
        base, _, correction = base.rpartition("_")
    term = METHODS[base].about.long_name if base in METHODS else base.replace("_", " ")
    return f"{term}, {correction}" if correction else term


def name(a: xr.DataArray, method: str) -> str:
    """A method's name as the literature writes it."""
    title = str(a.attrs.get("long_name", method)).removesuffix(" attribution")
    inner = json.loads(a.attrs.get("params", "{}")).get("method")
    if inner:
        return f"{title} of {inner.partition('(')[0].replace('_', ' ')}"
    return f"{title}, layer {a.attrs['layer']}" if "layer" in a.attrs else title


def mean_with_sd(a: xr.DataArray) -> xr.DataArray:
    """The mean over the first dim, with the standard deviation as the coord `sd` where there are several."""
    mean = a.mean([a.dims[0]], keep_attrs=True)
    return mean.assign_coords(sd=a.std([a.dims[0]], ddof=1)) if a.shape[0] > 1 else mean


def _top_features(results: Attributions) -> Figure:
    from attrib.plots import bar_panels

    means = {name(a, m): mean_with_sd(abs(a).assign_attrs(a.attrs)) for m, a in results.items()}
    count = next(iter(results.values())).shape[0]
    return bar_panels(means, label=f"mean |attribution| of {count} sample{'s' * (count > 1)}")


def mean_per_class(a: xr.DataArray) -> xr.DataArray:
    """Mean attribution per target: dims `target` and those of a sample, coord `count`."""
    if "target" in a.dims:
        dims = sample_dims(a)
        count = int(np.prod([a.sizes[d] for d in dims]))
        flat = a.mean(dims, keep_attrs=True)
        return flat.assign_coords(count=("target", np.full(a.sizes["target"], count)))
    flat = flat_samples(a)
    if "target" in flat.coords and flat["target"].ndim == 1:
        return mean_by(flat, "target")
    mean = mean_with_sd(flat).expand_dims("target")
    return mean.assign_coords(target=["all samples"], count=("target", [flat.shape[0]]))


def _means(results: Attributions) -> Figure:
    from attrib.plots import bar_panels, heatmap, panels
    from attrib.plots.heatmap import NAMES

    method, a = next(((m, a) for m, a in results.items() if "delta" in a.coords), next(iter(results.items())))
    title = f"mean attribution, {name(a, method)}"
    means = mean_per_class(a)
    some = _most_frequent(means, GROUPS if means.ndim > 2 else NAMES)
    left = means.sizes["target"], some.sizes["target"]
    notes = [f"{left[1]} of {left[0]} targets, those with the most samples"] if left[0] > left[1] else []
    mean = _slim(some.assign_attrs(long_name=title), "target")
    if mean.ndim > 2:
        titles = [wrapped(_group(mean, k), PANEL_LETTERS) for k in range(mean.sizes["target"])]
        return panels(plane(mean.assign_attrs(long_name="; ".join([title, *notes]))), "target", titles=titles)
    if mean.sizes["target"] == 1:
        return bar_panels({_group(mean, 0): mean[0]}, n=FEATURES, label=title)
    top = np.sort(np.argsort(-np.abs(mean.values).max(0), kind="stable")[:FEATURES])
    if len(top) < mean.shape[1]:
        notes.append(
            f"{len(top)} of {mean.shape[1]} {mean.dims[1]} labels, those of the largest mean magnitude"
        )
    return cast("Figure", heatmap(mean[:, top].transpose(), title="\n".join(notes)).figure)


def _group(mean: xr.DataArray, k: int) -> str:
    label = mean["target"].values[k]
    called = label if isinstance(label, str) else f"target {label}"
    return f"{shortened(called, 30)} (n = {int(mean['count'].values[k])})"


def _most_frequent(mean: xr.DataArray, count: int) -> xr.DataArray:
    """The targets with the most samples, in their order."""
    most = np.sort(np.argsort(-mean["count"].values, kind="stable")[:count])
    return mean.isel(target=most)
