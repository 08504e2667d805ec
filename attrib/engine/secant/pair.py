"""A value at the baseline and at the input, and its change as a linear function of the inputs' change; sums, joins, insertions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket

aten = torch.ops.aten


class NoRule(NotImplementedError):
    """Why an op has no secant here; the replay adds the op and its line."""


class Pair:
    """A value that depends on the inputs.

    Attributes
    ----------
    v0, v1 : Tensor
        The value at the baseline and at the input.
    dv : Tensor
        The change ``v1 - v0`` as a linear function of the change of the inputs. No rule reads its numbers; only
        derivatives pass through it. Floating point also where the value is not. Given as a function where few ask for it (the
        places of a sorted order), as None where it has no rule.
    """

    __slots__ = ("_change", "_dv", "v0", "v1")

    def __init__(
        self, v0: Tensor, v1: Tensor, dv: Tensor | Callable[[], Tensor] | None, change: Tensor | None = None
    ) -> None:
        self.v0, self.v1, self._dv, self._change = v0, v1, dv, change

    @property
    def dv(self) -> Tensor:
        """The change, as a linear function of the change of the inputs."""
        if self._dv is None:
            raise NoRule("it takes an index that depends on the inputs")
        if not isinstance(self._dv, Tensor):
            self._dv = self._dv()
        return self._dv

    @property
    def change(self) -> Tensor:
        """The numbers ``v1 - v0``, computed once."""
        if self._change is None:
            v0, v1 = self._ends
            self._change = v1 - v0
        return self._change

    @property
    def mean(self) -> Tensor:
        """``(v0 + v1) / 2``, also of bools, of integers, and of numbers whose sum would overflow."""
        return torch.lerp(*self._ends, 0.5)

    @property
    def _ends(self) -> tuple[Tensor, Tensor]:
        """Both values, as floats where they are bools or integers."""
        if self.is_discrete:
            return self.v0.to(self.dv.dtype), self.v1.to(self.dv.dtype)
        return self.v0, self.v1

    @property
    def is_index(self) -> bool:
        """Whether the value is an index that has no `dv`: a place in a whole order."""
        return self._dv is None

    @property
    def is_discrete(self) -> bool:
        """Whether the value has bools or integers."""
        return not (self.v0.is_floating_point() or self.v0.is_complex())


class Arguments(list):
    """An op's arguments, together with its result at the input, which the recording computed."""

    __slots__ = ("kwargs", "op", "result")

    def __init__(self, args: Sequence[Any], op: OpOverload, kwargs: dict[str, Any], result: Any) -> None:
        super().__init__(args)
        self.op, self.kwargs, self.result = op, kwargs, result


_NESTED = {list, tuple, Arguments, dict}  # what arguments stand in


def at0(tree: Any) -> Any:
    """Arguments with the values at the baseline."""
    return _each(tree, _V0)


def at1(tree: Any) -> Any:
    """Arguments with the values at the input."""
    return _each(tree, _V1)


_V0, _V1 = attrgetter("v0"), attrgetter("v1")


def _each(tree: Any, pick: Callable[[Any], Tensor]) -> Any:
    kind = type(tree)
    if kind is Pair:
        return pick(tree)
    if kind is dict:
        return {name: _each(branch, pick) for name, branch in tree.items()} if tree else tree
    if kind not in _NESTED:
        return tree
    return [
        pick(b) if type(b) is Pair else _each(b, pick) if type(b) in _NESTED else b for b in tree
    ]  # most branches are leaves, which cost no call


def has_pair(tree: Any) -> bool:
    """Whether nested arguments hold a Pair."""
    kind = type(tree)
    if kind not in _NESTED:
        return kind is Pair
    for branch in tree.values() if kind is dict else tree:
        if type(branch) is Pair or (type(branch) in _NESTED and has_pair(branch)):
            return True
    return False


ROWS = {
    aten.convolution.default: 0,
    aten.mm.default: 0,
    aten.addmm.default: 1,
}  # which argument; weights are the next


def values(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The results of an op at the baseline and at the input."""
    if op in ROWS and type(args) is not Arguments and _weigh_more(args, ROWS[op]):
        return _together(op, args, kwargs, ROWS[op])
    y0 = op(*at0(args), **at0(kwargs))
    if type(args) is Arguments and args.op is op and args.kwargs is kwargs:
        return y0, args.result
    return y0, op(*at1(args), **at1(kwargs))


def _weigh_more(args: Sequence[Any], at: int) -> bool:
    """Whether an op is spent on reading its weights: then it is quicker for both ends at once."""
    rows, others = args[at], [*args[:at], *args[at + 1 :]]
    if type(rows) is not Pair or has_pair(others):
        return False
    shared_bias = at == 0 or args[0].ndim < 2  # else it has a line for each row
    return shared_bias and args[at + 1].numel() > rows.v0.numel() + rows.v1.numel()


def _together(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any], at: int) -> tuple[Tensor, Tensor]:
    """The results of an op on the rows of both ends in one call."""
    v0, v1 = args[at].v0, args[at].v1
    both = op(*args[:at], torch.cat([v0, v1]), *args[at + 1 :], **kwargs)
    return both[: len(v0)], both[len(v0) :]


# ---------------------------------------------------------------------- the rule of each op

Rule = Callable[[OpOverload, Sequence[Any], dict[str, Any]], Any]

RULES: dict[OpOverload, Rule] = {}


def rule(*ops: OpOverload | OpOverloadPacket) -> Callable[[Rule], Rule]:
    """Register ``rule(op, args, kwargs) -> Pair or list of Pair`` for ops, with all their overloads that do not write.

    The arguments hold a `Pair` for each value that depends on the inputs, and at least one.
    """

    def register(function: Rule) -> Rule:
        for op in ops:
            overloads = [op] if isinstance(op, OpOverload) else [getattr(op, name) for name in op.overloads()]
            RULES.update((o, function) for o in overloads if not o._schema.is_mutable)
        return function

    return register


def change_of(value: Any) -> Any:
    """The change `dv` of an argument; zero for a constant."""
    if isinstance(value, Pair):
        return value.dv
    if isinstance(value, Tensor):
        dtype = value.dtype if value.is_floating_point() else torch.get_default_dtype()
        return torch.zeros_like(value, dtype=dtype)
    return 0.0


def difference(u: Any, v: Any) -> Pair:
    """u - v as a float, also for bools and integers."""
    dv = change_of(u) - change_of(v)
    u0, v0, u1, v1 = (
        t.to(dv.dtype) if isinstance(t, Tensor) else dv.new_tensor(t)
        for t in (at0(u), at0(v), at1(u), at1(v))
    )
    return Pair(u0 - v0, u1 - v1, dv)


@rule(aten.add, aten.sub)
def add(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d(u + k v) = du + k dv."""
    (u, v), k = args[:2], kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    v0, v1 = values(op, args, kwargs)
    sign = -k if op.overloadpacket is aten.sub else k
    if isinstance(u, Pair) and isinstance(v, Pair):
        dv = torch.add(u.dv, v.dv, alpha=sign)
    elif isinstance(u, Pair):
        dv = u.dv
    else:
        dv = v.dv if sign == 1 else v.dv * sign
    return Pair(v0, v1, dv.expand(v1.shape) if dv.shape != v1.shape else dv)


@rule(aten.rsub)
def subtract_from(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d(v - k u) = dv - k du."""
    v0, v1 = values(op, args, kwargs)
    u, v, k = args[0], args[1], kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    dv = change_of(v) - k * change_of(u)
    return Pair(v0, v1, dv)


@rule(aten.cat, aten.stack)
def join(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d cat(u, v) = cat(du, dv)."""
    v0, v1 = values(op, args, kwargs)
    return Pair(v0, v1, op([change_of(v) for v in args[0]], *args[1:], **kwargs))


@rule(aten.constant_pad_nd)
def pad(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d pad(v, c) = pad(dv, 0)."""
    v0, v1 = values(op, args, kwargs)
    return Pair(v0, v1, op(args[0].dv, args[1], 0.0))


@rule(
    *(aten.index_put, aten.index_add.default, aten.index_copy.default),
    *(aten.slice_scatter, aten.select_scatter, aten.diagonal_scatter, aten.masked_scatter),
)
def insert(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> Pair:
    """d put(u, index, v) = put(du, index, dv)."""
    v0, v1 = values(op, args, kwargs)
    names = [a.name for a in op._schema.arguments]
    linear_in = {0, *(i for i, name in enumerate(names) if name in ("src", "source", "value", "values"))}
    if has_pair([a for i, a in enumerate(args) if i not in linear_in]) or has_pair(kwargs):
        raise NoRule("it takes an index that depends on the inputs")
    changes = [change_of(a) if i in linear_in else a for i, a in enumerate(args)]
    return Pair(v0, v1, op(*changes, **kwargs))
