"""Sequences, their k-mers counted one by one, and attributions of their chaos game images."""

from collections import Counter

import numpy as np
import xarray as xr
from hypothesis import strategies as st

SEQUENCES = st.lists(st.text("ACGTUNacgtR", min_size=4, max_size=20), min_size=1, max_size=4)


def counted(sequence: str, k: int) -> Counter:
    text = sequence.upper().replace("U", "T")
    return Counter(text[i : i + k] for i in range(len(text) - k + 1))


def attribution(images: xr.DataArray, seed: int) -> xr.DataArray:
    values = np.random.default_rng(seed).normal(size=(2, *images.shape))
    return xr.DataArray(values, dims=("target", *images.dims), coords=images.coords, name="attribution")
