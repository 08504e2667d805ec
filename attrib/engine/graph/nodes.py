"""A recorded graph: its ops, the lines of the model that called them, the loop that runs them, and which ops are linear."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload

_TORCH = str(Path(torch.__file__).parent)
_ATTRIB = str(Path(__file__).parents[2])
_LAYERS = str(Path(torch.__file__).parent / "nn" / "modules")
_GENERIC = ("module.py", "container.py")  # frames between a layer and its caller, which say nothing

aten = torch.ops.aten

VIEWS = (
    *(aten.reshape, aten.alias, aten.clone, aten.contiguous, aten.expand),
    *(aten.permute, aten.transpose, aten.t, aten.squeeze, aten.unsqueeze, aten.flip, aten.roll, aten.repeat),
    *(aten.select, aten.slice, aten.unbind, aten.split, aten.split_with_sizes, aten.narrow, aten.diagonal),
    *(aten.unsafe_split, aten.unsafe_split_with_sizes, aten.unfold, aten.view_as_real),
    *(aten.view_as_complex, aten.pixel_shuffle, aten.pixel_unshuffle, aten.channel_shuffle, aten.rot90),
)
GATHERS = (
    *(aten.index, aten.index_select, aten.gather, aten.take, aten.masked_select),
    *(aten.im2col, aten.col2im, aten.tril, aten.triu),
    *(aten.reflection_pad1d, aten.reflection_pad2d, aten.reflection_pad3d),
    *(aten.replication_pad1d, aten.replication_pad2d, aten.replication_pad3d),
)
SUMS = (
    *(aten.sum, aten.mean, aten.cumsum, aten.neg, aten.trace, aten.real, aten.imag),
    *(aten._fft_r2c, aten._fft_c2r, aten._fft_c2c, aten._conj, aten._conj_physical, aten.resolve_conj),
)
AVERAGES = (
    *(aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d),
    *(aten.adaptive_avg_pool1d, aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d),
    *(aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d),
    *(aten._upsample_nearest_exact1d, aten._upsample_nearest_exact2d, aten._upsample_nearest_exact3d),
    *(aten.upsample_linear1d, aten.upsample_bilinear2d, aten.upsample_bicubic2d, aten.upsample_trilinear3d),
    *(aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa),
)


class Ref(int):
    """The number of a value in a graph; it stands for the tensor in the arguments of a node."""


class Source(NamedTuple):
    """The line of Python that called an op."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}" if self.line else "an unknown line"


UNKNOWN = Source("", 0, "")


@dataclass(frozen=True)
class Node:
    """One call of an ATen op.

    Attributes
    ----------
    op : OpOverload
        The op; it never writes to its arguments.
    args, kwargs
        Its arguments, with a `Ref` for each tensor.
    out : Ref, or list of Ref
        Where its results go; a list where the op returns several.
    source : Source
        The innermost line outside torch that called it.
    """

    op: OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    source: Source

    @cached_property
    def reads(self) -> tuple[Ref, ...]:
        """The values that the op takes."""
        return tuple(refs((self.args, self.kwargs)))

    @cached_property
    def writes(self) -> tuple[Ref, ...]:
        """The values that the op returns."""
        return tuple(refs(self.out))


@dataclass(frozen=True)
class Graph:
    """A callable's ops, in order, from its inputs to its output.

    Attributes
    ----------
    inputs : tuple of Ref
        One per input tensor.
    nodes : tuple of Node
        The ops that depend on an input (or on `lifted`) and that the output depends on.
    output : Ref
        The result.
    constants : dict of Ref to Tensor
        Parameters, buffers, and values computed from these alone.
    lifted : dict of Ref to Tensor
        Tensors of an enclosing `torch.func` transform: constants that carry derivatives.
    value : Tensor
        What the callable returned while it was recorded.
    translated : bool
        Whether a translation to torch was recorded for a model of another library; `value` is that of the translation.
    exposed : bool
        Whether the memory of a tensor was handed to code outside torch.
    seen : dict of Ref to Tensor
        Results of the nodes during the recording, if `record` was called with `keep`. A replay removes the values that
        it uses.
    """

    inputs: tuple[Ref, ...]
    nodes: tuple[Node, ...]
    output: Ref
    constants: dict[Ref, Tensor]
    lifted: dict[Ref, Tensor]
    value: Tensor
    translated: bool = False
    exposed: bool = False
    seen: dict[Ref, Tensor] = field(default_factory=dict)

    @cached_property
    def eps(self) -> float:
        """That of the coarsest numbers it computes with: models of double precision take some steps in single."""
        dtypes = [self.value.dtype, *(node.kwargs.get("dtype") for node in self.nodes)]
        return max(torch.finfo(t).eps for t in dtypes if isinstance(t, torch.dtype) and t.is_floating_point)

    @cached_property
    def last_reads(self) -> tuple[tuple[Ref, ...], ...]:
        """For each node, the values that no later node reads."""
        last = {ref: i for i, node in enumerate(self.nodes) for ref in (*node.writes, *node.reads)}
        last.pop(self.output, None)
        done: list[list[Ref]] = [[] for _ in self.nodes]
        for ref, i in last.items():
            done[i].append(ref)
        return tuple(map(tuple, done))

    def run(self, inputs: Sequence[Any], call: Callable[..., Any] | None = None) -> Any:
        """Run the graph on `inputs`; free each value after its last use.

        Parameters
        ----------
        inputs : sequence
            A value for each of `self.inputs`: tensors, or any other values that `call` takes.
        call : callable, optional
            `call(node, args, kwargs)` gives the results of a node; the default calls the op itself.

        Returns
        -------
        The value of `self.output`.
        """
        call = call or (lambda node, args, kwargs: node.op(*args, **kwargs))
        values: dict[Ref, Any] = {
            **self.constants,
            **self.lifted,
            **dict(zip(self.inputs, inputs, strict=True)),
        }
        for node, done in zip(self.nodes, self.last_reads, strict=True):
            result = call(node, fill(node.args, values), fill_options(node.kwargs, values))
            store(node.out, result, values)
            for ref in done:
                del values[ref]
        return values[self.output]


def fill(args: Sequence[Any], values: dict[Ref, Any]) -> list[Any]:
    """`args` with each Ref replaced by its value."""
    return [
        values[a] if type(a) is Ref else fill(a, values) if type(a) in (list, tuple) else a  # type: ignore[index]
        for a in args
    ]


def fill_options(kwargs: dict[str, Any], values: dict[Ref, Any]) -> dict[str, Any]:
    """`kwargs` with each Ref replaced by its value."""
    return dict(zip(kwargs, fill(list(kwargs.values()), values), strict=True)) if kwargs else kwargs


def store(out: Any, result: Any, values: dict[Ref, Any]) -> None:
    """Store the results of a node under the numbers in `out`."""
    if type(out) is Ref:
        values[out] = result
    else:
        values.update((ref, v) for ref, v in zip(out, result, strict=True) if ref is not None)


def refs(tree: Any) -> Iterator[Ref]:
    """Every Ref in nested lists, tuples and dicts."""
    if type(tree) is Ref:
        yield tree
    elif isinstance(tree, (list, tuple)):
        for branch in tree:
            yield from refs(branch)
    elif isinstance(tree, dict):
        yield from refs(list(tree.values()))


def at(source: Source, call: Callable[..., Any], *args: Any) -> Any:
    """``call(*args)``, whose ops are recorded under the line `source`: that of a program whose interpreter is in Python."""
    return call(*args)


def source_line(outermost: CodeType) -> Source:
    """The innermost line outside torch and attrib, no further out than the frame that runs `outermost`.

    A model that is built of torch's layers alone has no such line; the line in the layer stands in for it.
    """
    frame, layer = sys._getframe(1), UNKNOWN
    while frame is not None and frame.f_code is not outermost:
        code = frame.f_code
        if code is at.__code__:
            return frame.f_locals["source"]
        if not code.co_filename.startswith((_TORCH, _ATTRIB)):
            return Source(code.co_filename, frame.f_lineno, code.co_qualname)
        if (
            layer is UNKNOWN
            and code.co_filename.startswith(_LAYERS)
            and not code.co_filename.endswith(_GENERIC)
        ):
            layer = Source(code.co_filename, frame.f_lineno, code.co_qualname)
        frame = frame.f_back  # type: ignore[assignment]
    return layer
