"""Linear layers on (rows, places, features) as one product of matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Flat(TorchFunctionMode):
    """Context in which such layers see a matrix.

    Plain autograd does so by itself; under torch.func such a layer falls apart into a product and a sum, which cost a
    network of them 5% of its time.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if on_places(func, args):
            x, weight, bias = args
            return func(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])
        return func(*args, **(kwargs or {}))


def on_places(func: Callable, args: tuple) -> bool:
    """Whether a call is one of such a layer, with a bias."""
    return (
        func is F.linear
        and len(args) == 3
        and type(args[0]) is Tensor
        and args[2] is not None
        and args[0].ndim > 2
    )
