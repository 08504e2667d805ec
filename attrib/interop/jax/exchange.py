"""Tensors as JAX arrays and back, in the same memory where possible; results with JAX arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from attrib.interop.arrays import as_tensor

_INT32 = torch.iinfo(torch.int32)


def to_array(t: Tensor, name: str = "x") -> jax.Array:
    """A tensor as a JAX array of the same memory; a copy if the tensor is not contiguous.

    Raises
    ------
    TypeError
        For complex numbers, and for 64-bit numbers that JAX would round while x64 is off.
    ValueError
        For a tensor on a device that JAX does not have.
    """
    if t.is_complex():
        raise TypeError(f"`{name}` is complex; pass its real and imaginary parts as two inputs")
    t = narrowed(t.detach(), name)
    try:
        return jax.dlpack.from_dlpack(t.resolve_neg().contiguous())
    except RuntimeError as error:
        raise ValueError(
            f"`{name}` is on {t.device}, which JAX cannot reach here ({error}); JAX has {jax.devices()}"
        ) from error


def narrowed(t: Tensor, name: str) -> Tensor:
    """64-bit integers as the 32-bit integers that JAX computes with; float64 raises an error, as it would be rounded."""
    if jax.config.jax_enable_x64 or t.dtype not in (torch.float64, torch.int64):  # type: ignore[attr-defined]
        return t
    if t.dtype is torch.float64:
        raise TypeError(
            f"`{name}` is float64, but JAX computes in float32 while x64 is off; pass float32, or turn x64 on first: "
            'jax.config.update("jax_enable_x64", True)'
        )
    if t.numel() and not (_INT32.min <= int(t.min()) and int(t.max()) <= _INT32.max):
        raise TypeError(f"`{name}` has integers beyond 32 bits, which JAX cannot hold while x64 is off")
    return t.to(torch.int32)


def to_arrays(ts: Sequence[Tensor]) -> tuple[jax.Array, ...]:
    """Tensors as JAX arrays; see `to_array`."""
    return tuple(to_array(t, f"x[{j}]" if len(ts) > 1 else "x") for j, t in enumerate(ts))


def to_tensors(arrays: Sequence[jax.Array], others: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
    """JAX arrays as tensors of the same memory; copies of those that share memory with `others` or each other."""
    used = {t.data_ptr() for t in others if t.numel()}
    tensors = []
    for a in arrays:
        t = torch.from_dlpack(a)
        t = t.clone() if t.data_ptr() in used else t
        used.add(t.data_ptr())
        tensors.append(t)
    return tuple(tensors)


def view(a: jax.Array) -> Tensor | None:
    """A tensor in the memory of a JAX array of floats; None if torch cannot hold it."""
    if not jax.numpy.issubdtype(a.dtype, np.floating) or len(a.devices()) != 1:
        return None
    try:
        return torch.from_dlpack(a)
    except (TypeError, RuntimeError, BufferError):  # float8, or a device without torch
        return None


def result_to_jax(result: Any) -> Any:
    """See `attrib.interop.jax.to_jax`."""
    if isinstance(result, tuple):
        return tuple(map(result_to_jax, result))
    if isinstance(result, xr.Dataset):
        return result.map(result_to_jax, keep_attrs=True)
    if isinstance(result, Mapping):
        return {k: result_to_jax(v) for k, v in result.items()}
    if isinstance(result, xr.DataArray):
        return result.copy(data=_array(result.values))
    if isinstance(result, Tensor | np.ndarray | jax.Array):
        return _array(result)
    raise TypeError(
        f"`result` is a {type(result).__name__}, expected a DataArray, Dataset, tensor, array, or a tuple or mapping of these"
    )


def _array(values: Any) -> jax.Array:
    return to_array(as_tensor(values, "result").clone(), "result")
