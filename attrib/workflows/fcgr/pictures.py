"""The pictures of one pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.domains.fcgr import by_kmer
from attrib.plots import bars, letters, robust_limit
from attrib.plots.scale import DIVERGING, SEQUENTIAL, figure, number
from attrib.workflows.drawing import method_name
from attrib.workflows.fcgr.squares import FULL, TITLES, grid, in_log_odds, runs, square, top_kmers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 5  # k-mers with names in a picture
ROW = 1.55  # inches of a row of letters
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")


def compared(title: str, image: xr.DataArray, maps: xr.DataArray) -> Figure:
    """The image, and beside it the attribution of each method, each with its own limit."""
    methods = [str(m) for m in maps["method"].values]
    picture, axes = grid(1 + len(methods), columns=4)
    square(axes[0], image, cmap="Greys")
    axes[0].set_title(f"image (0 to {number(float(image.max()))})", fontsize=9)
    for ax, m in zip(axes[1:], methods, strict=True):
        attribution = maps.sel({"method": m})
        square(ax, attribution, rings=3)
        ax.set_title(f"{method_name(m)} (± {number(robust_limit(attribution, FULL))})", fontsize=9)
        ax.set_xlabel(", ".join(top_kmers(attribution, 3)), fontsize=7.5)
    picture.suptitle(title, fontsize=11)
    return picture


def single(title: str, a: xr.DataArray, method: str) -> Figure:
    """One attribution, and its largest k-mers by name."""
    picture = figure((8.2, 4.7))
    picture.set_layout_engine("none")
    ax = picture.add_axes((0.04, 0.14, 0.45, 0.77))
    mesh = square(ax, a, names=NAMED)
    bar = picture.colorbar(mesh, cax=picture.add_axes((0.525, 0.16, 0.014, 0.72)))
    bar.set_label(in_log_odds(method_name(method), a), fontsize=8)
    bar.ax.tick_params(labelsize=7)
    side = picture.add_axes((0.71, 0.12, 0.25, 0.76))
    words = by_kmer(a)
    bars(
        words,
        n=max(1, min(15, int((words != 0).sum()))),
        ax=side,
        label=in_log_odds("", a) or "attribution",
    )
    side.tick_params(labelsize=7)
    side.locator_params(axis="x", nbins=3)
    side.set_ylabel("")
    side.set_title("largest k-mers", fontsize=9)
    picture.suptitle(title, fontsize=11)
    return picture


def cam_picture(
    title: str,
    images: Mapping[str, xr.DataArray],
    cams: Mapping[str, xr.DataArray],
    layers: Mapping[str, Any],
) -> Figure:
    """Grad-CAM of each branch, with frames around the k-mers of the sequence: no colour but the map's."""
    picture, axes = grid(len(cams), columns=2, panel=4.0, right=0.9, top=0.7, gap=1.0)
    for ax, (name, a) in zip(axes, cams.items(), strict=True):
        mesh = square(ax, a, cmap=SEQUENTIAL)
        _framed(ax, images[name].values > 0)
        nothing = "" if np.nan_to_num(a.values).any() else ", zero everywhere"
        ax.set_title(
            f"{TITLES[name]}, layer {layers[name]}{nothing}\n(framed: k-mers of the sequence)", fontsize=9
        )
        bar = picture.colorbar(mesh, ax=ax, fraction=0.04, pad=0.05)
        bar.ax.tick_params(labelsize=7)
        bar.set_label("Grad-CAM (log-odds)", fontsize=8)
    picture.suptitle(title, fontsize=11)
    return picture


def _framed(ax: Axes, inside: np.ndarray) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    frames = [Rectangle((x - 0.5, y - 0.5), 1, 1) for y, x in np.argwhere(inside)]
    ax.add_collection(PatchCollection(frames, facecolor="none", edgecolor="black", linewidth=min(1.2, 40 / len(inside))))  # fmt: skip


def interaction_picture(
    title: str, maps: Mapping[str, xr.DataArray], site: np.ndarray, seed: tuple[int, int]
) -> Figure:
    """The interaction by position: letters of the miRNA down, of the target across; the known site is outlined."""
    wide = max(8.0, 1.5 + 0.17 * next(iter(maps.values())).shape[1])
    picture = figure((wide, 0.8 + 3.5 * len(maps)))
    axes: Any = picture.subplots(len(maps), 1, squeeze=False)[:, 0]
    for ax, (name, a) in zip(axes, maps.items(), strict=True):
        bound = robust_limit(a, FULL)
        mesh = ax.imshow(
            a.values, cmap=DIVERGING, vmin=-bound, vmax=bound, interpolation="nearest", aspect="auto"
        )
        for axis, branch in (("y", "mirna"), ("x", "mrna")):
            counted = "{1} {0}" if axis == "y" else "{0}\n{1}"
            spelled = [counted.format(v, k) if k == 1 or k % 5 == 0 else str(v) for k, v in enumerate(a[f"{branch}_letter"].values, 1)]  # fmt: skip
            getattr(ax, f"set_{axis}ticks")(range(len(spelled)), spelled, fontsize=7)
        ax.tick_params(length=0)
        ax.set_xlabel("target position (nt), 5' to 3'", fontsize=9)
        ax.set_ylabel("miRNA position (nt), 5' to 3'", fontsize=9)
        _outline(ax, site, seed)
        ax.set_title(name, fontsize=10)
        bar = picture.colorbar(mesh, ax=ax, fraction=0.03, pad=0.01)
        bar.ax.tick_params(labelsize=7)
        bar.set_label("log-odds²" if name.startswith("synthetic") else "log-odds", fontsize=8)
    picture.suptitle(f"{title}" + ("; outlined: seed and its site" if site.any() else ""), fontsize=11)
    return picture


def _outline(ax: Axes, site: np.ndarray, seed: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    for start, stop in runs(site):
        ax.add_patch(
            Rectangle(
                (start - 0.5, seed[0] - 1.5), stop - start, seed[1] - seed[0] + 1, fill=False, linewidth=1.2
            )
        )


def regions_picture(title: str, a: xr.DataArray, regions: xr.Dataset) -> Figure:
    """The attribution, and its regions in colours with their strongest k-mers."""
    picture, (left, right) = grid(2, columns=2, panel=3.6, right=2.0, top=0.6, below=0.4)
    square(left, a, names=NAMED)
    left.set_title(f"attribution (± {number(robust_limit(a, FULL))})", fontsize=9)
    _regions(right, a, regions)
    for k in range(regions.sizes["number"]):
        word = top_kmers(a.where(regions["region"] == k, 0.0), 3)
        line = f"{k}: {float(regions['sum'][k]):+.3g}, {int(regions['size'][k])} k-mers\n   {', '.join(word)}"
        right.annotate(
            line, (1.04, 0.98 - k * 0.12), xycoords="axes fraction", va="top", fontsize=7.5,
            color=COLOURS[k % len(COLOURS)],
        )  # fmt: skip
    picture.suptitle(title, fontsize=11)
    return picture


def _regions(ax: Axes, a: xr.DataArray, regions: xr.Dataset) -> None:
    """Each region in its colour; k-mers outside of regions are white."""
    from matplotlib.colors import ListedColormap

    several = len(COLOURS)
    shade = np.where(regions["region"].values >= 0, regions["region"].values % several + 1, 0)
    square(ax, a.copy(data=shade), limit=0.0, cmap="Greys")
    ax.images[0].remove()
    colours = ListedColormap(["#ffffff", *COLOURS])
    ax.imshow(shade, cmap=colours, vmin=0, vmax=several, interpolation="nearest")
    score = regions.attrs["silhouette"]
    silhouette = f", silhouette {score:.2f}" if np.isfinite(score) else ""
    count = regions.sizes["number"]
    ax.set_title(f"{count} region{'s' * (count != 1)}{silhouette}", fontsize=9)


def along_picture(
    title: str, tracks: Mapping[str, Mapping[str, xr.DataArray]], site: np.ndarray, seed: tuple[int, int]
) -> Figure:
    """Letters of both sequences, as high as their attributions; one row per method."""
    methods = list(tracks["mirna"])
    counts = [int(next(iter(tracks[b].values())).notnull().sum()) for b in TITLES]
    wide, high = 2.0 + 0.16 * sum(counts), 0.7 + ROW * len(methods)
    picture = figure((wide, high))
    picture.set_layout_engine("none")
    unit = (wide - 1.7) / (sum(counts) + 2)
    spans = {"mirna": [(seed[0] - 1, seed[1])], "mrna": runs(site)}
    for row, method in enumerate(methods):
        left, bottom = 0.75, high - 0.45 - ROW * (row + 1) + 0.5
        for name, count in zip(TITLES, counts, strict=True):
            ax = picture.add_axes((left / wide, bottom / high, unit * count / wide, 1.0 / high))
            a = tracks[name][method]
            label = in_log_odds(f"{method_name(method)}\n", a).replace("\n ", "\n")
            _letters(ax, a, label if name == "mirna" else "", spans[name])
            ax.set_xlabel(f"{TITLES[name]} position (nt)" if row == len(methods) - 1 else "", fontsize=8)
            left += unit * count + 0.75
    picture.suptitle(title, fontsize=11)
    return picture


def _letters(ax: Axes, a: xr.DataArray, label: str, spans: list[tuple[int, int]]) -> None:
    """One sequence's letters, with shaded spans behind them."""
    letters(a, ax=ax, label=label)
    ax.yaxis.label.set_fontsize(7.5)
    for start, stop in spans:
        ax.axvspan(start - 0.5, stop - 0.5, color="#ffd54d", alpha=0.35, linewidth=0, zorder=0)


def titled(sample: str, label: int, probability: float) -> str:
    """The title of a sample's pictures."""
    return f"{sample}: label {label}, probability of binding {probability:.3f}"
