"""From a model's output to scores: what is recorded, and which of it each target explains."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from attrib.engine.model import Function
from attrib.engine.scores import Scores
from attrib.engine.target import Custom, Target


class Readout:
    """A model together with those of its targets that are functions of its output.

    An entry of the output is a cotangent, free of cost. A function of the output is part of what is explained, so it
    is recorded with the model: its value becomes one more column of the output, which is laid flat for that.

    Parameters
    ----------
    function : Function
        The model.
    score : Scores
        The targets; the first output settles them.
    """

    def __init__(self, function: Function, score: Scores) -> None:
        self.function, self.score = function, score
        self._shape: tuple[int, ...] = ()

    @property
    def custom(self) -> list[Target]:
        """The targets that are functions of the output."""
        return [t for t in self.score.targets if isinstance(t, Custom)]

    def outputs(self, *rows: Tensor) -> Tensor:
        """The model's output (rows, ...), or flat with the custom scores behind it."""
        y = self.function(*rows)
        if not self.score.want.functions:  # the targets are no part of what is recorded
            return y
        self._shape = tuple(y.shape[1:])
        with _disable_current_modes():
            self.settle(y.detach())
        i = torch.arange(len(y), device=y.device)
        extra = [t.score(y, i) for t in self.custom]
        return torch.cat([y.reshape(len(y), -1), torch.stack(extra, 1)], 1)

    def settle(self, y: Tensor) -> list[Target]:
        """The targets, which outputs `y` (rows, ...) settle if they are the first."""
        if not self.score.targets:
            self.score(y, torch.zeros(len(y), dtype=torch.long, device=y.device))
        return self.score.targets

    def scores(self, v: Tensor, i: Tensor, at_inputs: bool = False) -> Tensor:
        """(T, rows) scores of samples `i` from what `outputs` gave; `at_inputs` settles `"predicted"`."""
        y, extra = self._parts(v)
        if extra is None:
            return self.score(y, i, at_inputs)
        columns = iter(extra.unbind(1))
        self.score(y, i, at_inputs)
        return torch.stack(
            [next(columns) if isinstance(t, Custom) else t.score(y, i) for t in self.score.targets]
        )

    def cotangents(self, v: Tensor, i: Tensor) -> Tensor:
        """(T, rows, ...): one at what each target explains."""
        y, extra = self._parts(v)
        if extra is None:
            return self.score.cotangents(y, i, slice(None))
        ones, found = iter(torch.eye(extra.shape[1]).to(v)), []
        for t in self.score.targets:
            entry = torch.zeros_like(y) if isinstance(t, Custom) else t.cotangent(y, i)
            column = next(ones).expand_as(extra) if isinstance(t, Custom) else torch.zeros_like(extra)
            found.append(torch.cat([entry.reshape(len(v), -1), column], 1))
        return torch.stack(found)

    def _parts(self, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """The model's output, and the custom scores if there are any."""
        extra = len(self.custom)
        if not extra:
            return v, None
        return v[:, :-extra].reshape(len(v), *self._shape), v[:, -extra:]
