"""What a callable is made of: modules, weights and buffers, their places and kinds, and models that torch does not see into."""

from __future__ import annotations

import functools
import inspect
import types
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from os import PathLike
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

Model = Callable[..., Any]

DEPTH = 4  # how many objects lie between a callable and a module that it uses
ENTRIES = 1000  # containers with more are data, not parts of a model

Mode = TypeVar("Mode", bound=TorchDispatchMode)

_PADDED: ContextVar[int] = ContextVar("room", default=0)


def refuse_uncallable(model: Any, name: str) -> None:
    """Raise a TypeError that says what to pass, where a model cannot be called, or is a class."""
    if callable(model) and not isinstance(model, type):
        return
    methods = [m for m in ("predict_proba", "decision_function", "predict") if hasattr(model, m)]
    networks = {n: v for n, v in getattr(model, "__dict__", {}).items() if isinstance(v, nn.Module)}
    if isinstance(model, type):
        what, fix = f"the class {model.__name__}", f"; pass an instance, {model.__name__}(...)"
    elif methods or networks:
        held = (
            [f"the network that it holds, .{max(networks, key=lambda n: _size(networks[n]))}"]
            if networks
            else []
        )
        edited = [f"its method {methods[0]}, with a method that edits inputs"] if methods else []
        what, fix = type(model).__name__, f"; pass {', or '.join(held + edited)}"
    elif isinstance(model, Mapping):
        what, fix = (
            type(model).__name__,
            "; build the network and load these weights into it: load_state_dict",
        )
    elif isinstance(model, str | PathLike):
        what, fix = f"{model!r}", "; build the network and load the weights of this file into it"
    else:
        what, fix = type(model).__name__, ""
    raise TypeError(f"`{name}` must be callable, got {what}{fix}")


def _size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def modules(model: Model) -> list[nn.Module]:
    """The `torch.nn.Module` objects a callable is made of, as far as Python shows them.

    Looks through `functools.partial`, bound methods, closures, defaults, globals that a function names, lists, dicts, and
    the attributes of objects.
    """
    return [v for v in _members(model) if isinstance(v, nn.Module)]


def parts(model: Model) -> list[nn.Module]:
    """All modules that a callable is made of, and all below them."""
    return [part for module in modules(model) for part in submodules(module)]


def weights(model: Model) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors that a function names."""
    for value in _members(model):
        if isinstance(value, Tensor):
            yield value
        else:
            yield from weights_of(submodules(value))


def weights_of(modules_: Iterator[nn.Module] | Sequence[nn.Module]) -> Iterator[Tensor]:
    """Parameters and buffers of some modules, without those below them."""
    for part in modules_:
        for tensors in (part._parameters, part._buffers):
            for t in tensors.values():
                if t is not None:
                    yield t
        if isinstance(part, External):
            yield from part.weights()


def submodules(module: nn.Module) -> Iterator[nn.Module]:
    """A module and all below it, as `modules()`, whose nested generators take long where layers lie deep."""
    seen: set[int] = set()
    stack: list[nn.Module | None] = [module]
    while stack:
        part = stack.pop()
        if part is not None and id(part) not in seen:
            seen.add(id(part))
            stack.extend(reversed(part._modules.values()))
            yield part


def _members(model: Model) -> list[nn.Module | Tensor]:
    """The modules, and the tensors outside of modules, that a callable is made of."""
    if isinstance(model, nn.Module):
        return [model]
    members: list[nn.Module | Tensor] = []
    seen: set[int] = set()
    queue: list[tuple[Any, int]] = [(model, 0)]
    while queue:
        value, depth = queue.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module | Tensor):
            members.append(value)
        elif depth <= DEPTH:
            queue.extend((v, depth + 1) for v in _contents(value))
    return members


def _contents(value: Any) -> list[Any]:
    """What a function, a container or an object refers to; nothing for numbers, texts, types and Python modules."""
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if inspect.ismethod(value):
        return [value.__self__, value.__func__]
    if inspect.isfunction(value):
        return [] if (value.__module__ or "").partition(".")[0] == "torch" else _named(value)
    if isinstance(value, list | tuple | set):
        return list(value) if len(value) <= ENTRIES else []
    if isinstance(value, dict):
        return list(value.values()) if len(value) <= ENTRIES else []
    if isinstance(value, type | types.ModuleType) or not hasattr(value, "__dict__"):
        return []
    return list(vars(value).values()) if len(vars(value)) <= ENTRIES else []


def _named(function: Callable) -> list[Any]:
    """What a Python function's code names, and its defaults."""
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    try:
        names = inspect.getclosurevars(function)
    except ValueError:  # a closure cell that is still empty
        return defaults
    return [*names.nonlocals.values(), *names.globals.values(), *defaults]


def device_of(model: Model) -> torch.device | None:
    """The device of the model's first parameter, buffer or constant; None if it has none."""
    return next((t.device for t in weights(model)), None)


def dtype_of(model: Model) -> torch.dtype | None:
    """The floating dtype that all of the model's parameters share (a function's constants, if it has no module)."""
    of_modules = [p.dtype for m in modules(model) for p in m.parameters() if p.is_floating_point()]
    dtypes = set(of_modules or [t.dtype for t in weights(model) if t.is_floating_point()])
    return dtypes.pop() if len(dtypes) == 1 else None


@contextmanager
def unchanged(modules_: Sequence[nn.Module]) -> Iterator[None]:
    """Put back any buffer of some modules that a forward pass writes to (a call counter, say)."""
    buffers = [
        (b, b._version, b.detach().clone())
        for part in modules_
        for b in part._buffers.values()
        if b is not None and not b.is_inference()
    ]
    try:
        yield
    finally:
        for buffer, version, value in buffers:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)


class External(nn.Module):
    """A module that another library computes.

    A subclass overrides `weights` and `programs`; while it runs it asks `present(Recorder)` and `present(Ops)` whether
    it is being recorded or measured, and `room` how many rows to fill up to.
    """

    def weights(self) -> tuple[Tensor, ...]:
        """Views of its weights, which say where it computes and in which precision."""
        return ()

    def programs(self) -> Counter[Hashable]:
        """How often each program that it had to compile was used so far."""
        return Counter()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> External:
        """Refuse a move (`.to`, `.half`), which would do nothing."""
        for w in self.weights():
            empty = w.new_empty(0)
            moved = fn(empty)
            if (moved.dtype, moved.device) != (empty.dtype, empty.device):
                raise TypeError(
                    f"torch cannot move the weights of {type(self).__name__} to {moved.device}, {moved.dtype}: "
                    "they belong to the other library; convert them there and wrap the model again"
                )
        return self


def present(kind: type[Mode]) -> Mode | None:
    """The innermost dispatch mode of a kind that is active around us."""
    return next((m for m in reversed(_get_current_dispatch_mode_stack()) if isinstance(m, kind)), None)


def free_rows(n: int) -> int:
    """How many rows to fill a call of `n` rows up to, so that few sizes occur: at least `n`."""
    return max(n, _PADDED.get())


@contextmanager
def padded_up_to(rows: int) -> Iterator[None]:
    """While a chunk of a run is computed: its calls may be filled up to so many rows."""
    token = _PADDED.set(rows)
    try:
        yield
    finally:
        _PADDED.reset(token)


def external(modules: Iterable[nn.Module]) -> list[External]:
    """Those of some modules that another library computes."""
    return [part for part in modules if isinstance(part, External)]


def used(parts: Iterable[External]) -> Counter[Hashable]:
    """How often each program of each part was used so far."""
    return Counter({(id(p), key): count for p in parts for key, count in p.programs().items()})
