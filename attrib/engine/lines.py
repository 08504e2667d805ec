"""Straight lines from baselines to inputs, walked before or behind the model's first layer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from attrib.engine.gradients import Kernel, Points
from attrib.engine.hoist import FirstLayer, set_apart
from attrib.engine.inputs import of_samples
from attrib.engine.pullback import Rows


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
    layer : FirstLayer, optional
        Given if the lines shall run behind it.
    """

    def __init__(
        self, xs: Rows, x0s: Rows, samples: range, device: torch.device, layer: FirstLayer | None = None
    ) -> None:
        i = torch.arange(samples.start, samples.stop)
        self.first = samples.start
        self.ends = tuple(of_samples(t, i, device) for t in xs)
        self.starts = tuple(of_samples(b, i, device) for b in x0s)
        self.layer = layer
        if layer is not None:
            starts = self.starts[0].expand(-1, *self.ends[0].shape[1:])
            self.ends, self.starts = (layer(self.ends[0]),), (layer(starts),)
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
        return sum(
            (m * d).reshape(*m.shape[:2], -1).sum(2) for m, d in zip(mean, self.difference, strict=True)
        )  # type: ignore[return-value]

    def at_input(self, mean: Rows) -> Rows:
        """Average gradients at the input."""
        return mean if self.layer is None else (self.layer.back(mean[0]),)


def groups(kernel: Kernel, xs: Rows, x0s: Rows, hoist: bool) -> Iterator[tuple[range, Lines]]:
    """The samples in groups of as many as there are rows in a call, so that memory stays bounded.

    With `hoist`, and where the model's first layer can be taken out of the way, `kernel` goes on with the rest of the
    model from here.
    """
    size = kernel.batches.chunk(kernel.share())
    layer = set_apart(kernel, xs, x0s[0]) if hoist else None
    for start in range(0, len(xs[0]), size):
        group = range(start, min(len(xs[0]), start + size))
        yield group, Lines(xs, x0s, group, kernel.device, layer)
