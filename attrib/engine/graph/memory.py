"""Which value each tensor of a running callable holds, also after writes through tensors that share its memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.engine.graph.nodes import Ref


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
