"""Watching one call of a model: is it a function of each row alone, and how much memory does a row take?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from attrib.engine.flat import on_places


class Watch:
    """Context in which one forward pass runs: looks for random draws and batch statistics, which no row may depend on.

    Parameters
    ----------
    ops : bool, default True
        Look at every op: raise on those that draw, and sum up output bytes. Costs 5 to 25 us each. Without, nothing is
        summed up, and draws are only suspected: from a generator that has moved, or a function's name.
    device : torch.device, optional
        Whose generator is looked at, besides the CPU's; without, none is, as where a recorder sees the ops.

    Attributes
    ----------
    suspect : bool
        Whether a pass of which not every op was seen may have drawn random numbers. Its generators are put back then.
    """

    def __init__(self, ops: bool = True, device: torch.device | None = None) -> None:
        self._ops, self._calls = Ops() if ops else None, _Calls()
        self._generators = [] if ops or device is None else _generators(device)
        self._stack, self.suspect = ExitStack(), False

    def __enter__(self) -> Watch:
        """Start watching."""
        self._states = [g.get_state() for g in self._generators]
        self._stack.enter_context(self._calls)
        if self._ops is not None:
            self._stack.enter_context(self._ops)
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop watching."""
        self._stack.__exit__(*error)
        if self._ops is not None:
            if self._ops.refused is not None:  # TorchScript would make another error of it
                raise self._ops.refused from None
            return
        moved = [
            not torch.equal(g.get_state(), s) for g, s in zip(self._generators, self._states, strict=True)
        ]
        self.suspect = self._calls.random or any(moved)
        if any(moved):
            for g, state in zip(self._generators, self._states, strict=True):
                g.set_state(state)

    @property
    def bytes(self) -> int | None:
        """Bytes of all new tensors, if every op was seen."""
        return None if self._ops is None else self._ops.bytes

    @property
    def largest(self) -> int:
        """Bytes of the largest of them."""
        return 1 if self._ops is None else self._ops.largest

    @property
    def on_places(self) -> bool:
        """Whether there are linear layers on (rows, places, features)."""
        return self._calls.on_places


def _generators(device: torch.device) -> list[torch.Generator]:
    """Where torch draws from on the CPU and on a device."""
    found = [torch.default_generator]
    if device.type == "cuda":
        found.append(torch.cuda.default_generators[device.index or 0])
    return found


class Ops(TorchDispatchMode):
    """Below torch.func and autograd: every op that really runs."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.largest = 0
        self.refused: ValueError | None = None

    def add(self, size: int, largest: int) -> None:
        """Count the bytes of a computation that torch does not see into."""
        self.bytes, self.largest = self.bytes + size, max(self.largest, largest)

    def __torch_dispatch__(
        self, op: OpOverload, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.refused = drawing(op, args, kwargs or {})
        if self.refused is not None:
            raise self.refused
        out = op(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, Tensor) and not t.is_meta and not _is_view(op):
                self.bytes += t.nbytes
                self.largest = max(self.largest, t.nbytes)
        return out


def drawing(op: OpOverload, args: tuple, kwargs: Mapping[str, Any]) -> ValueError | None:
    """What to raise instead of an op that draws random numbers; None for any other."""
    if torch.Tag.nondeterministic_seeded not in op.tags or not _draws(op, args, kwargs):
        return None
    return ValueError(
        f"`model` draws random numbers ({op}), so the same input gives different results; "
        "call model.eval(), or pass training=False to functional dropout"
    )


@functools.cache
def _is_view(op: OpOverload) -> bool:
    return any(r.alias_info is not None for r in op._schema.returns)


def _draws(op: OpOverload, args: tuple, kwargs: Mapping[str, Any]) -> bool:
    """Fused attention and RNN kernels carry the tag of randomness also where their dropout is off."""
    names = [a.name for a in op._schema.arguments]
    usual = {a.name: a.default_value for a in op._schema.arguments if a.has_default_value()}
    given = usual | dict(zip(names, args, strict=False)) | dict(kwargs)
    if "dropout_p" in names or "dropout" in names:
        rate = given.get("dropout_p", given.get("dropout", 0.0))
        return bool(rate) and given.get("train", True) is not False
    return given.get("train", given.get("training", True)) is not False


_DRAWING = {
    *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli, torch.poisson),
    *(torch.rand_like, torch.randn_like, torch.randint_like, torch.multinomial, torch.binomial),
    *(torch._standard_gamma, torch._sample_dirichlet, F.fractional_max_pool2d, F.fractional_max_pool3d),
    *(F.gumbel_softmax, Tensor.uniform_, Tensor.normal_, Tensor.bernoulli, Tensor.bernoulli_, Tensor.random_),
    *(Tensor.exponential_, Tensor.geometric_, Tensor.cauchy_, Tensor.log_normal_, Tensor.multinomial),
}
_DROPPING = {
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
    *(torch.dropout, torch.dropout_, torch.feature_dropout, torch.alpha_dropout, torch.feature_alpha_dropout),
    torch.native_dropout,
}
_SWITCHED = {  # name, place and default of the argument without which they draw nothing
    **dict.fromkeys(_DROPPING, ("training", 2, True)),
    **dict.fromkeys((F.rrelu, F.rrelu_, torch.rrelu, torch.rrelu_), ("training", 3, False)),
    F.scaled_dot_product_attention: ("dropout_p", 4, 0.0),
}


_NORMALISING = {  # of the ops not the overloads, which exported programs call: those are tried (see `opaque`)
    *(F.batch_norm, torch.batch_norm, torch.native_batch_norm),
    *(torch.ops.aten.batch_norm, torch.ops.aten.native_batch_norm),
}
_LOOKED_AT = {*_DRAWING, *_SWITCHED, *_NORMALISING, F.linear}
_OPS = (OpOverload, OpOverloadPacket)


class _Calls(TorchFunctionMode):
    """Above torch.func: refuses batch norm that would use its own batch's mean. (Instance norm has its own entry point.)"""

    def __init__(self) -> None:
        super().__init__()
        self.on_places = self.random = False

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _LOOKED_AT or "generator" in kwargs or type(func) in _OPS:
            self._look(func, args, kwargs)
        return func(*args, **kwargs)

    def _look(self, func: Callable, args: tuple, kwargs: Mapping[str, Any]) -> None:
        self.on_places = self.on_places or on_places(func, args)
        self.random = self.random or _may_draw(func, args, kwargs)
        if func in _NORMALISING and _uses_batch(args, kwargs):
            raise ValueError(
                "`model` normalises with the statistics of the batch, so a sample's result would depend on its "
                "batch-mates; call model.eval() and use batch norm with running statistics"
            )


def _may_draw(func: Callable, args: tuple, kwargs: Mapping[str, Any]) -> bool:
    """Whether a function may draw random numbers, be it from a generator of its own or from one that is put back."""
    if func in _SWITCHED:
        name, place, default = _SWITCHED[func]
        given = args[place] if len(args) > place else kwargs.get("train", default)
        return bool(kwargs.get(name, given))
    if type(func) in _OPS:
        return any(torch.Tag.nondeterministic_seeded in op.tags for op in _overloads(func))
    return func in _DRAWING or kwargs.get("generator") is not None


def _overloads(op: Any) -> list[OpOverload]:
    return [op] if isinstance(op, OpOverload) else [getattr(op, name) for name in op.overloads()]


def _uses_batch(args: tuple, kwargs: Mapping[str, Any]) -> bool:
    if "training" in kwargs:
        return bool(kwargs["training"])
    # F.batch_norm(input, mean, var, weight, bias, training, ...) and torch.batch_norm share the sixth place
    return len(args) > 5 and bool(args[5])
