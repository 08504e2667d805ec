"""How far results are from what an axiom says, and where."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from attrib.functional.docstrings import fill

Rows = tuple[Tensor, ...]


class Violation(NamedTuple):
    """The largest departure from what was expected.

    Attributes
    ----------
    size : float
        Relative to the largest value compared; 0 where nothing departs, infinite where a comparison makes no sense
        (NaN, or something changed that has no size).
    where : tuple of int
        Index of the number in question: the sample, then the feature.
    input : int
        Which of several inputs.
    got, expected : float
        The two numbers.
    what : str
        What was compared.

    Examples
    --------
    >>> from attrib.testing import Violation
    >>> print(Violation(0.5, (1, 0), 0, 1.0, 2.0, "attribution"))
    attribution is 1 at (1, 0), expected 2: off by 0.5 of the largest value
    """

    size: float
    where: tuple[int, ...] = ()
    input: int = 0
    got: float = math.nan
    expected: float = math.nan
    what: str = ""

    def __str__(self) -> str:
        """One line for people."""
        if not self.where:
            return self.what
        of = f" of input {self.input}" if self.input else ""
        return (
            f"{self.what} is {self.got:.7g} at {self.where}{of}, expected {self.expected:.7g}: "
            f"off by {self.size:.3g} of the largest value"
        )


class AxiomError(AssertionError):
    """A method does not do what an axiom says.

    Attributes
    ----------
    violation : Violation
        Where and by how much.
    """

    def __init__(self, axiom: str, violation: Violation, tolerance: float) -> None:
        super().__init__(f"{axiom} is violated: {violation} (tolerance {tolerance:g})")
        self.violation = violation


def judged(axiom: str, violation: Violation, tolerance: float | None) -> Violation:
    """The violation, unless it is larger than a tolerance that was given: then AxiomError."""
    if tolerance is not None and not violation.size <= tolerance:
        raise AxiomError(axiom, violation, tolerance)
    return violation


def largest(*found: Violation) -> Violation:
    """The worst of several."""
    return max(found, key=lambda v: v.size)


def difference(got: Rows, expected: Rows, what: str, scale: Rows | None = None) -> Violation:
    """Largest difference between tensors of equal shapes, relative to the largest of `scale` (or of the two)."""
    worst = Violation(0.0, what=what)
    for j, (g, e) in enumerate(zip(got, expected, strict=True)):
        g, e = g.detach().double().cpu(), e.detach().double().cpu()
        if g.shape != e.shape:
            text = f"{what} has shape {tuple(g.shape)}, expected {tuple(e.shape)}"
            return Violation(math.inf, input=j, what=text)
        if g.numel():
            worst = largest(
                worst, _largest(g, e, _scale(g, e) if scale is None else _scale(scale[j]), j, what)
            )
    return worst


def _scale(*tensors: Tensor) -> float:
    return max(float(t.detach().abs().max()) for t in tensors)


def _largest(got: Tensor, expected: Tensor, scale: float, j: int, what: str) -> Violation:
    off = (got - expected).abs()
    off[torch.isnan(off) & ~(torch.isnan(got) & torch.isnan(expected))] = math.inf
    off.nan_to_num_(nan=0.0, posinf=math.inf)  # NaN in both is agreement
    place = int(off.argmax())
    where = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), off.shape))
    size = float(off.flatten()[place])
    relative = size / scale if size and scale else (math.inf if size else 0.0)
    return Violation(relative, where, j, float(got[where]), float(expected[where]), what)


# FOLDED attrib/testing/violation.py: """Passages that the docstrings of the checks share."""
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
