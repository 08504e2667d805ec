"""The files of a network: filters and activations of each branch's first convolution."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from attrib import filters, layer_activation
from attrib.io import save
from attrib.workflows.fcgr import overviews, squares
from attrib.workflows.fcgr.branches import Layers
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.folder import Folder

STRONGEST = 10  # k-mers of a filter


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
    images = x[list(BRANCHES)]
    for name, convolutions in layers.items():
        if not convolutions.first:
            continue
        title = f"{squares.TITLES[name]}: first convolutions"
        weights = {n: filters(predictor.model, n) for n in convolutions.first}
        every = {
            n: layer_activation(
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
