"""Whether the rows of a model depend on each other: what every method needs, tried on all rows of your own inputs."""

from __future__ import annotations

import torch

from attrib.engine.inputs import Tensors
from attrib.engine.model.parameters import Model
from attrib.testing.calling import Rows, documented, output, rows_of
from attrib.testing.violation import Violation, difference, judged, largest


@documented
def independent_rows(f: Model, x: Tensors, *, tolerance: float | None = None) -> Violation:
    """Each row of a model's output depends on that row of its input alone, and is the same at every call.

    ``f(x) = f(x)`` when called twice; ``f(x)[i] = f(x[i:i+1])[0]``; and the same for the rows in reverse, for row i beside other
    rows, and for row i beside copies of itself.

    Parameters
    ----------
    {f}
    {x}
    {tolerance}

    Returns
    -------
    Violation
        Relative to the largest output; `where` starts with the row.

    Raises
    ------
    AxiomError
        If the violation is larger than `tolerance`.

    Notes
    -----
    Cost: four calls of the model for each row, and three of all rows. Every method of `attrib` makes a short form of this
    check by itself, on the first row.

    Examples
    --------
    >>> import torch
    >>> from attrib.testing import independent_rows
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    >>> independent_rows(torch.tanh, x).size
    0.0
    >>> print(independent_rows(lambda x: x - x.mean(0), x))
    output of a row beside other rows is -4 at (1, 1), expected 1.5: off by 3.67 of the largest value
    """
    xs = rows_of(x)
    with torch.no_grad():
        y = output(f, xs)
        worst = difference((output(f, xs),), (y,), "output of the same rows again")
        worst = largest(
            worst, difference((output(f, tuple(t.flip(0) for t in xs)).flip(0),), (y,), "output in reverse")
        )
        for i in range(len(y)):
            row = tuple(t[i : i + 1] for t in xs)
            for text, rows, place in (
                ("output of a row alone", row, 0),
                ("output of a row beside copies of itself", _repeated(row, 3), 1),
                ("output of a row beside other rows", _among_others(row), 1),
            ):
                v = difference((output(f, rows)[place : place + 1],), (y[i : i + 1],), text, (y,))
                worst = largest(worst, v._replace(where=(i, *v.where[1:])) if v.where else v)
    return judged("independence of rows", worst, tolerance)


def _repeated(row: Rows, count: int) -> Rows:
    return tuple(t.repeat(count, *[1] * (t.ndim - 1)) for t in row)


def _among_others(row: Rows) -> Rows:
    """The row between two others; whole numbers and booleans in another order stay values that a model knows."""
    others = [2 * t + 1 if t.is_floating_point() else t.flip(-1) if t.ndim > 1 else t for t in row]
    return tuple(torch.cat([o, t, o]) for o, t in zip(others, row, strict=True))
