"""How far results depart from an axiom, and where."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from attrib.testing.calling import Rows


class Violation(NamedTuple):
    """The largest departure from what was expected.

    Attributes
    ----------
    size : float
        Relative to the largest value compared; 0 without a departure, infinite where numbers cannot be compared (NaN,
        different shapes, or a change of state).
    where : tuple of int
        Index of the number: the sample, then the feature.
    input : int
        The number of the input.
    got, expected : float
        The two numbers that differ.
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
        """One line for the reader."""
        if not self.where:
            return self.what
        of = f" of input {self.input}" if self.input else ""
        return (
            f"{self.what} is {self.got:.7g} at {self.where}{of}, expected {self.expected:.7g}: "
            f"off by {self.size:.3g} of the largest value"
        )


class AxiomError(AssertionError):
    """A method violates an axiom.

    Parameters
    ----------
    axiom : str
        The axiom's name.
    violation : Violation
        Where and by how much.
    tolerance : float
        The largest `size` that was accepted.

    Attributes
    ----------
    violation : Violation
        Where and by how much.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency
    >>> from attrib.testing import AxiomError, completeness
    >>> try:
    ...     completeness(saliency, lambda x: x.prod(1), torch.tensor([[2.0, 3.0]]), tolerance=1e-3)
    ... except AxiomError as error:
    ...     print(error.violation.got, error.violation.expected)
    5.0 6.0
    """

    def __init__(self, axiom: str, violation: Violation, tolerance: float) -> None:
        super().__init__(f"{axiom} is violated: {violation} (tolerance {tolerance:g})")
        self.violation = violation


def judged(axiom: str, violation: Violation, tolerance: float | None) -> Violation:
    """The violation; raises AxiomError if it is larger than `tolerance`."""
    if tolerance is not None and not violation.size <= tolerance:
        raise AxiomError(axiom, violation, tolerance)
    return violation


def largest(*violations: Violation) -> Violation:
    """The largest of several violations."""
    return max(violations, key=lambda v: v.size)


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
