"""The files of a network: filters and activations of each branch's first convolution."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from attrib import filters, layer_activation
from attrib.workflows.fcgr import overviews, squares
from attrib.workflows.fcgr.branches import Layers
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.folder import Folder


def write_layers(run: Folder, predictor: Predictor, x: xr.Dataset, layers: Mapping[str, Layers]) -> None:
    """Filters and activations of each branch's first convolution.

    Parameters
    ----------
    run : Folder
    predictor : Predictor
    x : Dataset
        The first pair is shown.
    layers : mapping of str to Layers
    """
    pair = x[list(BRANCHES)].isel(sample=[0])
    for name, convolutions in layers.items():
        if not convolutions.first:
            continue
        title = f"{squares.TITLES[name]}: first convolutions"
        weights = {n: filters(predictor.model, n) for n in convolutions.first}
        maps = {
            n: layer_activation(predictor.model, pair, layer=n, onto=name)[0].transpose("filter", "y", "x")
            for n in convolutions.first
        }
        subtitle = f"{title} on pair {x['sample'].values[0]}"
        run.picture(f"{name}_conv1_filters.png", overviews.filters_picture(title, weights))
        run.picture(f"{name}_conv1_activations.png", overviews.activations_picture(subtitle, maps))
