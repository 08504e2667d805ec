"""Arrays and dtypes of JAX as tensors and dtypes of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Number = bool | int | float | complex


class Constants:
    """Tensors of the arrays that a function closes over, each made once.

    Without a copy where DLPack can: the tensors are never written to.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, torch.device], tuple[Any, Tensor | Number]] = {}

    def on(self, array: Any, device: torch.device) -> Tensor | Number:
        """An array as a tensor; one without dims as a number."""
        key = (id(array), device)
        if key not in self._made:  # the array is kept, so that no other gets its id
            made = number(array) if np.ndim(array) == 0 else tensor(array).to(device)
            self._made[key] = (array, made)
        return self._made[key][1]


def tensor(array: Any) -> Tensor:
    """A JAX or NumPy array as a tensor that must not be written to."""
    if not isinstance(array, np.ndarray) and hasattr(array, "__dlpack__"):
        try:
            return torch.from_dlpack(array)
        except (RuntimeError, BufferError, TypeError, ValueError):  # on several devices, say
            pass
    dtype_of(array.dtype)
    values = np.array(array)  # a copy that may be written to: torch warns of others
    if values.dtype.name == "bfloat16":
        return torch.from_numpy(values.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(values)


def number(scalar: Any) -> Number:
    """The value of an array without dims, or of a literal."""
    with torch._C.DisableTorchFunction():  # a constant is no value that leaves torch unseen
        return scalar.item() if hasattr(scalar, "item") else scalar


def dtype_of(dtype: Any) -> torch.dtype:
    """The dtype of torch that has the name of a dtype of NumPy or JAX.

    Raises
    ------
    NotImplementedError
        There is none: keys of random numbers, numbers of four bits.
    """
    found = getattr(torch, getattr(dtype, "name", str(dtype)), None)
    if not isinstance(found, torch.dtype):
        raise NotImplementedError(
            f"`f` holds an array of {dtype}, which torch has not, so that its ops cannot be followed; use "
            "`integrated_gradients`, which needs no more than derivatives, or another dtype"
        )
    return found
