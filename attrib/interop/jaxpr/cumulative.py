"""Running sums, products and extrema."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrib.interop.jaxpr.program import Step
from attrib.interop.jaxpr.table import translation

COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cummax": torch.maximum,
    "cummin": torch.minimum,
    "cumprod": torch.mul,
    "cumlogsumexp": lambda u, v: torch.stack([u, v]).logsumexp(0),
}


@translation("cumsum")
def running_sum(step: Step, x: Tensor) -> Tensor:
    """The sum of an element and all before it, or all behind it."""
    return _in_order(step, x, lambda v, d: v.cumsum(d, dtype=v.dtype))


@translation(*COMBINE)
def running(step: Step, x: Tensor) -> Tensor:
    """The same of other operations: after round k each element knows the 2^k up to itself."""

    def scan(v: Tensor, d: int) -> Tensor:
        reach, size = 1, v.shape[d]
        while reach < size:
            met = COMBINE[step.name](v.narrow(d, reach, size - reach), v.narrow(d, 0, size - reach))
            v = torch.cat([v.narrow(d, 0, reach), met], d)
            reach *= 2
        return v

    return _in_order(step, x, scan)


def _in_order(step: Step, x: Tensor, scan: Callable[[Tensor, int], Tensor]) -> Tensor:
    d = step.params["axis"]
    return scan(x.flip(d), d).flip(d) if step.params["reverse"] else scan(x, d)
