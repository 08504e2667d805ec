"""Loops and branches, unrolled and taken while the model is recorded; they must not depend on the inputs' values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrib.interop.jaxpr.interpreter import run
from attrib.interop.jaxpr.program import Program, Step
from attrib.interop.jaxpr.table import filled, python_value, translation


@translation("scan", numbers=True)
def scan(step: Step, *values: Any) -> list[Any]:
    """carry, y[t] = body(constants, carry, x[t])."""
    p = step.params
    body: Program = p["jaxpr"]
    first, carried = _counts(step)
    last = first + carried
    constants, carry, xs = list(values[:first]), list(values[first:last]), values[last:]
    rows = [x.unbind(0) if isinstance(x, Tensor) else [x] * p["length"] for x in xs]
    steps = range(p["length"])
    ys: list[list[Any]] = []
    for t in reversed(steps) if p["reverse"] else steps:
        results = run(body, [*constants, *carry, *(r[t] for r in rows)])
        carry, y = results[:carried], results[carried:]
        ys.append(y)
    return [*carry, *_stacked(step, ys[::-1] if p["reverse"] else ys)]


def _counts(step: Step) -> tuple[int, int]:
    """How many constants and carried values a scan has: in numbers, or since JAX 0.12 as trees of all that it takes."""
    if "num_carry" in step.params:
        return step.params["num_consts"], step.params["num_carry"]
    constants, carry, _ = (len(list(tree)) for tree in step.params["ft_in"].elts)
    return constants, carry


def _stacked(step: Step, ys: list[list[Any]]) -> list[Tensor]:
    """The results of all rounds, stacked."""
    shapes = step.makes[_counts(step)[1] :]
    if not ys:
        return [filled(0, s, step.device) for s in shapes]
    rows = [s._replace(shape=s.shape[1:]) for s in shapes]
    return [
        torch.stack([filled(y, s, step.device) for y in column])
        for column, s in zip(zip(*ys, strict=True), rows, strict=True)
    ]


@translation("while", numbers=True)
def loop(step: Step, *values: Any) -> list[Any]:
    """carry = body(carry) while test(carry), where the test does not depend on the inputs."""
    p = step.params
    m, n = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
    test_constants, constants, carry = values[:m], values[m:n], list(values[n:])
    while python_value(step, run(p["cond_jaxpr"], [*test_constants, *carry])[0]):
        carry = run(p["body_jaxpr"], [*constants, *carry])
    return carry


@translation("platform_index", numbers=True)
def platform(step: Step) -> int:
    """The variant of `lax.platform_dependent` for this device; a variant without names is for all other devices."""
    variants = step.params["platforms"]
    matching = [i for i, names in enumerate(variants) if names is not None and step.device.type in names]
    return (matching or [i for i, names in enumerate(variants) if names is None])[0]


@translation("cond", numbers=True)
def branch(step: Step, which: Any, *values: Any) -> list[Any]:
    """branches[which](values), where `which` does not depend on the inputs."""
    branches = step.params["branches"]
    number = min(max(int(python_value(step, which)), 0), len(branches) - 1)
    return run(branches[number], list(values))
