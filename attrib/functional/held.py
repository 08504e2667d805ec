"""Several inputs: one is edited, the others are held."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attrib.engine.gradients import Kernel
from attrib.engine.inputs import Tensors
from attrib.engine.scan import Notes
from attrib.functional.explanation import Explanation, finish

One = Callable[[Kernel, int, Tensor], tuple[Tensor, Tensor, Notes]]


def edited_inputs(xs: Sequence[Tensor], only: int | None) -> list[int]:
    """The numbers of the inputs to edit.

    Raises
    ------
    TypeError, ValueError
        If `only` is no number of an input.
    """
    if only is None:
        return list(range(len(xs)))
    if isinstance(only, bool) or not isinstance(only, int):
        raise TypeError(f"`only` is {only!r}, expected the number of an input: 0 to {len(xs) - 1}")
    if not 0 <= only < len(xs):
        raise ValueError(f"`only` is {only}, expected the number of an input: 0 to {len(xs) - 1}")
    return [only]


def each_input(kernel: Kernel, xs: tuple[Tensor, ...], chosen: list[int], one: One) -> Explanation:
    """The attribution of every chosen input, NaN for the others.

    Parameters
    ----------
    kernel : Kernel
        Entered.
    xs : tuple of Tensor
        The inputs.
    chosen : list of int
        Inputs to edit.
    one : callable
        (kernel, number of the input, scores (T, N)) to its attribution (T, N, ...), which features of (N, ...) it says
        something about, and notes.
    """
    kernel.batches.expect(len(xs[0]), more=True)
    score = kernel.scores(xs)
    found = [torch.zeros(len(score), *t.shape, dtype=t.dtype) for t in xs]
    known = [torch.zeros(1, dtype=torch.bool) for _ in xs]
    notes: list[Notes] = []
    for j in chosen:
        found[j], seen, more = one(kernel, j, score)
        known[j] = seen.bool()
        notes.append(more)
    explanation = finish(kernel, xs, tuple(found), score, notes=_joined(notes))
    given = explanation.attribution
    parts = given if isinstance(given, tuple) else (given,)
    shown = tuple(torch.where(k.to(p.device), p, torch.nan) for p, k in zip(parts, known, strict=True))
    return explanation._replace(attribution=_like(given, shown))


def _like(given: Tensors, parts: tuple[Tensor, ...]) -> Tensors:
    return parts if isinstance(given, tuple) else parts[0]


def _joined(notes: list[Notes]) -> Notes:
    """Notes of several inputs: numbers are summed, differing words listed."""
    if len(notes) == 1:
        return notes[0]
    joined: Notes = {}
    for name in dict.fromkeys(k for n in notes for k in n):
        values = [n[name] for n in notes if name in n]
        numbers = [v for v in values if not isinstance(v, str)]
        joined[name] = (
            sum(numbers) if len(numbers) == len(values) else "; ".join(dict.fromkeys(map(str, values)))
        )
    return joined
