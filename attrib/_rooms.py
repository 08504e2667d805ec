"""Packages whose parts are imported when they are first used: `attrib.domains.sequences` after `import attrib`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any


def rooms(package: str, names: Sequence[str]) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package whose modules `names` are imported when somebody asks for them.

    Examples
    --------
    >>> import attrib
    >>> attrib.domains.motifs.__name__
    'attrib.domains.motifs'
    """

    def part(name: str) -> ModuleType:
        if name in names:
            return import_module(f"{package}.{name}")
        raise unknown(package, name)

    def listing() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return part, listing


class CallableModule(ModuleType):
    """A package that is called like the function of its name in it: `attrib.workflows.mri(data, model, output)`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What the function gives."""
        return self._function(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def _function(self) -> Callable[..., Any]:
        return vars(self)[self.__name__.rpartition(".")[2]]  # type: ignore[no-any-return]


def unknown(package: str, name: str) -> AttributeError:
    """The error for a name that a package does not have; Python adds the one that was probably meant."""
    message = f"module {package!r} has no attribute {name!r}"
    return AttributeError(message, name=name, obj=sys.modules[package])
