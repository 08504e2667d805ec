"""Checks of a network on the images, and the layers for Grad-CAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from attrib.engine.model.companions import Beside, Companions
from attrib.labels import labelled_inputs
from attrib.labels.beside import forward_args
from attrib.scale.loading import first_line
from attrib.workflows.fcgr.branches import Layers, branch_layers
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.predictor import Predictor


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
