"""Scores of many edits of an input: by a pass of the model for each, or by what each one changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attrib.engine.edits import Edits, edited
from attrib.engine.gradients import Kernel

Notes = dict[str, str | int | float]

PATHS = ("auto", "window", "dense")


class Effects(NamedTuple):
    """What edits do to the scores.

    Attributes
    ----------
    values : Tensor (T, R)
        Score after the edit minus score before.
    notes : dict
        Which path ran (`path`), why (`path_reason`), and the number of edits (`edits`).
    """

    values: Tensor
    notes: Notes


def effects(
    kernel: Kernel, xs: Sequence[Tensor], j: int, edits: Edits, prediction: Tensor, path: str = "auto"
) -> Effects:
    """Changes of the scores by edits of input `j`, the other inputs held.

    Parameters
    ----------
    kernel : Kernel
    xs : tuple of Tensor
        The inputs.
    j : int
        The input that is edited.
    edits : Edits
    prediction : Tensor (T, N)
        Scores at the inputs.
    path : {"auto", "window", "dense"}

    Raises
    ------
    ValueError
        For another path, and for `"window"` where it cannot be taken.
    """
    if path not in PATHS:
        raise ValueError(f"`path` is {path!r}, expected one of {', '.join(PATHS)}")
    kernel.batches.expect(len(edits.samples))
    before = prediction.index_select(1, edits.samples.to(prediction.device))
    values, notes = (
        dense(kernel, xs, j, edits, len(prediction)),
        {"path": "dense", "path_reason": "asked for"},
    )
    kernel.engine = str(notes["path"])
    return Effects(values - before, {**notes, "edits": len(edits.samples)})


def dense(kernel: Kernel, xs: Sequence[Tensor], j: int, edits: Edits, targets: int) -> Tensor:
    """Scores (T, R) by one row of the model per edit."""
    total: Tensor | None = None

    def work(start: int, stop: int) -> tuple[int, Tensor]:
        r = torch.arange(start, stop)
        i = edits.samples[r]
        rows = [t[i.to(t.device)].to(kernel.device) for t in xs]
        rows[j] = edited(rows[j], edits, r)
        return start, kernel.score(kernel.function(*rows), i.to(kernel.device))

    for start, part in kernel.batches.run(len(edits.samples), work):
        total = part.new_zeros(targets, len(edits.samples)) if total is None else total
        total[:, start : start + part.shape[1]] = part
    return torch.zeros(targets, 0, device=kernel.device) if total is None else total
