"""Loops and branches: unrolled and taken while the model is recorded, if nothing about them depends on the inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrib.interop.jaxpr.interpreter import run
from attrib.interop.jaxpr.program import Program, Step
from attrib.interop.jaxpr.table import filled, settled, translation


@translation("scan", numbers=True)
def scan(step: Step, *values: Any) -> list[Any]:
    """Carry, y[t] = body(constants, carry, x[t])."""
    p = step.params
    body: Program = p["jaxpr"]
    first, last = p["num_consts"], p["num_consts"] + p["num_carry"]
    constants, carry, xs = list(values[:first]), list(values[first:last]), values[last:]
    rows = [x.unbind(0) if isinstance(x, Tensor) else [x] * p["length"] for x in xs]
    steps = range(p["length"])
    ys: list[list[Any]] = []
    for t in reversed(steps) if p["reverse"] else steps:
        results = run(body, [*constants, *carry, *(r[t] for r in rows)])
        carry, y = results[: p["num_carry"]], results[p["num_carry"] :]
        ys.append(y)
    return [*carry, *_stacked(step, ys[::-1] if p["reverse"] else ys)]


def _stacked(step: Step, ys: list[list[Any]]) -> list[Tensor]:
    """What each round gave, one after the other."""
    made = step.makes[step.params["num_carry"] :]
    if not ys:
        return [filled(0, m, step.device) for m in made]
    rows = [m._replace(shape=m.shape[1:]) for m in made]
    return [
        torch.stack([filled(y, m, step.device) for y in column])
        for column, m in zip(zip(*ys, strict=True), rows, strict=True)
    ]


@translation("while", numbers=True)
def loop(step: Step, *values: Any) -> list[Any]:
    """Carry = body(carry) while test(carry), where the test does not depend on the inputs."""
    p = step.params
    m, n = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
    testing, constants, carry = values[:m], values[m:n], list(values[n:])
    while settled(step, run(p["cond_jaxpr"], [*testing, *carry])[0]):
        carry = run(p["body_jaxpr"], [*constants, *carry])
    return carry


@translation("platform_index", numbers=True)
def platform(step: Step) -> int:
    """Which of the variants of `lax.platform_dependent` is for this device; one without a name is for the others."""
    here = step.device.type
    names = step.params["platforms"]
    fitting = [i for i, some in enumerate(names) if some is not None and here in some]
    return (fitting or [i for i, some in enumerate(names) if some is None])[0]


@translation("cond", numbers=True)
def branch(step: Step, which: Any, *values: Any) -> list[Any]:
    """branches[which](values), where `which` does not depend on the inputs."""
    branches = step.params["branches"]
    chosen = min(max(int(settled(step, which)), 0), len(branches) - 1)
    return run(branches[chosen], list(values))
