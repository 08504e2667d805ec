"""The register of rules: the function that computes the pair of each op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch._ops import OpOverload, OpOverloadPacket

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
