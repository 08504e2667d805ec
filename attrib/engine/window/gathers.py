"""Indices that count over all rows: what a recording has where a model reads a value in another memory layout."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from attrib.engine.graph import Node, Ref
from attrib.engine.window.program import PerRow, Program

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
