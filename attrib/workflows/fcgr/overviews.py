"""Pictures of all pairs together, and of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.plots import robust_limit
from attrib.plots.scale import DIVERGING, figure, number
from attrib.workflows.drawing import method_name
from attrib.workflows.fcgr.squares import FULL, TITLES, grid, in_log_odds, square

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLEAREST = 12  # differences with names
NAMED = 5  # k-mers that are named in a map


def averages(
    title: str, maps: Mapping[str, xr.DataArray], label: str = "mean attribution", cmap: str = DIVERGING
) -> Figure:
    """A map of both branches, side by side."""
    picture, axes = grid(len(maps), columns=2, panel=4.0, right=1.1, top=0.7, gap=1.2, below=0.4)
    for ax, (name, a) in zip(axes, maps.items(), strict=True):
        mesh = square(ax, a, names=NAMED, cmap=cmap)
        ax.set_title(TITLES[name], fontsize=10)
        _bar(picture, mesh, ax, in_log_odds(label, a))
    picture.suptitle(title, fontsize=11)
    return picture


def _bar(picture: Figure, mesh: Any, ax: Any, label: str) -> None:
    """A colour bar with its label in words."""
    bar = picture.colorbar(mesh, ax=ax, fraction=0.04, pad=0.05)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(label, fontsize=8)


def contrast_picture(title: str, contrast: xr.Dataset) -> Figure:
    """Positives less negatives, with rings around k-mers of corrected p-values below 0.05; the clearest with their intervals."""
    picture = figure((9.4, 4.4))
    picture.set_layout_engine("none")
    ax = picture.add_axes((0.04, 0.06, 0.42, 0.82))
    bar = picture.colorbar(
        square(ax, contrast["difference"]), cax=picture.add_axes((0.485, 0.1, 0.013, 0.74))
    )
    bar.ax.tick_params(labelsize=7)
    bar.set_label(in_log_odds("difference of means", contrast["difference"]), fontsize=8)
    y, x = np.nonzero(contrast["p_corrected"].values < 0.05)
    ax.scatter(x, y, s=30, facecolors="none", edgecolors="black", linewidths=0.8)
    ax.set_title(f"difference of means; {len(y)} k-mers with corrected p < 0.05", fontsize=9)
    _intervals(picture.add_axes((0.66, 0.12, 0.31, 0.74)), contrast)
    picture.suptitle(title, fontsize=11)
    return picture


def _intervals(ax: Axes, contrast: xr.Dataset) -> None:
    """The clearest differences with their intervals, sorted."""
    flat = {n: contrast[n].values.ravel() for n in ("difference", "lower", "upper", "p_corrected", "kmer")}
    order = np.argsort(flat["p_corrected"] - 1e-9 * np.abs(flat["difference"]), kind="stable")[:CLEAREST]
    difference, lower, upper, p, words = (v[order[::-1]] for v in flat.values())
    gaps = np.abs(np.stack([difference - lower, upper - difference]))
    rows = range(len(order))
    ax.errorbar(difference, rows, xerr=gaps, fmt="o", color="#b2182b", markersize=4, linewidth=1)
    ax.set_yticks(rows, [f"{w}  {v:.3f}" for w, v in zip(words, p, strict=True)], fontsize=7)
    ax.set_title("k-mer, corrected p (max T)", fontsize=8, loc="left")
    ax.axvline(0, color="black", linewidth=0.7)
    ax.tick_params(axis="x", labelsize=7)
    ax.set_xlabel(f"{in_log_odds('difference', contrast['difference'])}, 95% bootstrap interval", fontsize=8)
    ax.locator_params(axis="x", nbins=4)
    ax.spines[["top", "right"]].set_visible(False)


def agreement_picture(title: str, correlations: Mapping[str, xr.DataArray]) -> Figure:
    """Rank correlations between methods, per branch."""
    count = next(iter(correlations.values())).sizes["method"]
    picture = figure((2.2 + 2 * (1.2 + 0.5 * count), 1.9 + 0.5 * count))
    axes: Any = picture.subplots(1, len(correlations), squeeze=False)[0]
    for ax, (name, a) in zip(axes, correlations.items(), strict=True):
        ax.imshow(a.values, cmap=DIVERGING, vmin=-1, vmax=1)
        _numbers(ax, a.values, 1.0, 7)
        names = [method_name(str(m)) for m in a["method"].values]
        ax.set_xticks(range(count), names, rotation=60, ha="right", fontsize=7)
        ax.set_yticks(range(count), names if ax is axes[0] else [], fontsize=7)
        ax.set_title(TITLES[name], fontsize=10)
    picture.suptitle(title, fontsize=11)
    return picture


def _numbers(ax: Axes, values: np.ndarray, limit: float, size: float) -> None:
    """Write each entry's number on it, white on dark colours."""
    for (i, j), v in np.ndenumerate(values):
        ax.text(
            j, i, "–" if np.isnan(v) else f"{v + 0.0 if abs(v) >= 0.005 else 0:.2f}", ha="center", va="center", fontsize=size,
            color="white" if abs(v) > 0.6 * limit else "black",
        )  # fmt: skip


def positions_picture(
    title: str, groups: Mapping[str, Mapping[str, np.ndarray]], seed: tuple[int, int]
) -> Figure:
    """Mean attribution along the miRNA with its 95% interval, a line per group of samples (samples, positions), a panel per method."""
    from scipy.stats import t as student_t

    methods = list(groups)
    picture = figure((3.5 * min(3, max(2, len(methods))), 1.0 + 2.2 * -(-len(methods) // 3)))
    axes: Any = picture.subplots(-(-len(methods) // 3), min(3, len(methods)), squeeze=False)
    for ax in axes.ravel()[len(methods) :]:
        ax.set_visible(False)
    for ax, method in zip(axes.ravel(), methods, strict=False):
        ax.axvspan(seed[0] - 0.5, seed[1] + 0.5, color="#ffd54d", alpha=0.35, linewidth=0)
        for (group, values), colour in zip(groups[method].items(), ("#b2182b", "#2166ac"), strict=False):
            mean, places, n = values.mean(0), np.arange(1, values.shape[1] + 1), len(values)
            ax.plot(places, mean, color=colour, marker=".", linewidth=1.2, label=group)
            if n > 2:
                half = student_t.ppf(0.975, n - 1) * values.std(0, ddof=1) / n**0.5
                ax.fill_between(places, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
        ax.axhline(0, color="black", linewidth=0.6)
        ax.set_title(method, fontsize=9)
        ax.tick_params(labelsize=7)
        ax.set_xlabel("miRNA position (nt)", fontsize=8)
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax in axes[:, 0]:
        ax.set_ylabel("attribution", fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7, frameon=False)
    picture.suptitle(title, fontsize=10)
    return picture


def filters_picture(title: str, weights: Mapping[str, xr.DataArray]) -> Figure:
    """The kernels of convolutions on one scale, summed over channels."""
    kernels = [(f"{name.removeprefix('network.')}\nfilter {k}", w.sum("channel")[k]) for name, w in weights.items() for k in range(w.sizes["filter"])]  # fmt: skip
    picture, axes = grid(len(kernels), columns=8, panel=1.3, gap=0.4, top=0.75, right=1.0)
    limit = max(robust_limit(w, FULL) for _, w in kernels)
    for ax, (name, w) in zip(axes, kernels, strict=True):
        mesh = ax.imshow(w.values, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        if w.size <= 9:
            _numbers(ax, w.values, limit, 6)
        ax.set_title(name, fontsize=6.5)
    wide, high = picture.get_size_inches()
    bar = picture.colorbar(mesh, cax=picture.add_axes((1 - 0.85 / wide, 0.3 / high, 0.12 / wide, 1.2 / high)))
    bar.ax.tick_params(labelsize=7)
    bar.set_label("weight", fontsize=8)
    picture.suptitle(f"{title} (± {number(limit)})", fontsize=9)
    return picture


def activations_picture(
    title: str, maps: Mapping[str, xr.DataArray], kmers: np.ndarray | None = None
) -> Figure:
    """The activations of each filter on an image; corners have their letters where a map has the image's k-mers."""
    activations = [
        (f"{name.removeprefix('network.')}, filter {k}", a[k])
        for name, a in maps.items()
        for k in range(a.sizes["filter"])
    ]
    picture, axes = grid(len(activations), columns=4, panel=2.4, top=0.7)
    for ax, (name, a) in zip(axes, activations, strict=True):
        bound = robust_limit(a, FULL)
        if kmers is not None and a.shape == kmers.shape:
            square(ax, a.assign_coords(kmer=(("y", "x"), kmers)), limit=bound)
        else:
            ax.imshow(a.values, cmap=DIVERGING, vmin=-bound, vmax=bound, interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
        ax.set_title(f"{name} (± {number(bound)})", fontsize=8)
    picture.suptitle(title, fontsize=10)
    return picture
