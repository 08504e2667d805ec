"""The scores of several targets, and their gradients with respect to the model's output, at once."""

from __future__ import annotations

import torch
from torch import Tensor

from attrib.engine.target import Entry, Predicted, Target, Wanted


class Scores:
    """Outputs to scores (T, rows).

    Parameters
    ----------
    want : Wanted
        What the caller asked for; the first output settles it.

    Attributes
    ----------
    targets : list of Target
        Empty before the first output.
    """

    def __init__(self, want: Wanted) -> None:
        self.want = want
        self.targets: list[Target] = []
        self._columns: Tensor | None = None

    @property
    def count(self) -> int | None:
        """The number of targets, if it is known yet."""
        return len(self.targets) or self.want.count

    def __call__(self, y: Tensor, i: Tensor, at_inputs: bool = False) -> Tensor:
        """Scores (T, rows) of outputs `y` (rows, ...) of samples `i` (rows,); `at_inputs` settles `"predicted"`."""
        if not self.targets:
            self.targets = self.want.settle(y)
            self._columns = _columns(self.targets, y)
        if self._columns is not None:
            return y[:, self._columns].T
        for t in self.targets:
            if at_inputs and isinstance(t, Predicted):
                t.look(y, i)
        return torch.stack([t.score(y, i) for t in self.targets])

    def cotangents(self, y: Tensor, i: Tensor, some: slice) -> Tensor:
        """d score / d y (targets, rows, ...) of some of the targets."""
        if self._columns is None:
            return torch.stack([t.cotangent(y, i) for t in self.targets[some]])
        columns = self._columns[some]
        one_hot = torch.zeros(len(columns), *y.shape, dtype=y.dtype, device=y.device)
        one_hot[torch.arange(len(columns), device=y.device), :, columns] = 1
        return one_hot


def _columns(targets: list[Target], y: Tensor) -> Tensor | None:
    """The output columns, where every target is one and the same for all samples: then no loop is needed."""
    if y.ndim != 2 or not all(
        isinstance(t, Entry) and type(t) is Entry and len(t.index) == 1 for t in targets
    ):
        return None
    return torch.cat([t.index[:, 0] for t in targets if isinstance(t, Entry)]).to(y.device)
