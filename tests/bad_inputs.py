"""A register of bad inputs: which argument, which value, which method, and that the error has to name the argument.

Rows are generated: each argument has values that mean nothing for it, and each method has its arguments.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import torch

from attrib.functional import METHODS

WHOLE = (0, -1, 2.5, True, "3", float("nan"), float("inf"), [4])
SHARE = (-0.1, float("nan"), float("inf"), "0.1", True)
FLAG = ("yes", "no", "", None, 2.0, -1)

VALUES: dict[str, tuple[Any, ...]] = {
    "n_steps": (*WHOLE, 10**12), "n_samples": WHOLE, "batch_size": (0, -1, 2.5, True, "3", "all", float("nan")),
    "stdevs": (-0.5, float("nan"), float("inf"), "0.1", True), "stdev_spread": SHARE,
    "seed": (1.5, "0", None, float("nan"), True, 2**64), "absolute": FLAG, "multiply_by_inputs": FLAG, "relu": FLAG, "upsample": FLAG,
    "check": FLAG, "center": FLAG, "hypothetical": FLAG, "progress": ("yes", 3),
    "quadrature": ("simpson", 3, None, ""), "reduce": ("median", 3, None, ""), "normalize": ("max", 3, True),
    "rtol": (0, -1e-3, float("nan"), "tight", True), "max_steps": (0, -5, 2.5, "many", True),
    "target": (99, -99, 1.5, "unknown", float("nan"), True, [0, 1, 2], {}, b"0"),
    "targets": (99, [], [99], [0, 0], ["unknown"], "some", 1.5, [0, 0.5], [None, None]),
    "device": ("cuda:99", "abacus", 7.5, "mps:3", "meta"),
    "baselines": ("zero", float("nan"), float("inf"), torch.zeros(7, 7, 7), torch.zeros(0, 4, 10), [[1.0], [2.0, 3.0]], {}),
    "window": (0, -1, 2.5, "wide", True, (3, 3, 3)), "stride": (0, -1, 2.5, "far", True, (3, 3, 3)),
    "groups": ("pathway", torch.zeros(7, dtype=torch.long), 2.5),
    "positions": ([50], [-11], "all", 2.5, [1.5], [], slice(8, 3), slice(0, 0)),
    "layer": ("nowhere", 99, "", ["0", "nowhere"], b"0"), "output": ("first", 99, 1.5, -7), "call": ("first", 99, 1.5, -7),
    "additional_forward_args": (3, "mask", {1: 2}),
    "directions": WHOLE, "n_permutations": WHOLE, "axis": ("letters",), "path": ("fast", 3, None), "compile": ("yes", 3),
}  # fmt: skip

ALIKE = {  # arguments whose error may name a twin that the value was meant for
    "targets": ("target",), "stride": ("window",), "additional_forward_args": ("model",), "baselines": ("x",), "max_steps": ("n_steps",),
}  # fmt: skip


class Row(NamedTuple):
    """A bad input.

    Attributes
    ----------
    method, argument : str
    value : object
    """

    method: str
    argument: str
    value: Any

    def __str__(self) -> str:
        return f"{self.method}-{self.argument}={str(self.value)[:24]!r}"


def arguments(method: str) -> list[str]:
    """Names of the keyword arguments of a method."""
    return [n for n, p in inspect.signature(METHODS[method]).parameters.items() if p.kind is p.KEYWORD_ONLY]


def rows() -> list[Row]:
    """All rows of methods on tensors."""
    return [Row(m, a, v) for m in METHODS for a in arguments(m) for v in VALUES.get(a, ())]


def named(error: BaseException, argument: str) -> bool:
    """Whether an error is of the right type and names the argument."""
    names = (argument, *ALIKE.get(argument, ()))
    return isinstance(error, ValueError | TypeError | NotImplementedError) and any(
        f"`{n}" in str(error) for n in names
    )
