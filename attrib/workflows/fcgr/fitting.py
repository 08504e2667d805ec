"""Checks of a network on the images, and the layers for Grad-CAM."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import xarray as xr
from torch import Tensor

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
    layers = branch_layers(predictor.model, _rows(predictor, x))
    parts = dict(predictor.model.named_modules())
    for name, layer in named.items():
        full = layer if layer in parts else f"network.{layer}"
        if full not in parts:
            raise ValueError(f"`layers`: the model has no layer {layer!r} for {name}")
        layers[name] = layers[name]._replace(last=full)
    return layers


def _rows(predictor: Predictor, x: xr.Dataset) -> dict[str, Tensor]:
    """A pair as the network takes it, after one call that checks the network."""
    device = next((p.device for p in predictor.model.parameters()), torch.device("cpu"))
    rows = {n: torch.from_numpy(x[n].values[:1]).to(device) for n in BRANCHES}
    try:
        with torch.no_grad():
            scores, raw = predictor.model(*rows.values()), predictor.model.network(*rows.values())
    except Exception as error:  # the user's code
        shape = tuple(rows["mirna"].shape)
        raise ValueError(
            f"the model fails on images of shape {shape} ({first_line(error)}); was it trained with another `k`?"
        ) from error
    _check_kind(predictor.model.output_kind, scores, raw)
    return rows


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
