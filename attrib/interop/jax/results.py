"""Results as JAX arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from torch import Tensor

from attrib.interop.arrays import as_tensor
from attrib.interop.jax.exchange import to_array


def in_jax(result: Any) -> Any:
    """See `attrib.interop.jax.to_jax`."""
    if isinstance(result, tuple):
        return tuple(map(in_jax, result))
    if isinstance(result, xr.Dataset):
        return result.map(in_jax, keep_attrs=True)
    if isinstance(result, Mapping):
        return {k: in_jax(v) for k, v in result.items()}
    if isinstance(result, xr.DataArray):
        return result.copy(data=_array(result.values))
    if isinstance(result, Tensor | np.ndarray | jax.Array):
        return _array(result)
    raise TypeError(
        f"`result` is a {type(result).__name__}, expected a DataArray, Dataset, tensor, array, or a tuple or mapping of these"
    )


def _array(values: Any) -> jax.Array:
    return to_array(as_tensor(values, "result").clone(), "result")
