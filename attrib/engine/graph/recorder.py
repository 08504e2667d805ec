"""Runs a callable once and records each op that reaches torch's kernels and depends on the inputs.

It knows which value each tensor holds, also after writes through tensors that share its memory.
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

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
            if _is_validation() or _only_raises(self.source()):
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


def _only_raises(source: Source) -> bool:
    """Whether a line is of the condition of an `assert`, or of an `if` that does nothing but raise: then no value follows from it."""
    try:
        tree = ast.parse("".join(linecache.getlines(source.file)))
    except (SyntaxError, ValueError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assert | ast.If):
            continue
        if isinstance(node, ast.If) and (node.orelse or not all(isinstance(s, ast.Raise) for s in node.body)):
            continue
        if node.test.lineno <= source.line <= (node.test.end_lineno or node.test.lineno):
            return not any(isinstance(n, ast.NamedExpr) for n in ast.walk(node.test))
    return False


def key(tensor: Tensor) -> int:
    """A number that identifies the memory of a tensor."""
    return tensor.untyped_storage()._cdata


def layout(tensor: Tensor) -> tuple:
    """Where a tensor's elements lie in its storage."""
    return tuple(tensor.shape), tensor.stride(), tensor.storage_offset(), tensor.dtype


def box(view: Tensor, owner: Tensor) -> list[tuple[int, int]] | None:
    """(start, size) of a view along each of its owner's dims, if it is a plain slice of a contiguous owner."""
    if view.stride() != owner.stride() or not owner.is_contiguous() or view.dtype != owner.dtype:
        return None
    offset: int = view.storage_offset() - owner.storage_offset()  # type: ignore[assignment]
    spans = []
    for stride, size, full in zip(owner.stride(), view.shape, owner.shape, strict=True):
        start, offset = divmod(offset, stride) if stride else (0, offset)
        if start < 0 or start + size > full:
            return None
        spans.append((start, size))
    return spans


def disjoint(a: Tensor, b: Tensor, owner: Tensor) -> bool:
    """Whether two views certainly share no element: their boxes of the owner do not meet."""
    box_a, box_b = box(a, owner), box(b, owner)
    if box_a is None or box_b is None:
        return False
    return any(lo + n <= other or other + m <= lo for (lo, n), (other, m) in zip(box_a, box_b, strict=True))


def positions(view: Tensor, owner: Tensor) -> Tensor:
    """Indices into `owner.reshape(-1)` of a view's elements, in the view's shape."""
    if view.dtype != owner.dtype:
        raise NotImplementedError(
            f"`f` reads memory written as {owner.dtype} as {view.dtype}; use .to() instead"
        )
    size = owner.untyped_storage().nbytes() // owner.element_size()
    addresses = torch.arange(size, device=owner.device)
    in_owner = addresses.as_strided(*layout(owner)[:3]).reshape(-1)
    order = torch.full((size,), -1, device=owner.device)  # of the owner's elements; -1 outside it
    order[in_owner] = torch.arange(owner.numel(), device=owner.device)
    index = order[addresses.as_strided(*layout(view)[:3])]
    if bool((index < 0).any()):
        raise NotImplementedError(
            "`f` has a view of an activation's memory that reaches outside the activation"
        )
    return index


class Write(NamedTuple):
    """New values for a part of a storage."""

    tensor: Tensor
    ref: Ref


@dataclass
class Storage:
    """A piece of memory that active tensors look into.

    Attributes
    ----------
    owner : Tensor
        A tensor that covers all of it.
    ref : Ref
        The owner's value before `writes`.
    writes : list of Write
        Writes to parts of the owner, in order.
    version : int
        How many writes there were, including those that a later write to the whole owner replaced.
    """

    owner: Tensor
    ref: Ref
    writes: list[Write] = field(default_factory=list)
    version: int = 0

    def write(self, tensor: Tensor, ref: Ref) -> None:
        """Note that `tensor`, which looks into this memory, now holds the value `ref`."""
        self.version += 1
        if layout(tensor) == layout(self.owner):
            self.ref, self.writes = ref, []
        else:
            self.writes.append(Write(tensor.as_strided(*layout(tensor)[:3]), ref))

    def untouched(self, tensor: Tensor, since: int) -> bool:
        """Whether every write after version `since` certainly missed `tensor`."""
        recent = self.version - since
        if recent > len(self.writes):
            return False
        return all(disjoint(tensor, w.tensor, self.owner) for w in self.writes[len(self.writes) - recent :])


class Name(NamedTuple):
    """The value a tensor held at some version of its storage."""

    ref: Ref
    version: int


class Memory:
    """The values of a recording: their numbers, and the tensors and memory that hold them.

    A tensor is active if it depends on the inputs of the recorded callable; other tensors are constants.

    Attributes
    ----------
    tensors : list of Tensor
        The tensor of each value, by its number.
    active : set of Ref
        Which values depend on the inputs.
    names : dict of int to Name
        The value that a tensor held last, by the tensor's id.
    storages : dict of int to Storage
        The memory of active tensors, by `key`.
    created : set of int
        Keys of the memory that the callable allocated for constants.
    alive : list of Tensor
        References that keep an id or an address from being used twice.
    """

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.active: set[Ref] = set()
        self.names: dict[int, Name] = {}
        self.storages: dict[int, Storage] = {}
        self.created: set[int] = set()
        self.alive: list[Tensor] = []

    # ------------------------------------------------------------------ new values

    def activate(self, tensor: Tensor) -> Ref:
        """Number a new value that depends on the inputs."""
        ref = self._number(tensor)
        self.active.add(ref)
        self.hold(tensor, ref)
        return ref

    def hold(self, tensor: Tensor, ref: Ref) -> None:
        """Note that a tensor holds an active value, in known or in new memory."""
        self.storages.setdefault(key(tensor), Storage(tensor, ref))
        self.name(tensor, ref)

    def note_constants(self, results: list[Tensor], arguments: list[Tensor]) -> None:
        """Note the memory that the callable allocated; views of tensors from outside lie in memory from outside."""
        outside = {key(t) for t in arguments} - self.created
        self.created.update({key(t) for t in results} - outside)
        self.alive.extend(results)

    def name(self, tensor: Tensor, ref: Ref) -> None:
        """Note which value a tensor holds now."""
        storage = self.storages.get(key(tensor))
        self.names[id(tensor)] = Name(ref, storage.version if storage else 0)
        self.alive.append(tensor)

    def _number(self, tensor: Tensor) -> Ref:
        self.tensors.append(tensor)
        self.alive.append(tensor)
        return Ref(len(self.tensors) - 1)

    # ------------------------------------------------------------------ the value of a tensor

    def is_active(self, tensor: Tensor) -> bool:
        """Whether a tensor depends on the inputs."""
        name = self.names.get(id(tensor))
        return (name is not None and name.ref in self.active) or key(tensor) in self.storages

    def find(self, tensor: Tensor, recording: AbstractContextManager) -> Ref:
        """The number of the value that a tensor holds now; ops that are needed to compute it run in `recording`."""
        if not self.is_active(tensor):
            return self.constant(tensor)
        storage, name = self.storages.get(key(tensor)), self.names.get(id(tensor))
        if storage is None:
            return self.names[id(tensor)].ref
        if name is None or (name.version < storage.version and not storage.untouched(tensor, name.version)):
            ref = self._read(tensor, storage, recording)
        else:
            ref = name.ref
        self.name(tensor, ref)
        return ref

    def constant(self, tensor: Tensor) -> Ref:
        """The number of a constant."""
        if id(tensor) not in self.names:
            self.names[id(tensor)] = Name(self._number(tensor), 0)
        return self.names[id(tensor)].ref

    def _read(self, tensor: Tensor, storage: Storage, recording: AbstractContextManager) -> Ref:
        """Record how a tensor's values follow from those of the memory it looks into."""
        shape = storage.owner.shape
        with recording:
            contents = self._copy(storage.ref)
            for write in storage.writes:
                index = self._positions(write.tensor, storage).reshape(-1)
                values = self._copy(write.ref).reshape(-1)
                contents = contents.reshape(-1).index_put((index,), values).view(shape)
            if layout(tensor) != layout(storage.owner):
                part: Any = contents.reshape(-1)[self._positions(tensor, storage)]
        storage.ref, storage.writes = self.find(contents, recording), []
        return storage.ref if layout(tensor) == layout(storage.owner) else self.find(part, recording)

    def _positions(self, view: Tensor, storage: Storage) -> Tensor:
        with torch.utils._python_dispatch._disable_current_modes():
            return positions(view, storage.owner)

    def _copy(self, ref: Ref) -> Tensor:
        """A tensor in new memory that holds a value under its number."""
        with torch.utils._python_dispatch._disable_current_modes():
            tensor = self.tensors[ref].clone()
        self.name(tensor, ref)
        return tensor

    # ------------------------------------------------------------------ writes

    def write(self, target: Tensor, result: Tensor, recording: AbstractContextManager) -> None:
        """Write `result` to `target`, and note the new value."""
        ref = self.find(result, recording)
        if key(target) not in self.storages:
            self._adopt(target)
        target.copy_(result)
        self.storages[key(target)].write(target, ref)
        self.name(target, ref)

    def preserve(self, target: Tensor) -> None:
        """Copy the constants that lie in the memory of `target`, which is about to be written to."""
        for ref, tensor in enumerate(self.tensors):
            if ref not in self.active and key(tensor) == key(target):
                self.tensors[ref] = tensor.clone()
                self.names.pop(id(tensor), None)

    def _adopt(self, target: Tensor) -> None:
        """Follow a constant's memory, to which the first active value is about to be written."""
        self.preserve(target)
        flat = torch.empty(0, dtype=target.dtype, device=target.device).set_(target.untyped_storage())
        self.storages[key(target)] = Storage(flat, self.constant(flat.clone()))
        self.alive.append(flat)
