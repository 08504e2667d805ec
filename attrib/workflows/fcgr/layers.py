"""The convolutions of each branch: whether the network fits the images, its layers for Grad-CAM, files and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

import attrib
from attrib import filters
from attrib.engine.model.companions import Beside, Companions
from attrib.io import save
from attrib.labels import labelled_inputs
from attrib.labels.align import forward_args
from attrib.plots import robust_limit
from attrib.plots.scale import DIVERGING, figure, number, whole_ticks
from attrib.scale.loading import first_line
from attrib.workflows.drawing import method_name
from attrib.workflows.fcgr import samplefiles
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.samplefiles import FULL, TITLES, grid, in_log_odds, square
from attrib.workflows.folder import Folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


STRONGEST = 10  # k-mers of a filter

CLEAREST = 12  # differences with names
NAMED = 5  # k-mers that are named in a map


class Layers(NamedTuple):
    """A branch's convolutions.

    Attributes
    ----------
    first : tuple of str
        Dotted names of those that read the image itself: one, or the paths of a first block.
    last : str or None
        The last one.
    """

    first: tuple[str, ...]
    last: str | None


def branch_layers(
    model: nn.Module, x: Mapping[str, Tensor], beside: Beside | None = None
) -> dict[str, Layers]:
    """The first and last convolution of each branch: those whose output depends on one input and not on the other.

    Parameters
    ----------
    model : torch.nn.Module
        Of two inputs.
    x : mapping of Tensor
        One sample or more; the first is used, and a shifted copy of it in which every value is larger.
    beside : Beside, optional
        What goes in beside the first sample.

    Returns
    -------
    dict of str to Layers
        By input. Convolutions that both inputs reach, or that are called twice or never, belong to no branch.
    """
    a, b = (x[name][:1] for name in BRANCHES)
    other_a, other_b = (x[name][:1].roll(1, -1) + 1 for name in BRANCHES)
    beside = beside or Beside((), {})
    plain, *moved = (_convolved(model, rows, beside) for rows in ((a, b), (other_a, b), (a, other_b)))
    branches: dict[str, list[str]] = {name: [] for name in BRANCHES}
    for name, output in plain.items():
        differs = [name in m and not torch.equal(output, m[name]) for m in moved]
        if differs.count(True) == 1:
            branches[BRANCHES[differs.index(True)]].append(name)
    return {n: _layers(model, names, x[n].shape[1]) for n, names in branches.items()}


def _layers(model: nn.Module, names: list[str], channels: int) -> Layers:
    """The first and last of a branch's convolutions; the first ones have as many channels as the image."""
    first = [n for n in names if getattr(model.get_submodule(n), "in_channels", 0) == channels]
    return Layers(tuple(first or names[:1]), names[-1] if names else None)


def _convolved(model: nn.Module, rows: Sequence[Tensor], beside: Beside) -> dict[str, Tensor]:
    """The output of each convolution that the model calls once, in the order of the modules."""
    outputs: dict[str, list[Tensor]] = {n: [] for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda _m, _x, y, calls=calls: calls.append(y))
        for name, calls in outputs.items()
    ]
    try:
        with torch.no_grad():
            model(*rows, *beside.positional, **beside.named)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: calls[0] for name, calls in outputs.items() if len(calls) == 1}


def layers_of(predictor: Predictor, x: xr.Dataset, named: Mapping[str, str]) -> dict[str, Layers]:
    """Each branch's convolutions, with the named layers for Grad-CAM.

    Parameters
    ----------
    predictor : Predictor
    x : Dataset
        Of `Images.of`.
    named : mapping of str to str
        Layers by branch.

    Raises
    ------
    ValueError
        For branches and layers that do not exist, and a network that does not fit the images.
    """
    strange = [n for n in named if n not in BRANCHES]
    if strange:
        raise ValueError(f"`layer` names {strange[0]!r}, expected {' or '.join(BRANCHES)}")
    layers = branch_layers(predictor.model, *_rows(predictor, x))
    parts = dict(predictor.model.named_modules())
    for name, layer in named.items():
        full = layer if layer in parts else f"network.{layer}"
        if full not in parts:
            raise ValueError(f"`layer`: the model has no layer {layer!r} for {name}")
        layers[name] = layers[name]._replace(last=full)
    return layers


def _rows(predictor: Predictor, x: xr.Dataset) -> tuple[dict[str, Tensor], Beside]:
    """A pair as the network takes it, and what goes in beside it, after one call that checks the network."""
    device = next((p.device for p in predictor.model.parameters()), torch.device("cpu"))
    first = x[list(BRANCHES)].isel(sample=slice(1))
    rows = {n: torch.from_numpy(first[n].values).to(device) for n in BRANCHES}
    beside = forward_args(predictor.context.of(first), labelled_inputs(first), rows["mirna"].dtype)
    values, named = Companions(beside, 1).at(torch.zeros(1, dtype=torch.long), rows["mirna"])
    try:
        with torch.no_grad():
            scores, raw = (
                f(*rows.values(), *values, **named) for f in (predictor.model, predictor.model.network)
            )
    except Exception as error:  # the user's code
        shape = tuple(rows["mirna"].shape)
        raise ValueError(
            f"the model fails on images of shape {shape} ({first_line(error)}); was it trained with another `k`"
            f"{', and does it take this `context`' * bool(values or named)}?"
        ) from error
    _check_kind(predictor.model.output_kind, scores, raw)
    return rows, Beside(values, named)


def _check_kind(output_kind: str, scores: Tensor, raw: Tensor) -> None:
    """Refuse outputs that are not of the kind `output_kind`."""
    two = raw.ndim == 2 and raw.shape[1] == 2
    if output_kind == "logit" and two and bool((raw >= 0).all() & ((raw.sum(1) - 1).abs() < 1e-5).all()):
        raise ValueError(
            "the model gives two numbers that add up to 1: probabilities; set `output_kind` to probability"
        )
    if output_kind == "probability" and not bool(((scores >= 0) & (scores <= 1)).all()):
        raise ValueError(
            "`output_kind` is probability, but the model gives numbers outside [0, 1]; leave it out"
        )


def write_layers(run: Folder, predictor: Predictor, x: xr.Dataset, layers: Mapping[str, Layers]) -> None:
    """Write filters and activations of each branch's first convolution, shown on the first pair."""
    images = x[list(BRANCHES)]
    for name, convolutions in layers.items():
        if not convolutions.first:
            continue
        title = f"{samplefiles.TITLES[name]}: first convolutions"
        weights = {n: filters(predictor.model, n) for n in convolutions.first}
        every = {
            n: attrib.layer_activation(
                predictor.model, images, layer=n, onto=name, additional_forward_args=predictor.context.of(x)
            ).transpose("sample", "filter", "y", "x")
            for n in convolutions.first
        }
        maps = {n: a[0] for n, a in every.items()}
        save(patterns(every, x[name].squeeze("channel")), run.file(f"{name}_conv1_patterns.csv"))
        subtitle = f"{title} on pair {x['sample'].values[0]}"
        run.picture(f"{name}_conv1_filters.png", filters_picture(title, weights))
        run.picture(f"{name}_conv1_activations.png", activations_picture(subtitle, maps, x["kmer"].values))


def patterns(activations: Mapping[str, xr.DataArray], image: xr.DataArray) -> pd.DataFrame:
    """What each filter answers to: the k-mers at which it is most active, where a sequence has them.

    Parameters
    ----------
    activations : mapping of str to DataArray (sample, filter, y, x)
        By layer.
    image : DataArray (sample, y, x)
        Counts of k-mers.

    Returns
    -------
    DataFrame
        `layer`, `filter`, `rank`, `kmer`, `activation` (the mean over the pairs that have the k-mer), `pairs`, and `strongest`, the
        pair of the largest. A layer of another size is looked at where the k-mer lies in it.
    """
    words, present = image["kmer"].values, image.values > 0
    count = present.sum(0)
    rows = []
    for layer, a in activations.items():
        at = [np.arange(n) * m // n for n, m in zip(words.shape, a.shape[2:], strict=True)]
        for k in range(a.sizes["filter"]):
            values = np.where(present, a.values[:, k][:, at[0]][:, :, at[1]], 0.0)
            mean = np.where(count > 0, values.sum(0) / np.maximum(count, 1), -np.inf)
            for rank, place in enumerate(np.argsort(-mean, axis=None, kind="stable")[:STRONGEST]):
                y, x = np.unravel_index(place, mean.shape)
                if count[y, x]:
                    best = int(np.where(present[:, y, x], values[:, y, x], -np.inf).argmax())
                    rows.append((layer.removeprefix("network."), k, rank + 1, str(words[y, x]), float(mean[y, x]), int(count[y, x]), str(image["sample"].values[best])))  # fmt: skip
    return pd.DataFrame(rows, columns=["layer", "filter", "rank", "kmer", "activation", "pairs", "strongest"])


def averages(
    title: str, maps: Mapping[str, xr.DataArray], label: str = "mean attribution", cmap: str = DIVERGING
) -> Figure:
    """A map of both branches, side by side."""
    picture, axes = grid(len(maps), columns=2, panel=4.0, right=1.1, top=0.4, gap=1.2, below=0.4)
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
    whole_ticks(ax.xaxis)
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
    picture, axes = grid(len(kernels), columns=8, panel=1.3, gap=0.4, top=0.4, right=1.0)
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
    picture, axes = grid(len(activations), columns=4, panel=2.4, top=0.4)
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
