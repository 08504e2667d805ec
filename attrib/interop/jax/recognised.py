"""Which callables are JAX's: functions and modules that become models by themselves. Nothing here imports JAX."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from attrib.engine.model.parameters import modules, weights
from attrib.engine.model.prepared import PreparedModel

DEPTH = 3  # how many functions lie between a callable and the library that it uses
JAX = {"jax", "jaxlib", "flax", "equinox", "haiku", "optax"}

Shape = tuple[tuple[int, ...], str]  # of an input: of a batch, and the name of its dtype


def recognised(
    f: Any, shapes: Sequence[Shape], jax_inputs: bool, paths: Sequence[Sequence[str | int]] = ()
) -> Any:
    """A callable of JAX as a model; any other as it is.

    Parameters
    ----------
    f : callable
        Modules of flax.nnx, bound modules of flax.linen, modules of equinox (which take one example), functions that use JAX,
        and with `jax_inputs` any function without torch modules that JAX can trace.
    shapes : sequence of (shape, dtype)
        Of the inputs.
    jax_inputs : bool
        Whether any of the inputs is a JAX array.
    paths : sequence of sequence of str or int
        Where each input stands in a mapping, as for `with_mapping`.

    Raises
    ------
    TypeError
        For modules that cannot be called with inputs alone: the message has the line to write.
    """
    if "jax" not in sys.modules or isinstance(f, nn.Module | PreparedModel) or not callable(f):
        return f
    kind = kind_of_module(f)
    if kind is not None:
        return {"linen": _of_linen, "nnx": _of_nnx, "equinox": _of_equinox}[kind](f, shapes)
    if modules(f) or next(weights(f), None) is not None:
        return f
    libraries = set(_libraries(f))
    if "torch" in libraries or not (jax_inputs or libraries & JAX):
        return f
    forms = [f, *(_of_tree(f, paths, by_name) for by_name in (False, True) if paths)]
    if not libraries & JAX and all(_shape_of(form, shapes) is None for form in forms):
        return f
    return _model(f)


def _model(fn: Callable[..., Any], params: Any = None) -> Any:
    from attrib.interop.jax.model import JaxModel

    return JaxModel(fn, params)


def kind_of_module(f: Any) -> str | None:
    """``linen``, ``nnx`` or ``equinox`` for a module of one of these; else None."""
    for c in type(f).__mro__:
        library, _, rest = c.__module__.partition(".")
        if c.__name__ == "Module" and library == "equinox":
            return "equinox"
        if c.__name__ == "Module" and library == "flax":
            return "nnx" if rest.startswith("nnx") else "linen"
    return None


def _of_linen(f: Any, shapes: Sequence[Shape]) -> Any:
    if getattr(f, "scope", None) is None:
        raise TypeError(
            "`f` is a module of flax.linen, which has no weights of its own; pass attrib.from_jax(f.apply, variables)"
        )
    module, variables = f.unbind()
    return _model(module.apply, variables)


def _of_nnx(f: Any, shapes: Sequence[Shape]) -> Any:
    return _model(f)


def _of_equinox(f: Any, shapes: Sequence[Shape]) -> Any:
    import jax

    def of_rows(net: Any, *xs: Any) -> Any:
        return jax.vmap(net)(*xs)

    y = _shape_of(functools.partial(of_rows, f), shapes)
    if not hasattr(y, "shape"):
        raise TypeError(
            "`f` is a module of equinox that does not take one example and return an array; pass "
            "attrib.from_jax(lambda net, x: ..., f), a function of the module and a batch"
        )
    return _model(of_rows, f)


def _shape_of(fn: Callable[..., Any], shapes: Sequence[Shape]) -> Any:
    """What JAX makes of inputs of these shapes, without computing it; None if it cannot trace the function."""
    import jax

    try:
        return jax.eval_shape(
            fn, *(jax.ShapeDtypeStruct(s, jax.dtypes.canonicalize_dtype(d)) for s, d in shapes)
        )
    except Exception:  # whatever a function raises that is none of JAX's
        return None


def _libraries(f: Any, depth: int = DEPTH) -> Iterator[str]:
    """Names of the libraries that a callable's code names, or that made it."""
    root = (getattr(type(f), "__module__", None) or "").partition(".")[0]
    if root in JAX or root == "torch":
        yield root
    if isinstance(f, functools.partial):
        yield from _libraries(f.func, depth)
        return
    if isinstance(f, types.ModuleType):
        yield f.__name__.partition(".")[0]
        return
    if inspect.ismethod(f):
        yield from _libraries(f.__self__, depth)
        f = f.__func__
    wrapped = getattr(f, "__wrapped__", None)
    if wrapped is not None:
        yield from _libraries(wrapped, depth)
    if not inspect.isfunction(f):
        called = type(f).__dict__.get("__call__")
        if inspect.isfunction(called) and depth:
            yield from _libraries(called, depth - 1)
        return
    home = (f.__module__ or "").partition(".")[0]
    if home in JAX or home == "torch":
        yield home
        return
    if depth:
        for value in _named(f):
            if callable(value) or isinstance(value, types.ModuleType):
                yield from _libraries(value, depth - 1)


def _named(function: Any) -> list[Any]:
    try:
        names = inspect.getclosurevars(function)
    except ValueError:  # a closure cell that is still empty
        return []
    return [*names.nonlocals.values(), *names.globals.values()]


def is_jax_array(value: Any) -> bool:
    """Whether a value is a JAX array."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.Array) and not isinstance(value, torch.Tensor)


def with_mapping(model: Any, paths: Sequence[Sequence[str | int]], parameters: Sequence[str] = ()) -> Any:
    """A model of a JAX function of one mapping, as a model of its entries.

    Parameters
    ----------
    model : JaxModel
    paths : sequence of sequence of str or int
        Where each entry stands: names, and numbers in lists.
    parameters : sequence of str
        The function's: where the first names of the paths are among them, each is an argument.
    """
    fn, params, channels_last = model._arguments
    heads = [n for n in parameters if any(path[0] == n for path in paths)]
    by_name = len(heads) == len({path[0] for path in paths})

    return type(model)(_of_tree(fn, paths, by_name), params, channels_last)


def _of_tree(
    fn: Callable[..., Any], paths: Sequence[Sequence[str | int]], by_name: bool
) -> Callable[..., Any]:
    """A function of a mapping, or of its entries by name, as a function of the arrays in it."""

    def of_entries(*arguments: Any) -> Any:
        first = arguments[: len(arguments) - len(paths)]
        tree = _nested(list(zip(paths, arguments[len(first) :], strict=True)))
        return fn(*first, **tree) if by_name else fn(*first, tree)

    return of_entries


def _nested(entries: Sequence[tuple[Sequence[str | int], Any]]) -> Any:
    """Values at their places: mappings, and tuples where places are numbers."""
    if not entries[0][0]:
        return entries[0][1]
    heads = dict.fromkeys(path[0] for path, _ in entries)
    below = {h: _nested([(path[1:], v) for path, v in entries if path[0] == h]) for h in heads}
    return tuple(below.values()) if all(isinstance(h, int) for h in heads) else below
