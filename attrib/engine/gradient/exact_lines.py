"""The gradient of a piecewise linear network averaged along straight lines, exactly: one point for each of its linear parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attrib.engine.gradient.affine_first_layer import Lines
from attrib.engine.gradient.passes import Passes
from attrib.engine.gradient.piecewise_linear import Bends, Stretches, bending_order, divided, refuse_bent
from attrib.engine.graph.modes import transformed
from attrib.engine.model.parameters import External

Rows = tuple[Tensor, ...]


class Averages(NamedTuple):
    """What came of a group of lines.

    Attributes
    ----------
    mean : tuple of Tensor (T, n, ...)
        Average gradients where the lines run.
    segments : Tensor (n,)
        Linear parts of each line.
    evaluations : Tensor (n,)
        Rows of the model for each line.
    short : Tensor of bool (n,)
        Lines that had more parts than they were allowed.
    """

    mean: Rows
    segments: Tensor
    evaluations: Tensor
    short: Tensor


def refuse_what_is_bent(passes: Passes, xs: Rows) -> None:
    """Refuse models and targets that are not piecewise linear, before any line is walked.

    Raises
    ------
    NotImplementedError
        Naming the op and the line of the model.
    """
    if transformed() or any(isinstance(part, External) for part in passes.function.parts):
        raise NotImplementedError(
            '`quadrature` is "exact", which needs a torch model outside of torch.func transforms; take a rule'
        )
    graphs = passes.function.knowledge.graphs
    if graphs.get("piecewise linear") and not passes.want.functions:
        return
    i = torch.zeros(1, dtype=torch.long)
    rows = passes.rows_of(xs, i)

    def scores(*points: Tensor) -> Tensor:
        y = passes.function.output(*points, samples=i)
        return passes.score(y, i) if passes.want.functions else y

    refuse_bent(scores, rows)
    if not passes.want.functions:
        graphs["piecewise linear"] = True


def order_of(passes: Passes, lines: Lines) -> list[bool]:
    """Which of the ops that can bend depend on the rows, in the order in which they run."""
    size = sum(d.abs().flatten(1).sum(1) for d in lines.difference)
    line = int(size.argmax()) if isinstance(size, Tensor) else 0
    places = lines.points(torch.tensor([0.31, 0.87], dtype=torch.float64))

    def run(numbers: Tensor) -> None:
        i = torch.full_like(numbers, lines.samples.start + line)
        _run(passes, places(i, numbers), i)

    return bending_order(run)


def exact_averages(passes: Passes, lines: Lines, order: Sequence[bool], most: int) -> Averages:
    """Average gradients of a group of lines, each divided wherever the network bends on it.

    Parameters
    ----------
    passes : Passes
    lines : Lines
    order : sequence of bool
        Of `order_of`.
    most : int
        Evaluations of the model that a line may take. Of a line that would need more, what was not divided to the end is
        cut into equal parts, as many as are left.
    """
    parts, used, short = _divide(passes, lines, order, most)
    count = torch.bincount(parts.line, minlength=len(lines.samples))
    middle, length = (parts.left + parts.right) / 2, parts.right - parts.left
    passes.batches.expect(len(middle))
    sums: Rows = ()
    chunks = passes.gradients(
        lines.points(middle),
        lines.samples.start + parts.line,
        weights=length,
        numbers=torch.arange(len(middle)),
    )
    for chunk in chunks:
        sums = sums or tuple(_zeros(g, len(lines.samples)) for g in chunk.gradients)
        numbers, sizes = parts.line[chunk.start : chunk.start + chunk.scores.shape[1]].unique_consecutive(
            return_counts=True
        )
        for total, g in zip(sums, chunk.gradients, strict=True):
            for line, part in zip(numbers.tolist(), g.split(sizes.tolist(), 1), strict=True):
                total[:, line] += part.sum(1)
    return Averages(sums, count, used + count, short)


def _zeros(g: Tensor, n: int) -> Tensor:
    return torch.zeros(len(g), n, *g.shape[2:], dtype=g.dtype, device=g.device)


def _run(passes: Passes, rows: Rows, i: Tensor) -> None:
    """Run the model, and the target where it is a function, for the ops that they call."""
    y = passes.function(*rows, samples=i)
    if passes.want.functions:
        passes.score(y, i)


def _divide(
    passes: Passes, lines: Lines, order: Sequence[bool], most: int
) -> tuple[Stretches, Tensor, Tensor]:
    """The linear parts of the lines in order, the evaluations used to find them, and which lines had too many."""
    n = len(lines.samples)
    used, closed = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    short = torch.zeros(n, dtype=torch.bool)
    finished: list[Stretches] = []
    undivided: list[Stretches] = []
    stretches = Stretches(
        torch.arange(n), torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    )
    while len(stretches.line):
        ends = _ends(stretches)
        cost = torch.bincount(ends.line, minlength=n) + torch.bincount(stretches.line, minlength=n)
        late = (used + closed + cost > most) & (torch.bincount(stretches.line, minlength=n) > 0)
        if bool(late.any()):
            short |= late
            undivided.append(stretches.where(late[stretches.line]))
            stretches = stretches.where(~late[stretches.line])
            continue
        places = _bends(passes, lines, stretches, ends, order)
        used += torch.bincount(ends.line, minlength=n)
        bent = torch.zeros(len(stretches.line), dtype=torch.bool)
        for number, _ in places:
            bent[number] = True
        finished.append(stretches.where(~bent))
        closed += torch.bincount(finished[-1].line, minlength=n)
        if not bool(bent.any()):
            break
        parts = divided(stretches, places)
        many = used + closed + torch.bincount(parts.line, minlength=n) > most
        short |= many & (torch.bincount(parts.line, minlength=n) > 0)
        undivided.append(stretches.where(bent & many[stretches.line]))
        stretches = parts.where(~many[parts.line])
    if undivided:
        finished.append(_in_equal_parts(undivided, most - used - closed))
    line, left, right = (torch.cat([f[k] for f in finished]) for k in range(3))
    by_place = (line.double() * 2 + left).argsort(stable=True)  # places lie within [0, 1]
    return Stretches(line[by_place], left[by_place], right[by_place]), used, short


def _in_equal_parts(stretches: Sequence[Stretches], left_over: Tensor) -> Stretches:
    """Stretches in parts of about one length, as many on each line as evaluations are left over (n,), and one at least."""
    line, left, right = (torch.cat([s[k] for s in stretches]) for k in range(3))
    length = right - left
    total = torch.zeros(len(left_over), dtype=torch.float64).index_add_(0, line, length)
    spare = left_over - torch.bincount(line, minlength=len(left_over))
    count = 1 + (spare[line].clamp_min(0) * length / total[line]).long()
    owner = torch.arange(len(line)).repeat_interleave(count)
    step = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]
    begin = left[owner] + length[owner] * step / count[owner]
    end = torch.where(
        step + 1 == count[owner], right[owner], left[owner] + length[owner] * (step + 1) / count[owner]
    )
    return Stretches(line[owner], begin, end)


class _Ends(NamedTuple):
    """Ends of stretches, shared by neighbours: the line and place of each, and the number of each stretch's left end."""

    line: Tensor
    place: Tensor
    left: Tensor


def _ends(stretches: Stretches) -> _Ends:
    line, left, right = stretches
    shared = (line[1:] == line[:-1]) & (left[1:] == right[:-1])
    begins = torch.cat([torch.ones(1, dtype=torch.bool), ~shared])
    number = begins.cumsum(0) + torch.arange(len(line))  # of right ends
    count = int(number[-1]) + 1
    lines, places = torch.empty(count, dtype=torch.long), torch.empty(count, dtype=torch.float64)
    lines[number], places[number] = line, right
    lines[number - 1], places[number - 1] = line, left
    return _Ends(lines, places, number - 1)


def _bends(
    passes: Passes, lines: Lines, stretches: Stretches, ends: _Ends, order: Sequence[bool]
) -> list[tuple[Tensor, Tensor]]:
    """Numbers of stretches that bend, and the shares of their length at which they do."""
    gaps = len(ends.line) - 1
    owner = torch.full((gaps,), -1)
    owner[ends.left] = torch.arange(len(stretches.line))
    points = lines.points(ends.place)
    bends: list[tuple[Tensor, Tensor]] = []
    passes.batches.expect(gaps)
    for span in passes.batches.spans(gaps):
        places: list[tuple[Tensor, Tensor]] = []
        with span:
            k = torch.arange(span.start, span.stop + 1)
            i = lines.samples.start + ends.line[k]
            rows = points(i, k)
            eps = 4 * torch.finfo(rows[0].dtype).eps
            length = (ends.place[1:] - ends.place[:-1])[span.start : span.stop].clamp_min(eps)
            mode = Bends(
                (owner[span.start : span.stop] >= 0).to(rows[0].device),
                order,
                (eps / length).to(rows[0].device),
            )
            with mode:
                _run(passes, rows, i)
            places = [(owner[number + span.start], share) for number, share in mode.places]
        if span.done:
            bends.extend(places)
    return bends
