"""A model with softplus for ReLU: smooth, so that it has second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from attrib.engine.model.function import WITHOUT_CHECKPOINT, once
from attrib.engine.model.parameters import Model

CHECKPOINTED = (
    "`softplus` is given, but `f` calls torch.utils.checkpoint: a block that is run again for the gradient is run with its ReLU; "
    f"call it without a checkpoint, or {WITHOUT_CHECKPOINT}"
)
_RELUS = (F.relu, torch.relu, Tensor.relu)
_IN_PLACE = (torch.relu_, Tensor.relu_)


class _Softplus(TorchFunctionMode):
    """Answers calls of ReLU by softplus, ``log(1 + exp(beta v)) / beta``."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta, self.met = beta, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _RELUS and func not in _IN_PLACE:
            return func(*args, **kwargs)
        self.met += 1
        v = args[0] if args else kwargs["input"]
        if func in _RELUS and not kwargs.get("inplace", len(args) > 1 and args[1]):
            return F.softplus(v, self.beta)
        return v.copy_(
            F.softplus(v.clone(), self.beta)
        )  # what else reads this memory sees the change, as before


def with_softplus(model: Model, beta: float) -> Callable[..., Any]:
    """The model with softplus in place of ReLU, while it runs; the model itself stays as it is.

    Raises
    ------
    ValueError
        For a `beta` that is not positive; by the function returned, if the model calls no ReLU by name.
    """
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 < beta < float("inf"):
        raise ValueError(f"`softplus` is {beta!r}, expected a positive number, such as 10.0, or None")

    def smooth(*x: Any, **named: Any) -> Any:
        with once(CHECKPOINTED), _Softplus(float(beta)) as mode:
            y = model(*x, **named)
        if not mode.met:
            raise ValueError(
                "`softplus` is given, but `f` calls no ReLU that could be replaced; leave it out"
            )
        return y

    return smooth
