"""What a callable is made of: its modules, weights and buffers, where they are and of which kind."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.model.external import Foreign

Model = Callable[..., Any]


def modules(model: Model) -> list[nn.Module]:
    """The `torch.nn.Module` objects a callable is made of, as far as Python shows them.

    Looks through `functools.partial`, bound methods, callable objects, closures and globals that the function names.
    """
    return [v for v in _held(model) if isinstance(v, nn.Module)]


def _held(model: Model) -> list[nn.Module | Tensor]:
    """The modules, and the tensors outside of modules, that a callable is made of."""
    found: list[nn.Module | Tensor] = []
    seen: set[int] = set()
    queue: list[Any] = [model]
    while queue:
        value = queue.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module | Tensor):
            found.append(value)
        else:
            queue.extend(_parts(value))
    return found


def weights(model: Model) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors that a function names."""
    for value in _held(model):
        if isinstance(value, Tensor):
            yield value
        else:
            for part in submodules(value):
                yield from part.parameters(recurse=False)
                yield from part.buffers(recurse=False)
                if isinstance(part, Foreign):
                    yield from part.weights()


def parts(model: Model) -> list[nn.Module]:
    """All modules that a callable is made of, and all below them."""
    return [part for module in modules(model) for part in submodules(module)]


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


def _parts(value: Any) -> list[Any]:
    """What a callable that is no module holds on to."""
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if inspect.ismethod(value):
        return [value.__self__, value.__func__]
    if inspect.isfunction(value):
        return [] if (value.__module__ or "").partition(".")[0] == "torch" else _named(value)
    if hasattr(value, "__dict__") and not isinstance(value, type) and callable(value):
        return [v for v in vars(value).values() if isinstance(v, nn.Module | Tensor)]
    return []


def _named(function: Callable) -> list[Any]:
    """The modules and functions that a Python function's code names."""
    try:
        names = inspect.getclosurevars(function)
    except ValueError:  # a closure cell that is still empty
        return []
    held = (*names.nonlocals.values(), *names.globals.values())
    kinds = (nn.Module, Tensor, functools.partial)
    return [v for v in held if isinstance(v, kinds) or inspect.isfunction(v) or inspect.ismethod(v)]


def device_of(model: Model) -> torch.device | None:
    """The device of the model's first parameter, buffer or constant; None if it has none."""
    return next((t.device for t in weights(model)), None)


def dtype_of(model: Model) -> torch.dtype | None:
    """The floating dtype that all of the model's parameters share (a function's constants, if it has no module)."""
    module = [p.dtype for m in modules(model) for p in m.parameters() if p.is_floating_point()]
    dtypes = set(module or [t.dtype for t in weights(model) if t.is_floating_point()])
    return dtypes.pop() if len(dtypes) == 1 else None


@contextmanager
def unchanged(found: Sequence[nn.Module]) -> Iterator[None]:
    """Put back any buffer of some modules that a forward pass writes to (a call counter, say)."""
    with torch.no_grad():
        buffers = [
            (b, b._version, b.clone())
            for part in found
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
