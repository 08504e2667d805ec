"""Straight lines from baselines to inputs, walked before or behind the model's first layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.func import vjp

from attrib.engine.gradients import Kernel, Points
from attrib.engine.inputs import of_samples
from attrib.engine.model import Model
from attrib.engine.pullback import Rows
from attrib.engine.straight import behind_first_layer, first_layer, goes_straight


class Lines:
    """The lines of a group of samples.

    Parameters
    ----------
    xs, x0s : tuple of Tensor
        Inputs (N, ...) and baselines (1, ...) or (N, ...).
    samples : range
        The group.
    device : torch.device
        Where to walk.
    model : callable, optional
        Given if the lines shall run behind this model's first layer.
    """

    def __init__(
        self, xs: Rows, x0s: Rows, samples: range, device: torch.device, model: Model | None = None
    ) -> None:
        i = torch.arange(samples.start, samples.stop)
        self.first = samples.start
        self.ends = tuple(of_samples(t, i, device) for t in xs)
        self.starts = tuple(of_samples(b, i, device) for b in x0s)
        self.pull: Callable[[Tensor], Tensor] | None = None
        if model is not None:
            layer = partial(first_layer, model)
            with torch.no_grad():
                h, pull = vjp(layer, self.ends[0])[:2]
                start = layer(self.starts[0].expand(-1, *self.ends[0].shape[1:]))
            self.ends, self.starts, self.pull = (h,), (start,), lambda g: pull(g)[0]
        self.difference = tuple(e - s for e, s in zip(self.ends, self.starts, strict=True))

    def points(self, nodes: Tensor) -> Points:
        """Rows at `nodes` (steps,) on each line."""

        def rows(i: Tensor, k: Tensor) -> Rows:
            alpha = nodes[k].to(self.ends[0])
            at = (i - self.first).to(alpha.device)
            found = []
            for s, d in zip(self.starts, self.difference, strict=True):
                a = alpha.view(-1, *[1] * (d.ndim - 1))
                found.append((s if len(s) == 1 else s[at]) + a * d[at])
            return tuple(found)

        return rows

    def change(self, mean: Rows) -> Tensor:
        """What average gradients (T, n, ...) account for: (T, n)."""
        return sum((m * d).flatten(2).sum(2) for m, d in zip(mean, self.difference, strict=True))  # type: ignore[return-value]

    def at_input(self, mean: Rows) -> Rows:
        """Average gradients at the input."""
        return mean if self.pull is None else (torch.stack([self.pull(m) for m in mean[0]]),)


def groups(kernel: Kernel, xs: Rows, x0s: Rows, hoist: bool) -> Iterator[tuple[range, Lines]]:
    """The samples in groups of as many as there are rows in a call, so that memory stays bounded.

    With `hoist`, and where the model's first layer can be taken out of the way, `kernel` goes on with the rest of the
    model from here.
    """
    model = kernel.function.model
    hoist = hoist and len(xs) == 1 and goes_straight(model, *_some(kernel, xs, x0s), kernel.batches.chunk())
    size = kernel.batches.chunk(kernel.share())
    if hoist:
        kernel.go_on_with(behind_first_layer(model, xs[0].shape[1:]))
    start = 0
    while start < len(xs[0]):
        stop = min(len(xs[0]), start + size)
        yield range(start, stop), Lines(xs, x0s, range(start, stop), kernel.device, model if hoist else None)
        start = stop


def _some(kernel: Kernel, xs: Rows, x0s: Rows) -> tuple[Tensor, Tensor]:
    i = torch.arange(min(2, len(xs[0])))
    x = of_samples(xs[0], i, kernel.device)
    return x, of_samples(x0s[0], i, kernel.device).expand_as(x)
