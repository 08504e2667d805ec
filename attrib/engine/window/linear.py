"""A linear layer on all positions, updated from the box that changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from attrib.engine.graph import Node, Ref
from attrib.engine.window.aggregations import Bridge, Gathers, Piece, bridge
from attrib.engine.window.program import PerRow, Program
from attrib.engine.window.rule import FLAT, LOCAL, Known

aten = torch.ops.aten

BLOCK_ELEMENTS = 1 << 22  # of the weights that are laid out at once
CACHED_ELEMENTS = 1 << 18
FEW_FEATURES = 32  # in a box of a vector: then rows of the weight are added up one by one


class Linear:
    """A linear layer on all positions: the change times the rows of the weight that belong to the box.

    Parameters
    ----------
    node : Node
    source : Ref
        Of shape (1, ...), flattened for the layer if it has more dims than two.
    shape, axes : tuple of int
        The source's.
    weight : Tensor (features, out)
    """

    keeps_box = True

    def __init__(
        self, node: Node, source: Ref, shape: tuple[int, ...], axes: tuple[int, ...], weight: Tensor
    ) -> None:
        self.node, self.source, self.axes, self.weight = node, source, axes, weight
        self.others = tuple(d for d in range(1, len(shape)) if d not in axes)
        self.shape = shape
        self.channels = math.prod(shape[d] for d in self.others)

    def blocks(self, places: Sequence[int], room: int = BLOCK_ELEMENTS) -> Iterator[Tensor]:
        """The weights (out, channels) of some positions, ascending, numbered in rows.

        A few of them are laid out at once, in memory that the next ones take over.
        """
        k = len(self.axes)
        w = self.weight.T.unflatten(1, self.shape[1:]).movedim(self.axes, tuple(range(-k, 0))).flatten(-k)
        w = w.flatten(1, -2) if w.ndim > 2 else w.unsqueeze(1)
        some = max(1, min(len(places), min(room, BLOCK_ELEMENTS) // w[..., 0].numel()))
        laid = w.new_empty(some, *w.shape[:2])
        for first in range(0, len(places), some):
            at = list(places[first : first + some])
            run = at[-1] - at[0] + 1 == len(at)
            _first_last(w[..., at[0] : at[-1] + 1] if run else w[..., at], laid[: len(at)])
            yield from laid[: len(at)]

    def piece(self, at: Gathers) -> Tensor:
        """The change (rows, positions along each axis, channels)."""
        change = at.change(self.source).permute(0, *self.axes, *self.others)
        return change.reshape(*change.shape[: len(self.axes) + 1], self.channels)

    def result(self, before: Tensor, pieces: list[Piece], room: int) -> Tensor:
        """The change of every row, times the weights of its positions, added to the result without edits."""
        out, first, wide = before.repeat(sum(p.rows for p in pieces), 1), 0, []
        for p in pieces:
            if p.value is not None and len(self.shape) == 2 and p.value.shape[1] <= FEW_FEATURES:
                self._row_by_row(out[first : first + p.rows], p.starts, p.value)
            elif p.value is not None:
                wide.append((first, p.starts, p.value))
            first += p.rows
        self._position_by_position(out, wide, room)
        return out

    def _row_by_row(self, out: Tensor, starts: Tensor, change: Tensor) -> None:
        """Every feature of the boxes in turn, each row with its own row of the weight."""
        for j in range(change.shape[1]):
            # the change is zero beyond the ends
            at = (starts[:, 0] + j).clamp(0, self.shape[1] - 1).to(out.device)
            out.addcmul_(change[:, j], self.weight.index_select(0, at))

    def _position_by_position(self, out: Tensor, parts: list[tuple[int, Tensor, Tensor]], room: int) -> None:
        """Every position's weights in turn, for all rows whose box has it: no second weight is laid out."""
        ends = [self.shape[a] for a in self.axes]
        there: dict[int, list[tuple[int, Tensor, Tensor, Tensor]]] = {}
        for first, starts, change in parts:
            for place, box, number in _by_position(starts, change.shape[1:-1], ends):
                there.setdefault(place, []).append((first, change.flatten(1, -2), box, number))
        places = sorted(there)
        for place, block in zip(places, self.blocks(places, room), strict=True):
            rows = torch.cat([first + box for first, _, box, _ in there[place]])
            changes = [t[box.to(t.device), number.to(t.device)] for _, t, box, number in there[place]]
            out.index_add_(0, rows.to(out.device), product(torch.cat(changes), block))

    def work(self, width: int) -> float:
        """The box's features times the layer's outputs."""
        return float(width * self.channels * self.weight.shape[1])


def _first_last(w: Tensor, laid: Tensor) -> None:
    """Lay (out, channels, positions) out as (positions, out, channels), in parts that the cache holds."""
    some = max(1, CACHED_ELEMENTS // (w.stride(0) or 1))
    for first in range(0, len(w), some):
        part = w[first : first + some]
        laid[:, first : first + len(part)].copy_(part.permute(2, 0, 1))


def _by_position(
    starts: Tensor, sizes: Sequence[int], ends: Sequence[int]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The positions that boxes have, numbered in rows; for each, which boxes have it, and its number in each of them."""
    offsets = torch.cartesian_prod(*map(torch.arange, sizes)).view(-1, len(sizes))
    at = starts[:, None] + offsets  # (boxes, positions, k)
    line = torch.zeros(at.shape[:2], dtype=torch.long)
    inside = torch.ones(at.shape[:2], dtype=torch.bool)
    for k, end in enumerate(ends):
        inside &= (at[..., k] >= 0) & (at[..., k] < end)
        line = line * end + at[..., k]
    box, number = inside.nonzero().unbind(1)
    places, order = line[box, number].sort(stable=True)
    found, counts = places.unique_consecutive(return_counts=True)
    parts = (t[order].split(counts.tolist()) for t in (box, number))
    yield from zip(found.tolist(), *parts, strict=True)


@bridge(aten.addmm, aten.mm)
def linear(node: Node, known: Known) -> Bridge | None:
    """A constant weight on a flattened value, or on vectors of features."""
    *bias, source, weight = node.args[:3]
    if node.kwargs or len(node.args) > 3 or any(type(r) is not Ref for r in node.args):
        return None
    if any(r not in known.constants for r in (*bias, weight)):
        return None
    if not (known.local(source, FLAT) or (known.local(source, LOCAL) and len(known.shape[source]) == 2)):
        return None
    return Linear(node, source, known.shape[source], known.axes[source], known.constants[weight])


# FOLDED attrib/engine/window/linear.py: """Matrix products of rows with the weights of a layer."""
LEAST_ROWS, LEAST_PRODUCTS = 24, 1 << 20  # below, starting a convolution takes longer than it saves


def product(a: Tensor, w: Tensor) -> Tensor:
    """`a @ w.T`, for `a` (m, k) and `w` (n, k).

    In single precision on a CPU by a convolution of width 1: PyTorch leaves convolutions to oneDNN, but matrix products
    to MKL, which takes twice the time on processors of another make than its own.
    """
    (m, k), n = a.shape, len(w)
    if not convolvable(a) or m < LEAST_ROWS or m * k * n < LEAST_PRODUCTS:
        return a @ w.T
    pixels = a.contiguous().view(1, 1, m, k).permute(0, 3, 1, 2)
    # asked for by name: F.conv2d sends what it takes for a small image to MKL after all
    found = torch.mkldnn_convolution(pixels, w[:, :, None, None], None, [0, 0], [1, 1], [1, 1], 1)
    return found.permute(0, 2, 3, 1).reshape(m, n)


def convolvable(t: Tensor) -> bool:
    """Whether oneDNN convolves such values."""
    here = t.dtype == torch.float32 and t.device.type == "cpu"
    return here and torch.backends.mkldnn.is_available() and hasattr(torch, "mkldnn_convolution")


# FOLDED attrib/engine/window/linear.py: """Indices that count over all rows: what a recording has where a model reads a value in another memory layout."""
aten = torch.ops.aten


def plain(program: Program, shape: dict[Ref, tuple[int, ...]]) -> Program:
    """The same program, where a value laid flat and read in its own order is only given another shape.

    PyTorch's adaptive pools of one cell do this in channels-last memory.
    """
    made = {ref: node for node in program.nodes for ref in node.writes}
    nodes = tuple(_reshaped(node, made, program, shape) or node for node in program.nodes)
    return _needed(replace(program, nodes=nodes))


def _reshaped(
    node: Node, made: dict[Ref, Node], program: Program, shape: dict[Ref, tuple[int, ...]]
) -> Node | None:
    """The op as a change of shape, if it is one."""
    if node.op is not aten.index.Tensor or len(node.args[1]) != 1 or node.args[1][0] not in program.counted:
        return None
    flat = made.get(node.args[0])
    if flat is None or flat.op is not aten.reshape.default or list(flat.args[1]) != [-1]:
        return None
    if math.prod(shape[flat.args[0]]) != math.prod(shape[node.out]):
        return None
    return replace(node, op=aten.reshape.default, args=(flat.args[0], [PerRow(1), *shape[node.out][1:]]))


def _needed(program: Program) -> Program:
    wanted, kept = {program.output}, []
    for node in reversed(program.nodes):
        if not wanted.isdisjoint(node.writes):
            wanted.update(node.reads)
            kept.append(node)
    return replace(program, nodes=tuple(reversed(kept)))
