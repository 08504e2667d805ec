"""Watching one call of a model: is it a function of each row alone, and how much memory does a row take?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from attrib.engine.graph.modes import outside_transforms, plain


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


# FOLDED attrib/engine/model/checks.py: """Programs that torch runs without telling: scripts, traces and exports. Whether their rows mix is found by trying."""
KINDS = (torch.jit.ScriptModule, torch.jit.ScriptFunction, fx.GraphModule)


def opaque(model: Any, found: Sequence[nn.Module]) -> bool:
    """Whether a model, of which all modules were found, is or holds such a program."""
    return isinstance(model, KINDS) or any(isinstance(part, KINDS) for part in found)


def refuse_mixed(call: Callable[..., Tensor], rows: Sequence[Tensor], y: Tensor) -> None:
    """Raise if the first row's output depends on the rows beside it.

    Parameters
    ----------
    call : callable
        The model: rows to outputs (rows, ...).
    rows : sequence of Tensor (n, ...)
        Inputs.
    y : Tensor (n, ...)
        Their outputs.

    Raises
    ------
    ValueError
        If it does.

    Notes
    -----
    One forward pass of as many rows; of two for a single one, where the program takes two. Where it refuses the other
    rows, as one that looks at their range does, another of rows nearer to what it was given: the first one repeated.
    """
    with _disable_current_modes(), outside_transforms():
        y, *rows = (plain(t) for t in (y, *rows))
        again = _beside(call, rows, _other)
        again = _beside(call, rows, _nearer) if again is None else again
        if again is None or not _changes(y[0], again[0]):
            return  # made for one row, or of rows apart
        if len(rows[0]) == 1:  # alone it may have been rounded otherwise
            y = call(*(torch.cat([r, r]) for r in rows))
        off = _changes(y[0], again[0])
    if off:
        raise ValueError(
            f"`model` mixes samples: the output of the first row changes by {off:.2g} with the rows beside it, as with "
            "the statistics of the batch; call model.eval() before it is scripted, traced or exported"
        )


def _beside(
    call: Callable[..., Tensor], rows: Sequence[Tensor], others: Callable[[Tensor], Tensor]
) -> Tensor | None:
    """Outputs of the first row and others; None where the program does not take these."""
    try:
        return call(*(torch.cat([r[:1], others(r)]) for r in rows))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError, torch.jit.Error):
        return None


def _changes(y: Tensor, again: Tensor) -> float:
    """By how much two outputs differ, if that is more than rounding."""
    scale = float(y.abs().max()) if y.numel() else 0.0
    off = float((y - again).abs().max()) if y.numel() else 0.0
    return off if off > torch.finfo(y.dtype).eps ** 0.5 * scale else 0.0


def _other(rows: Tensor) -> Tensor:
    rows = rows[1:] if len(rows) > 1 else rows
    return rows * 1.5 + 1 if rows.is_floating_point() else rows.flip(0)


def _nearer(rows: Tensor) -> Tensor:
    if len(rows) > 1:
        return rows[:1].expand_as(rows[1:])
    return rows / 2 if rows.is_floating_point() else rows


# FOLDED attrib/engine/model/checks.py: """Linear layers on (rows, places, features) as one product of matrices."""
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
