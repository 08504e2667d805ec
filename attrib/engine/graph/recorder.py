"""Runs a callable once and records each op that reaches torch's kernels and depends on the inputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import CodeType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from attrib.engine.graph.memory import Memory, key
from attrib.engine.graph.modes import Unfused, outside_transforms, plain
from attrib.engine.graph.nodes import Graph, Node, Ref, Source, source_line

aten = torch.ops.aten

Decompose = Callable[[OpOverload], Callable | None]

SHAPE_ONLY = {
    *(aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.zero),
    *(aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty, aten.new_empty_strided),
    *(aten.rand_like, aten.randn_like, aten.randint_like, aten.uniform),
}
SAME_VALUE = {aten.detach.default, aten.alias.default, aten.lift_fresh.default, aten.clone.default}
WHATEVER_LAYOUT = {aten.view.default: aten.reshape.default, aten._unsafe_view.default: aten.reshape.default}
REPLACES_MEMORY = {aten.set_, aten.resize_, aten.resize_as_}


def composite(op: OpOverload) -> Callable | None:
    """How torch itself expresses an op in smaller ones, where it always does."""
    return op.decompose if op.namespace == "aten" and op._can_decompose() else None


class Recorder(TorchDispatchMode):
    """Records a running callable.

    Parameters
    ----------
    inputs : sequence of Tensor
        The tensors whose use is recorded.
    decompose : callable
        As in `record`.
    outermost : CodeType
        The code that calls the recorded callable; source lines are looked for inside it only.

    Attributes
    ----------
    translated : bool
        Set by a model of another library that runs its translation while it is recorded.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first recorded op loads torch's compiler

    def __init__(self, inputs: Sequence[Tensor], decompose: Decompose, outermost: CodeType) -> None:
        super().__init__()
        self.decompose, self.outermost = decompose, outermost
        self.nodes: list[Node] = []
        self.decomposing: list[OpOverload] = []
        self.translated = False
        self.memory = Memory()
        self.wrote = False
        self.inputs = tuple(self.memory.activate(x) for x in inputs)

    def __torch_dispatch__(
        self, op: OpOverload, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = _tensors([*args, *kwargs.values()])
        if not any(map(self.memory.is_active, tensors)):
            return self.constant(op, args, kwargs)
        if op in SAME_VALUE:
            return self.rename(op, args[0], kwargs)
        if op.overloadpacket in SHAPE_ONLY:
            return self.keep(op(*args, **kwargs), [])
        if op is aten.as_strided.default:  # a place in memory; the memory knows which value is there
            return op(*args, **kwargs)
        smaller = None if op in WHATEVER_LAYOUT or op in self.decomposing else self.decompose(op)
        if smaller is not None:
            return self.take_apart(op, smaller, args, kwargs)
        return (self.mutate if op._schema.is_mutable else self.append)(op, args, kwargs)

    def take_apart(self, op: OpOverload, smaller: Callable, args: tuple, kwargs: dict) -> Any:
        """Record an op as smaller ones; if the op itself is among these, record it as it is."""
        self.decomposing.append(op)
        try:
            with self:
                return smaller(*args, **kwargs)
        finally:
            self.decomposing.pop()

    def append(self, op: OpOverload, args: tuple, kwargs: dict) -> Any:
        """Run an op and record it."""
        node_args, node_kwargs = self.numbers(args), {k: self.numbers(v) for k, v in kwargs.items()}
        result = op(*args, **kwargs)
        several = isinstance(result, (list, tuple))
        results = list(result) if several else [result]
        if not all(isinstance(r, Tensor) or r is None for r in results):
            if _is_validation():
                return result
            raise NotImplementedError(
                f"`f` takes a Python value from a tensor that depends on its inputs ({op} at {self.source()}): its "
                "control flow or its shapes may depend on them; use tensor operations such as torch.where"
            )
        outs = [None if r is None else self.memory.activate(r) for r in results]
        op = WHATEVER_LAYOUT.get(op, op)  # a replay may hold the values in another order
        self.nodes.append(Node(op, node_args, node_kwargs, outs if several else outs[0], self.source()))
        return result

    def constant(self, op: OpOverload, args: tuple, kwargs: dict) -> Any:
        """Run an op that does not depend on the inputs."""
        if op._schema.is_mutable:
            for target in _written(op, args, kwargs):
                self.memory.preserve(target)
        return self.keep(op(*args, **kwargs), _tensors([*args, *kwargs.values()]))

    def keep(self, result: Any, arguments: list[Tensor]) -> Any:
        """Note that `result` is constant."""
        self.memory.note_constants(_tensors(result), arguments)
        return result

    def rename(self, op: OpOverload, tensor: Tensor, kwargs: dict) -> Tensor:
        """Run an op whose result has the value of its argument."""
        ref, out = self.memory.find(tensor, self), op(tensor, **kwargs)
        self.memory.hold(out, ref)
        return out

    def numbers(self, tree: Any) -> Any:
        """`tree` with each tensor replaced by its number."""
        if isinstance(tree, Tensor):
            return self.memory.find(tree, self)
        return type(tree)(map(self.numbers, tree)) if type(tree) in (list, tuple) else tree

    def source(self) -> Source:
        """The line of the callable that runs now."""
        return source_line(self.outermost)

    # ------------------------------------------------------------------ ops that write

    def mutate(self, op: OpOverload, args: tuple, kwargs: dict) -> Any:
        """Record the pure counterpart of an op that writes, then write its result where the op writes."""
        self.wrote = True
        target, *others = _written(op, args, kwargs)
        if others or op.overloadpacket in REPLACES_MEMORY or op.namespace != "aten":
            raise NotImplementedError(
                f"{op} at {self.source()} writes in place and has no pure counterpart here"
            )
        if not self.memory.is_active(target) and key(target) not in self.memory.created:
            raise NotImplementedError(
                f"`f` writes a value that depends on its inputs into a tensor that it closes over ({op} at "
                f"{self.source()}); let it return a new tensor instead"
            )
        with self:
            result = _pure(op, target, args, kwargs)
        if torch.Tag.inplace_view in op.tags:  # changes the shape of the view, not the data
            ref = self.memory.find(result, self)
            target.as_strided_(result.shape, result.stride(), result.storage_offset())
            self.memory.name(target, ref)
        else:
            self.memory.write(target, result, self)
        return target

    # ------------------------------------------------------------------ the result

    def graph(self, value: Tensor, lifted: Iterable[tuple[Tensor, Tensor]], keep: bool = False) -> Graph:
        """The ops that `value` depends on; with `keep` also their results, unless some were overwritten."""
        output = self.memory.find(value, self)
        live, nodes = {output}, []
        for node in reversed(self.nodes):
            if not live.isdisjoint(node.writes):
                nodes.append(node)
                live.update(node.reads)
        stands_for = {self.memory.find(stand_in, self): original for original, stand_in in lifted}
        constants = live - self.memory.active
        return Graph(
            inputs=self.inputs,
            nodes=tuple(reversed(nodes)),
            output=output,
            constants={ref: self.memory.tensors[ref].detach() for ref in constants},
            lifted={ref: t for ref, t in stands_for.items() if ref in live},
            value=value.detach(),
            translated=self.translated,
            seen=self._seen(live - constants) if keep and not self.wrote else {},
        )

    def _seen(self, live: set[Ref]) -> dict[Ref, Tensor]:
        return {ref: self.memory.tensors[ref].detach() for ref in live if ref not in self.inputs}


def _pure(op: OpOverload, target: Tensor, args: tuple, kwargs: dict) -> Tensor:
    """What an op writes, as a new tensor."""
    packet = op.overloadpacket
    if packet is aten.copy_ or op is aten.fill_.Tensor:
        return args[1].to(target.dtype).expand(target.shape)
    if op is aten.fill_.Scalar:
        return torch.full_like(target, args[1])
    pure = getattr(aten, op._schema.name.split("::")[1].removesuffix("_"))
    result = pure(*args, **{k: v for k, v in kwargs.items() if k != "out"})
    return result if result.dtype == target.dtype else result.to(target.dtype)


def _written(op: OpOverload, args: tuple, kwargs: dict) -> list[Tensor]:
    """The arguments that an op writes to."""
    arguments = dict(zip((a.name for a in op._schema.arguments), args, strict=False)) | kwargs
    names = [a.name for a in op._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return _tensors([arguments[n] for n in names if n in arguments])


def _tensors(tree: Any) -> list[Tensor]:
    """The tensors of an op's arguments or results; several times faster than a pytree, and every op needs it."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (list, tuple)):
        return []
    return [t for branch in tree if branch is not None for t in _tensors(branch)]


def record(
    f: Callable[..., Tensor], inputs: Sequence[Tensor], decompose: Decompose = composite, keep: bool = False
) -> Graph:
    """Run `f` once and record every ATen op between its inputs and its output.

    Writes in place become their pure counterparts, through views too; `detach` is dropped; values that do not depend on
    an input become constants.

    Parameters
    ----------
    f : callable
        Takes the inputs and returns a tensor.
    inputs : sequence of Tensor
        Arguments of the run. `f` gets copies, so it may write to them. Under `torch.func.vmap` the graph is that of the
        first example.
    decompose : callable, optional
        `decompose(op)` gives a Python function to record in place of an op, or None to record the op itself. The
        default decomposes the ops that torch itself always decomposes.
    keep : bool, default False
        Keep the result of each op in `Graph.seen`, unless `f` writes in place or hands out the memory of a tensor.

    Returns
    -------
    Graph

    Raises
    ------
    NotImplementedError
        `f` takes a Python value from a tensor that depends on its inputs, or writes such a tensor into memory that it
        closes over, or calls an op that writes and has no pure counterpart.
    TypeError
        `f` does not return one tensor.

    Notes
    -----
    One forward pass of `f`; all activations stay in memory until the recording ends.

    Examples
    --------
    >>> import torch
    >>> graph = record(lambda x: (x * 2).relu_().sum(), [torch.ones(3)])
    >>> [str(node.op) for node in graph.nodes]
    ['aten.mul.Tensor', 'aten.relu.default', 'aten.sum.default']
    >>> graph.run([torch.tensor([1.0, -1.0, 2.0])])
    tensor(6.)
    """
    with outside_transforms() as lifted:
        copies = [plain(x).clone(memory_format=torch.contiguous_format) for x in inputs]
        recorder = Recorder(copies, decompose, record.__code__)  # no source line is looked for outside
        lifted.register = recorder.memory.activate
        with Unfused(lambda op: decompose(op) is None) as mode, recorder:
            value = f(*copies)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"`f` returned {type(value).__name__}, expected one tensor; pass a function that picks it"
            )
        keep = keep and not (lifted.pairs or mode.exposed)
        return replace(recorder.graph(value, lifted.pairs.values(), keep), exposed=mode.exposed)


def evaluate(f: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """`f(*inputs)` on plain tensors, without derivatives; under `torch.func.vmap`, that of the first example."""
    with outside_transforms():
        return f(*(plain(x) for x in inputs))


def _is_validation() -> bool:
    """Whether a distribution of torch asks for a value to check its parameters: nothing but an error can follow from it."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__") == "torch.distributions.distribution":
            return frame.f_code.co_name in ("__init__", "_validate_sample")
        frame = frame.f_back  # type: ignore[assignment]
    return False
