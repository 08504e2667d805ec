"""Array-likes as tensors or NumPy arrays of the same values, or a clear error."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

FILES = re.compile(
    r"\.(h5ad|nc|zarr|np[yz]|csv|tsv|parquet|nii|gz|mgz|pt|pth|png|jpe?g|tiff?|fa|fasta|bed)$"
)  # ends of names
ALIGNED = 16  # bytes; sums of products differ in their last bits where memory begins at no multiple of it, as in frames of a network


def as_tensor(x: Any, name: str = "x") -> Tensor:
    """A tensor with the values of `x`; writing to it does not change `x` unless `x` is a tensor.

    Parameters
    ----------
    x : array-like
        A tensor, NumPy array (also strided, read-only or big-endian), DataFrame, DataArray, object with `__dlpack__`
        (such as a `jax.Array`), or nested lists of numbers.
    name : str
        Name of `x` in errors.

    Returns
    -------
    Tensor
        On the device of `x`.

    Raises
    ------
    TypeError
        For sparse arrays, object and string arrays, complex numbers, and tables with columns that are not numbers.
    ValueError
        For masked arrays with masked values, and for ragged lists.
    """
    if isinstance(x, Tensor):
        if x.layout != torch.strided:
            raise TypeError(f"`{name}` is a sparse tensor; pass {name}.to_dense()")
        return x.detach()
    _refuse_sparse(x, name)
    _refuse_valueless(x, name)
    refuse_other_kinds(x, name)
    if _by_dlpack(x):
        return torch.from_dlpack(x).clone()
    values = as_numpy(x, name)
    if min(values.strides, default=0) < 0:  # NumPy calls a flipped dim of size 1 contiguous, torch refuses it
        values = values.copy()
    values = np.require(values, requirements=["C", "W"])
    return torch.from_numpy(values.copy() if values.ctypes.data % ALIGNED else values)


def as_numpy(x: Any, name: str = "x") -> np.ndarray:
    """A NumPy array of numbers in native byte order; accepts the same `x` as `as_tensor`."""
    _refuse_sparse(x, name)
    _refuse_valueless(x, name)
    refuse_other_kinds(x, name)
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
    if values.dtype.name == "bfloat16":  # an extension type, with which NumPy cannot compute
        values = values.astype(np.float32)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def refuse_other_kinds(value: Any, which: str) -> None:
    """Refuse what holds numbers or stands for them, and is no array, with what to pass in its place."""
    kind, module = type(value).__name__, type(value).__module__.partition(".")[0]
    if isinstance(value, str | os.PathLike) and FILES.search(str(value)):
        raise TypeError(
            f"`{which}` is the name {str(value)!r}; pass what is in the file: attrib.io.load, attrib.io.from_nifti, anndata.read_h5ad"
        )
    if isinstance(value, torch.nn.Module):
        raise TypeError(f"`{which}` is a {kind}: the model comes first, and `{which}` behind it")
    if _is_text(value):
        raise TypeError(
            f"`{which}` is text, of which no gradient can be taken; pass the ids that the tokenizer gives "
            "(tokenizer(texts, return_tensors='pt', padding=True)), and the name of the embedding as `layer`"
        )
    if module == "nibabel":
        raise TypeError(
            f"`{which}` is a {kind}; pass attrib.io.from_nifti({which}), which has a dim of samples in front and the affine"
        )
    if module == "anndata":  # an array of it would be taken value by value
        raise TypeError(
            f"`{which}` is AnnData; pass its numbers with their labels, attrib.io.from_anndata({which})"
        )
    if isinstance(value, Mapping) or (
        isinstance(value, tuple | list) and any(isinstance(v, Mapping) for v in value)
    ):
        raise TypeError(
            f"`{which}` is a {kind}, expected an array of numbers; where a model takes several inputs, pass all of them in one mapping, "
            "by their names"
        )


def _is_text(value: Any) -> bool:
    """Whether a value is a text, or holds texts alone."""
    if isinstance(value, list | tuple):
        return len(value) > 0 and all(isinstance(v, str) for v in value)
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind != "O" or type(value).__module__.partition(".")[0] not in ("numpy", "pandas", "xarray"):
        return isinstance(value, str) or kind in ("U", "S", "T")
    values = np.asarray(value).ravel()
    return len(values) > 0 and all(isinstance(v, str) for v in values)


def _by_dlpack(x: Any) -> bool:
    """Whether to take `x` by DLPack; NumPy's export aborts on negative strides (torch 2.13) and drops read-only flags."""
    return hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray | np.generic)


def _refuse_sparse(x: Any, name: str) -> None:
    kind = type(x).__module__.partition(".")[0]
    if kind == "sparse" or (kind == "scipy" and hasattr(x, "toarray")):
        fix = f"{name}.todense()" if kind == "sparse" else f"{name}.toarray()"
        raise TypeError(f"`{name}` is a sparse {type(x).__name__}; pass {fix}")
    dtypes = getattr(x, "dtypes", None)
    if dtypes is not None and hasattr(x, "to_pandas"):
        raise TypeError(f"`{name}` is a {type(x).__name__} of {kind}; pass {name}.to_pandas()")
    if dtypes is not None and hasattr(x, "columns"):
        kinds = {d: _is_number(d) for d in set(dtypes)}
        wrong = [str(c) for c, d in zip(x.columns, dtypes, strict=True) if not kinds[d]]
        if wrong:
            raise TypeError(
                f"`{name}` has columns that are no numbers: {', '.join(wrong[:5])}; drop or encode them"
            )


def _refuse_valueless(x: Any, name: str) -> None:
    """Refuse JAX arrays without values: traced, deleted or donated ones."""
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
    return getattr(dtype, "kind", "O") in "fiub"


def _refuse_dtype(values: np.ndarray, x: Any, name: str) -> None:
    if values.dtype.kind in "fiub" or values.dtype.name == "bfloat16":
        return
    if values.dtype.kind == "c":
        raise TypeError(f"`{name}` is complex; pass its real and imaginary parts as two inputs")
    kind = f"dtype {values.dtype}" if isinstance(x, np.ndarray) else f"a {type(x).__name__}"
    raise TypeError(
        f"`{name}` is {kind}, expected an array of numbers; convert it with {name}.astype('float32')"
    )
