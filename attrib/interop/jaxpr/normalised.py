"""What idioms stand for: softmax, its logarithm, and the logarithm of a sum of exponentials."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attrib.interop.jaxpr.contractions import others, permuted, restored
from attrib.interop.jaxpr.program import Step
from attrib.interop.jaxpr.table import translation


@translation("softmax")
def softmax(step: Step, x: Tensor) -> Tensor:
    """exp(x) / sum exp(x)."""
    return _joined(torch.softmax, x, step.params["axes"])


@translation("log_softmax")
def log_softmax(step: Step, x: Tensor) -> Tensor:
    """X - log sum exp(x)."""
    return _joined(torch.log_softmax, x, step.params["axes"])


@translation("logsumexp")
def logsumexp(step: Step, x: Tensor) -> Tensor:
    """Log sum exp(x)."""
    return torch.logsumexp(x, tuple(step.params["axes"])).reshape(step.makes[0].shape)


def _joined(f: Callable[[Tensor, int], Tensor], x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Over several dims as over one."""
    if len(axes) == 1:
        return f(x, axes[0])
    order = [*others(x.ndim, axes), *axes]
    moved = permuted(x, order)
    return restored(f(moved.flatten(x.ndim - len(axes)), -1).reshape(moved.shape), order)
