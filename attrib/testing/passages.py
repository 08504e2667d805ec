"""Passages that the docstrings of the checks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrib.functional.wording import fill

F = TypeVar("F", bound=Callable[..., Any])

PASSAGES = {
    "method": """
        method : callable
            ``(f, x, **options)`` to attributions: a tensor shaped like the input, a tuple for several inputs. A
            function of `attrib.functional`, one of another library in a lambda, or your own.""",
    "f": """
        f : callable
            The model: takes input(s) batched on dim 0, returns (N,), (N, C), (N, C, ...) or an object with
            `.logits`.""",
    "x": """
        x : Tensor or tuple of Tensor
            Input(s), samples on dim 0.""",
    "baselines": """
        baselines : float, Tensor, tuple of these, or callable, optional
            Passed to the method, and used where the axiom speaks of a baseline. None: nothing is passed, and the
            baseline is zero.""",
    "shared": """
        shared : sequence of str, default ()
            Targets and baselines with an entry per sample go with their samples. ``("baselines",)`` says that these
            do not: a distribution for all samples, say, that happens to have as many members.""",
    "tolerance": """
        tolerance : float, optional
            Largest `size` to accept. None accepts any, and leaves the judgement to you.""",
    "options": """
        **options
            Passed to the method: `target`, `n_steps`, and so on.""",
    "raises": """
        AxiomError
            If the violation is larger than `tolerance`.
        TypeError, ValueError
            If the method gives something that is not shaped like the input.""",
}


def documented(check: F) -> F:
    """Put the shared passages into a check's docstring."""
    check.__doc__ = fill(check.__doc__, PASSAGES)
    return check
