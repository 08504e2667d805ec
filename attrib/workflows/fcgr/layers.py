"""The convolutions of each branch: whether the network fits the images, its layers for Grad-CAM, and files of the first ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

import attrib
from attrib import filters
from attrib.engine.model.companions import Beside, Companions
from attrib.functional import layer_activation
from attrib.io import save
from attrib.labels import labelled_inputs
from attrib.labels.align import forward_args
from attrib.scale.loading import first_line
from attrib.workflows.fcgr import overviews, squares
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.folder import Folder

STRONGEST = 10  # k-mers of a filter


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


def branch_layers(model: nn.Module, x: Mapping[str, Tensor], beside: Any = ()) -> dict[str, Layers]:
    """The first and last convolution of each branch: those whose output depends on one input and not on the other.

    Parameters
    ----------
    model : torch.nn.Module
        Of two inputs.
    x : mapping of Tensor
        One sample or more; the first is used, and a shifted copy of it in which every value is larger.
    beside : tuple, mapping or Beside, optional
        What goes in beside the first sample, as `additional_forward_args`.

    Returns
    -------
    dict of str to Layers
        By input. Convolutions that both inputs reach, or that are called twice or never, belong to no branch.
    """
    a, b = (x[name][:1] for name in BRANCHES)
    other_a, other_b = (x[name][:1].roll(1, -1) + 1 for name in BRANCHES)
    convolutions: dict[str, list[str]] = {name: [] for name in BRANCHES}
    for name, part in model.named_modules():
        if not isinstance(part, nn.Conv2d):
            continue
        plain = _output(model, (a, b), beside, name)
        if plain is None:
            continue
        moved = [_differs(plain, _output(model, rows, beside, name)) for rows in ((other_a, b), (a, other_b))]
        if moved.count(True) == 1:
            convolutions[BRANCHES[moved.index(True)]].append(name)
    return {n: _layers(model, names, x[n].shape[1]) for n, names in convolutions.items()}


def _layers(model: nn.Module, names: list[str], channels: int) -> Layers:
    """The first and last of a branch's convolutions; the first ones have as many channels as the image."""
    first = [n for n in names if getattr(model.get_submodule(n), "in_channels", 0) == channels]
    return Layers(tuple(first or names[:1]), names[-1] if names else None)


def _output(model: nn.Module, rows: tuple[Tensor, Tensor], beside: Any, layer: str) -> Tensor | None:
    try:
        output = layer_activation(model, rows, layer=layer, additional_forward_args=beside)
    except ValueError:  # called twice, or not called
        return None
    return output if isinstance(output, Tensor) else None


def _differs(output: Tensor, other: Tensor | None) -> bool:
    return other is not None and not torch.equal(output, other)


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
        raise ValueError(f"`layers` names {strange[0]!r}, expected {' or '.join(BRANCHES)}")
    layers = branch_layers(predictor.model, *_rows(predictor, x))
    parts = dict(predictor.model.named_modules())
    for name, layer in named.items():
        full = layer if layer in parts else f"network.{layer}"
        if full not in parts:
            raise ValueError(f"`layers`: the model has no layer {layer!r} for {name}")
        layers[name] = layers[name]._replace(last=full)
    return layers


def _rows(predictor: Predictor, x: xr.Dataset) -> tuple[dict[str, Tensor], Any]:
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
        title = f"{squares.TITLES[name]}: first convolutions"
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
        run.picture(f"{name}_conv1_filters.png", overviews.filters_picture(title, weights))
        run.picture(
            f"{name}_conv1_activations.png", overviews.activations_picture(subtitle, maps, x["kmer"].values)
        )


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
