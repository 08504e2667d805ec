"""What the methods that edit share: windows on a regular grid, and several inputs of which one is edited at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.engine.edits.scan import Notes
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors
from attrib.functional.explanation import Explanation, finish

Size = int | Sequence[int] | Mapping[int, int]
Sizes = Size | tuple[Size, ...]


class Grid(NamedTuple):
    """Windows at equal distances along every dim; the last ones are cut off at the end.

    Attributes
    ----------
    shape : tuple of int
        A sample's shape.
    window, stride : tuple of int
        Per dim.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Windows along each dim."""
        return tuple(
            -(-(n - w) // s) + 1 for n, w, s in zip(self.shape, self.window, self.stride, strict=True)
        )

    @property
    def axes(self) -> tuple[int, ...]:
        """The dims of the input, batch included, along which windows do not cover everything."""
        return tuple(d + 1 for d, (n, w) in enumerate(zip(self.shape, self.window, strict=True)) if w < n)

    def boxes(self) -> tuple[Tensor, Tensor]:
        """First and last but one position (windows, k) along `axes`, the last dim fastest."""
        lines = [torch.tensor(self._line(axis - 1)) for axis in self.axes]
        if not lines:
            return torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 0, dtype=torch.long)
        lo = torch.cartesian_prod(*lines).view(-1, len(lines))
        sizes = torch.tensor([self.window[axis - 1] for axis in self.axes])
        return lo, (lo + sizes).minimum(torch.tensor([self.shape[axis - 1] for axis in self.axes]))

    def _line(self, d: int) -> list[int]:
        """Starts of the windows along one dim."""
        return [k * self.stride[d] for k in range(self.counts[d])]

    def spread(self, values: Tensor) -> Tensor:
        """Values of windows (T, N, *counts) to features (T, N, *shape): the mean over the windows that cover each."""
        for d, n in enumerate(self.shape):
            total = values.new_zeros(*values.shape[: d + 2], n, *values.shape[d + 3 :])
            cover = torch.zeros(n, dtype=values.dtype, device=values.device)
            for k, lo in enumerate(self._line(d)):
                hi = min(lo + self.window[d], n)
                total.narrow(d + 2, lo, hi - lo).add_(values.narrow(d + 2, k, 1))
                cover[lo:hi] += 1
            values = total / cover.view(-1, *[1] * (len(self.shape) - d - 1))
        return values


def per_input(sizes: Any, xs: Sequence[Any], name: str) -> tuple[Any, ...]:
    """Sizes for each input: the caller gave a tuple of them, or one for all."""
    if len(xs) > 1 and isinstance(sizes, tuple | list):
        if len(sizes) != len(xs):
            raise ValueError(f"`{name}` has {len(sizes)} entries for {len(xs)} inputs; pass one per input")
        return tuple(sizes)
    return (sizes,) * len(xs)


def grid(
    window: Any,
    stride: Any,
    shape: tuple[int, ...],
    names: Sequence[Hashable] | None = None,
    which: str = "x",
) -> Grid:
    """The grid of windows over a sample; errors call its dims by `names`, or by number, and the input `which`.

    Raises
    ------
    ValueError, TypeError
        For sizes that are no positive ints, windows larger than the sample, strides that leave features uncovered.
    """
    sizes = _per_dim(window, shape, "window", shape)
    strides = _per_dim(stride, shape, "stride", (1,) * len(shape))
    if isinstance(window, int):
        sizes = tuple(map(min, sizes, shape))
    called = [f"dim {d + 1}" for d in range(len(shape))] if names is None else [repr(d) for d in names]
    for dim, n, w, s in zip(called, shape, sizes, strides, strict=True):
        if w > n:
            raise ValueError(
                f"`window` has size {w} along {dim}, but `{which}` has {n} there; pass at most {n}"
            )
        if w < n and s > w:
            raise ValueError(
                f"`stride` is {s} and `window` {w} along {dim}: features between windows would never be "
                "covered; pass a stride of at most the window"
            )
    return Grid(shape, sizes, strides)


def _per_dim(sizes: Any, shape: tuple[int, ...], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """One size for each dim of a sample."""
    if isinstance(sizes, Mapping):
        wrong = [d for d in sizes if d not in range(1, len(shape) + 1)]
        if wrong:
            raise ValueError(
                f"`{name}` names the dims {wrong}, expected some of 1 to {len(shape)} (0 is the batch)"
            )
        each = tuple(sizes.get(d + 1, default[d]) for d in range(len(shape)))
    elif isinstance(sizes, Sequence) and not isinstance(sizes, str):
        each = tuple(sizes)
    else:
        each = (sizes,) * len(shape)
    if len(each) != len(shape):
        raise ValueError(
            f"`{name}` has {len(each)} sizes, expected one for each of the {len(shape)} dims of a sample"
        )
    if any(isinstance(s, bool) or not isinstance(s, int) for s in each):
        raise TypeError(f"`{name}` is {sizes!r}, expected ints")
    if any(s < 1 for s in each):
        raise ValueError(f"`{name}` is {sizes!r}, expected positive ints")
    return each


# ------------------------------------------------------------------ several inputs

OneInput = Callable[[Passes, int, Tensor], tuple[Tensor, Tensor, Notes]]


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


def each_input(passes: Passes, xs: tuple[Tensor, ...], chosen: list[int], of_input: OneInput) -> Explanation:
    """The attribution of every chosen input, NaN for the others.

    Parameters
    ----------
    passes : Passes
        Entered.
    xs : tuple of Tensor
        The inputs.
    chosen : list of int
        Inputs to edit.
    of_input : callable
        (passes, number of the input, scores (T, N)) to its attribution (T, N, ...), which features of (N, ...) it says
        something about, and notes.
    """
    score = passes.scores(xs)
    effects = [score.new_zeros(len(score), *t.shape) for t in xs]
    covered = [torch.zeros(1, dtype=torch.bool) for _ in xs]
    notes: list[Notes] = []
    for j in chosen:
        effects[j], seen, more = of_input(passes, j, score)
        covered[j] = seen.bool()
        notes.append(more)
    explanation = finish(passes, xs, tuple(effects), score, notes=_joined(notes))
    attribution = explanation.attribution
    parts = attribution if isinstance(attribution, tuple) else (attribution,)
    masked = tuple(torch.where(k.to(p.device), p, torch.nan) for p, k in zip(parts, covered, strict=True))
    return explanation._replace(attribution=_like(attribution, masked))


def _like(attribution: Tensors, parts: tuple[Tensor, ...]) -> Tensors:
    return parts if isinstance(attribution, tuple) else parts[0]


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
