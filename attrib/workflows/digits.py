"""Handwritten digits and a small network that reads them: the demonstration's data and model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

CLASSES = tuple(map(str, range(10)))
HELD_OUT = 360  # of 1,797 images


class Digits(NamedTuple):
    """Images (sample, channel, y, x) with the coord `digit`.

    Attributes
    ----------
    train, test : DataArray
        Intensities from 0 (paper) to 1 (ink), float32.
    """

    train: xr.DataArray
    test: xr.DataArray


def cnn() -> nn.Module:
    """Two convolutions, two linear layers: 8x8 images to ten logits.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, with random weights: images (N, 1, 8, 8) to logits (N, 10).
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    ).eval()


def digits(seed: int = 0) -> Digits:
    """The 1,797 images of scikit-learn's digits, shuffled with `seed` and split.

    Returns
    -------
    Digits
        1,437 images to train on and 360 held out. Labels along `sample` are the images' numbers in scikit-learn.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    images = xr.DataArray(
        (bunch.images[order, None] / 16).astype(np.float32),
        dims=("sample", "channel", "y", "x"),
        coords={
            "sample": ("sample", order, {"long_name": "number of the image in scikit-learn's digits"}),
            "channel": ["ink"],
            "y": ("y", np.arange(8), {"units": "pixel"}),
            "x": ("x", np.arange(8), {"units": "pixel"}),
            "digit": ("sample", bunch.target[order], {"long_name": "digit that was written"}),
        },
        name="image",
        attrs={"units": "ink", "long_name": "ink, from 0 (paper) to 1"},
    )
    return Digits(images[:-HELD_OUT], images[-HELD_OUT:])


def trained(data: Digits, *, seed: int = 0, epochs: int = 8) -> nn.Module:
    """A `cnn` trained on the images.

    Parameters
    ----------
    data : Digits
    seed : int, default 0
        Of the weights and the order of the batches; torch's own generator is left as it was.
    epochs : int, default 8
        Passes through the training images.

    Returns
    -------
    torch.nn.Module
        In evaluation mode.
    """
    x, y = torch.from_numpy(data.train.values), torch.from_numpy(data.train["digit"].values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cnn()
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(64):
                loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    return model.eval()


def accuracy(model: nn.Module, images: xr.DataArray) -> float:
    """Share of the images whose largest logit is their digit."""
    with torch.no_grad():
        logits: Tensor = model(torch.from_numpy(images.values))
    return float((logits.argmax(1).numpy() == images["digit"].values).mean())
