"""Tensors and JAX arrays: the same memory, or a clear error."""

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
    """A tensor's memory as a JAX array; a copy where it is not laid out as JAX needs it.

    Raises
    ------
    TypeError
        For what JAX would silently turn into something else: 64-bit numbers while x64 is off.
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
    """64-bit integers as the 32-bit ones that JAX computes with; floats are not rounded behind the caller's back."""
    if jax.config.jax_enable_x64 or t.dtype not in (torch.float64, torch.int64):  # type: ignore[attr-defined]
        return t
    if t.dtype is torch.float64:
        raise TypeError(
            f"`{name}` is float64, but JAX computes in float32 while x64 is off; pass float32, or turn x64 on before: "
            'jax.config.update("jax_enable_x64", True)'
        )
    if t.numel() and not (_INT32.min <= int(t.min()) and int(t.max()) <= _INT32.max):
        raise TypeError(f"`{name}` has integers beyond 32 bits, which JAX cannot hold while x64 is off")
    return t.to(torch.int32)


def to_arrays(ts: Sequence[Tensor]) -> tuple[jax.Array, ...]:
    """Tensors as JAX arrays; see `to_array`."""
    return tuple(to_array(t, f"x[{j}]" if len(ts) > 1 else "x") for j, t in enumerate(ts))


def to_tensors(arrays: Sequence[jax.Array], others: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
    """JAX arrays as tensors of the same memory; a copy of what is the memory of `others` too."""
    taken = {t.data_ptr() for t in others if t.numel()}
    found = []
    for a in arrays:
        t = torch.from_dlpack(a)
        t = t.clone() if t.data_ptr() in taken else t
        taken.add(t.data_ptr())
        found.append(t)
    return tuple(found)


def view(a: jax.Array) -> Tensor | None:
    """A tensor on a JAX array's memory, to ask for dtype and device; None for keys and what torch cannot hold."""
    if not jax.numpy.issubdtype(a.dtype, np.floating) or len(a.devices()) != 1:
        return None
    try:
        return torch.from_dlpack(a)
    except (TypeError, RuntimeError, BufferError):  # float8, or a device that torch does not have
        return None


# FOLDED attrib/interop/jax/exchange.py: """Results as JAX arrays."""
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
