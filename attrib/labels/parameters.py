"""Which parameters a model's forward has, and the order in which inputs with names go into it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from attrib.engine.model.prepared import PreparedModel

WRAPPED = (
    "_orig_mod",
    "module",
)  # where torch.compile, DataParallel and others keep the module that they wrap


class Parameters(NamedTuple):
    """The names that arguments of a model can have.

    Attributes
    ----------
    positional : tuple of str
        Of arguments by position, in their order.
    keyword : tuple of str
        Of arguments by name.
    """

    positional: tuple[str, ...]
    keyword: tuple[str, ...]


class ByName:
    """A model whose inputs go in by name, for inputs that are not its first parameters.

    Parameters
    ----------
    model : callable
    names : sequence of str
        Names of the inputs, in the order in which they come.
    """

    def __init__(self, model: Callable[..., Any], names: Sequence[str]) -> None:
        self.model, self.names = model, tuple(names)

    def __call__(self, *xs: Any, **beside: Any) -> Any:
        """What the model returns."""
        if len(xs) > len(self.names):
            raise TypeError(
                f"`additional_forward_args` has values without names, but the inputs {', '.join(self.names)} go by name; "
                "pass a mapping of the values by their names"
            )
        return self.model(**dict(zip(self.names, xs, strict=True)), **beside)


def parameters(model: Any) -> Parameters | None:
    """The parameters of a model; None where it takes any, or does not tell.

    Examples
    --------
    >>> from functools import partial
    >>> parameters(partial(lambda rna, atac, scale: rna, scale=2))
    Parameters(positional=('rna', 'atac'), keyword=('rna', 'atac', 'scale'))
    """
    if isinstance(model, PreparedModel):
        return parameters(model.model)
    if isinstance(model, torch.jit.ScriptModule):
        names = tuple(a.name for a in model.forward.schema.arguments[1:])  # type: ignore[attr-defined]
        return Parameters(names, names)
    if isinstance(model, functools.partial) and isinstance(model.func, nn.Module):
        model = functools.partial(_forward(model.func), *model.args, **model.keywords)
    try:
        signature = inspect.signature(_forward(model) if isinstance(model, nn.Module) else model)
    except (TypeError, ValueError):  # a builtin without a signature
        return None
    kinds = [(p.name, p.kind) for p in signature.parameters.values()]
    first = [n for n, kind in kinds if kind is inspect.Parameter.POSITIONAL_ONLY]
    either = [n for n, kind in kinds if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    named = [n for n, kind in kinds if kind is inspect.Parameter.KEYWORD_ONLY]
    if not (first or either or named):
        return None
    return Parameters((*first, *either), (*either, *named))


def _forward(module: nn.Module) -> Callable[..., Any]:
    """What runs when a module is called: of a wrapper, the forward of what it wraps."""
    if takes_any(module.forward):
        function = getattr(module, "function", None)  # of a model of another library
        if callable(function):
            return function
        for name in WRAPPED:
            inner = getattr(module, name, None)
            if isinstance(inner, nn.Module):
                return _forward(inner)
    return module.forward


def takes_any(function: Callable[..., Any]) -> bool:
    """Whether all parameters of a function are `*args` and `**kwargs`."""
    kinds = {p.kind for p in inspect.signature(function).parameters.values()}
    return bool(kinds) and kinds <= {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


def order_of(names: Sequence[str], known: Parameters | None) -> list[str] | None:
    """The names in the order of the model's parameters; None where no name is a parameter's: then they go by position.

    Raises
    ------
    ValueError
        If some names are parameters and others are not.
    """
    every = list(dict.fromkeys((*known.positional, *known.keyword))) if known is not None else []
    matching = [n for n in names if n in every]
    if not matching:
        return None
    others = [n for n in names if n not in every]
    if others:
        raise ValueError(
            f"`x` has the names {others}, which are no parameters of the model's forward ({', '.join(every)}), beside "
            f"{matching}, which are; name all inputs like parameters, or none to pass them by position"
        )
    return sorted(names, key=every.index)
