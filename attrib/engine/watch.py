"""Watching one call of a model: is it a function of each row alone, and how much memory does a row take?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from attrib.engine.flat import on_places


class Watch:
    """Context in which one forward pass runs: raises on random draws and batch statistics, sums up output bytes."""

    def __init__(self) -> None:
        self._ops, self._calls = Ops(), _Calls()
        self._stack = ExitStack()

    def __enter__(self) -> Watch:
        """Start watching."""
        self._stack.enter_context(self._calls)
        self._stack.enter_context(self._ops)
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop watching."""
        self._stack.__exit__(*error)

    @property
    def bytes(self) -> int:
        """Bytes of all new tensors seen."""
        return self._ops.bytes

    @property
    def largest(self) -> int:
        """Bytes of the largest of them."""
        return self._ops.largest

    @property
    def on_places(self) -> bool:
        """Whether there are linear layers on (rows, places, features)."""
        return self._calls.on_places


class Ops(TorchDispatchMode):
    """Below torch.func and autograd: every op that really runs."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.largest = 0

    def add(self, size: int, largest: int) -> None:
        """Count the bytes of a computation that torch does not see into."""
        self.bytes, self.largest = self.bytes + size, max(self.largest, largest)

    def __torch_dispatch__(
        self, op: OpOverload, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in op.tags and _draws(op, args, kwargs or {}):
            raise ValueError(
                f"`model` draws random numbers ({op}), so the same input gives different results; "
                "call model.eval(), or pass training=False to functional dropout"
            )
        out = op(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, Tensor) and not t.is_meta and not _is_view(op):
                self.bytes += t.nbytes
                self.largest = max(self.largest, t.nbytes)
        return out


@functools.cache
def _is_view(op: OpOverload) -> bool:
    return any(r.alias_info is not None for r in op._schema.returns)


def _draws(op: OpOverload, args: tuple, kwargs: Mapping[str, Any]) -> bool:
    """Fused attention and RNN kernels carry the tag of randomness also where their dropout is off."""
    names = [a.name for a in op._schema.arguments]
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    if "dropout_p" in names or "dropout" in names:
        rate = given.get("dropout_p", given.get("dropout", 0.0))
        return bool(rate) and given.get("train", True) is not False
    return given.get("train", given.get("training", True)) is not False


class _Calls(TorchFunctionMode):
    """Above torch.func: refuses batch norm that would use its own batch's mean. (Instance norm has its own entry point.)"""

    def __init__(self) -> None:
        super().__init__()
        self.on_places = False

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.on_places = self.on_places or on_places(func, args)
        if getattr(func, "__name__", "") == "batch_norm" and _uses_batch(args, kwargs or {}):
            raise ValueError(
                "`model` normalises with the statistics of the batch, so a sample's result would depend on its "
                "batch-mates; call model.eval() and use batch norm with running statistics"
            )
        return func(*args, **(kwargs or {}))


def _uses_batch(args: tuple, kwargs: Mapping[str, Any]) -> bool:
    if "training" in kwargs:
        return bool(kwargs["training"])
    # F.batch_norm(input, mean, var, weight, bias, training, ...) and torch.batch_norm share the sixth place
    return len(args) > 5 and bool(args[5])
