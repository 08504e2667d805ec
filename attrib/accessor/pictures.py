"""`a.attrib.plot()`: which picture fits a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrib.accessor.view import labels_of, named

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

TABLE = 20  # samples that are rows of a heat map; of more, the mean is drawn
FEATURES = 5  # bars or columns where there would be one picture
LETTERS = 200  # of a sequence in a picture
VOXELS = ("i", "j", "k")


def picture(a: xr.DataArray, x: xr.DataArray | None, n: int) -> Figure:
    """The picture of the first samples, or of the mean over all of them."""
    from attrib.plots import bars, comparison, heatmap, panels, text
    from attrib.plots.scale import value_label
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
    if x is not None:
        return comparison(
            drawing.input_plane(drawing.flat_samples(x))[:n], {drawing.name(a, "attribution"): plane}
        )
    return panels(plane, lead, columns=min(n, 3))


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
    from attrib.plots.scale import figure
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
        shown = {"position": _strongest(a[k])}
        (mutation_map if mapped else attribution_logo)(
            a[k].isel(shown), None if x is None else x[k].isel(shown), ax=ax
        )
        of_all = f"; the strongest {LETTERS} of {count:,} positions" if count > LETTERS else ""
        ax.set_title(named(a, a.dims[0], k) + of_all, fontsize=9, loc="left")
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
