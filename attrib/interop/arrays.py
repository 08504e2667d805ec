"""Anything array-like as a tensor or NumPy array of the same values, or a clear error."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_tensor(x: Any, name: str = "x") -> Tensor:
    """A tensor with the values of `x`; writing to it never changes `x` unless `x` is a tensor.

    Parameters
    ----------
    x : array-like
        A tensor, NumPy array (strided, read-only and big-endian ones too), DataFrame, DataArray, anything with
        `__dlpack__` (a `jax.Array`, say), or nested lists of numbers.
    name : str
        What error messages call it.

    Returns
    -------
    Tensor
        On the device where `x` is.

    Raises
    ------
    TypeError
        For sparse arrays, object and string arrays, complex numbers, tables with columns that are no numbers.
    ValueError
        For masked arrays with masked values, and ragged lists.
    """
    if isinstance(x, Tensor):
        if x.layout != torch.strided:
            raise TypeError(f"`{name}` is a sparse tensor; pass {name}.to_dense()")
        return x.detach()
    _refuse_sparse(x, name)
    _refuse_valueless(x, name)
    if _by_dlpack(x):
        return torch.from_dlpack(x).clone()
    values = as_numpy(x, name)
    if (
        min(values.strides, default=0) < 0
    ):  # a flipped dim of size 1 counts as contiguous, but torch refuses it
        values = values.copy()
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def as_numpy(x: Any, name: str = "x") -> np.ndarray:
    """A NumPy array of numbers with native byte order; see `as_tensor` for what is accepted and refused."""
    _refuse_sparse(x, name)
    _refuse_valueless(x, name)
    if isinstance(x, Tensor):
        t = as_tensor(x, name).resolve_conj().resolve_neg().cpu()
        return (t.float() if t.dtype == torch.bfloat16 else t).numpy()  # NumPy has no bfloat16
    if isinstance(x, np.ma.MaskedArray):
        if np.ma.is_masked(x):
            raise ValueError(f"`{name}` is a masked array with masked values; pass {name}.filled(value)")
        x = x.data
    try:
        values = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"`{name}` is ragged or no array of numbers: {error}") from None
    _refuse_dtype(values, x, name)
    if values.dtype.name == "bfloat16":  # an extension type that NumPy alone cannot compute with
        values = values.astype(np.float32)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _by_dlpack(x: Any) -> bool:
    """NumPy's own export dies on negative strides (SIGABRT in torch 2.13) and drops read-only flags."""
    return hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray | np.generic)


def _refuse_sparse(x: Any, name: str) -> None:
    kind = type(x).__module__.partition(".")[0]
    if kind == "sparse" or (kind == "scipy" and hasattr(x, "toarray")):
        fix = f"{name}.todense()" if kind == "sparse" else f"{name}.toarray()"
        raise TypeError(f"`{name}` is a sparse {type(x).__name__}; pass {fix}")
    dtypes = getattr(x, "dtypes", None)
    if dtypes is not None and hasattr(x, "columns"):
        wrong = [str(c) for c, d in zip(x.columns, dtypes, strict=True) if not _is_number(d)]
        if wrong:
            raise TypeError(
                f"`{name}` has columns that are no numbers: {', '.join(wrong[:5])}; drop or encode them"
            )


def _refuse_valueless(x: Any, name: str) -> None:
    """JAX arrays whose values are not there: yet, or any more."""
    jax = sys.modules.get("jax")
    if jax is None or not isinstance(x, jax.Array):
        return
    if isinstance(x, jax.core.Tracer):
        raise TypeError(
            f"`{name}` is traced (inside jax.jit, jax.vmap or jax.grad), so it has no values; call attrib outside, or "
            "use attrib.interop.jax.callback inside"
        )
    if x.is_deleted():
        raise ValueError(f"`{name}` is a JAX array that was deleted or donated; pass a copy of it")


def _is_number(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") in "fiub" and not str(dtype).startswith("Sparse")


def _refuse_dtype(values: np.ndarray, x: Any, name: str) -> None:
    if values.dtype.kind in "fiub" or values.dtype.name == "bfloat16":
        return
    if values.dtype.kind == "c":
        raise TypeError(f"`{name}` is complex; pass its real and imaginary parts as two inputs")
    what = f"dtype {values.dtype}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
    raise TypeError(
        f"`{name}` is {what}, expected an array of numbers; convert it with {name}.astype('float32')"
    )
