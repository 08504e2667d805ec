"""What a callable is made of: its modules, weights and buffers, where they are and of which kind."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.model.external import External

Model = Callable[..., Any]

DEPTH = 4  # how many objects lie between a callable and a module that it uses
ENTRIES = 1000  # containers with more are data, not parts of a model


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
