"""The axioms of attribution as checks: each returns the largest violation and its place.

Every check takes any method ``(f, x, **options) -> attributions shaped like x`` and any model. With `tolerance` it
raises `AxiomError` if the violation is larger.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrib.engine.inputs import Baselines, Tensors
from attrib.engine.model.parameters import Model
from attrib.testing.calling import (
    Attribute,
    as_argument,
    attributions,
    change,
    documented,
    output,
    rows_of,
    starts,
    with_baselines,
)
from attrib.testing.violation import Violation, difference, judged


@documented
def completeness(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """The attributions of a sample sum to the change of its score from the baseline.

    ``sum over i of a_i = f(x) - f(x0)``

    Parameters
    ----------
    {method}
    {f}
    {x}
    {baselines}
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Relative to the larger of ``|f(x)|`` and ``|f(x0)|`` in the batch; `where` is the sample.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import integrated_gradients, saliency
    >>> from attrib.testing import completeness
    >>> f, x = lambda x: x[:, 0] * x[:, 1], torch.tensor([[2.0, 3.0]])
    >>> completeness(integrated_gradients, f, x).size
    0.0
    >>> print(completeness(saliency, f, x))
    sum of attributions is 5 at (0,), expected 6: off by 0.167 of the largest value
    """
    xs = rows_of(x)
    attributed = attributions(method, f, xs, with_baselines(options, baselines))
    gained, scale = change(f, xs, starts(xs, 0.0 if baselines is None else baselines), options)
    total = torch.stack([a.flatten(1).double().sum(1) if a.ndim > 1 else a.double() for a in attributed]).sum(
        0
    )
    return judged("completeness", difference((total,), (gained,), "sum of attributions", (scale,)), tolerance)


@documented
def sensitivity(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines | None = None,
    tolerance: float | None = None,
    features: int = 64,
    **options: Any,
) -> Violation:
    """A feature that alone differs from the baseline and changes the score has a nonzero attribution.

    For each feature j and ``x' = x0`` but for ``x'_j = x_j``: if ``f(x') != f(x0)`` then ``a_j(x') != 0``

    Parameters
    ----------
    {method}
    {f}
    {x}
    {baselines}
    {tolerance}
    features : int, default 64
        Features tried per input, spread evenly.
    {options}

    Returns
    -------
    Violation
        The largest change of the score whose feature has an attribution of zero, relative to the score; `where` is the
        sample and the feature's position in the flattened input.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import input_x_gradient, integrated_gradients
    >>> from attrib.testing import sensitivity
    >>> f, x = lambda x: 1 - torch.relu(1 - x[:, 0]), torch.tensor([[2.0]])
    >>> sensitivity(integrated_gradients, f, x).size
    0.0
    >>> print(sensitivity(input_x_gradient, f, x))
    attribution of the one feature that changed the score is 0 at (0, 0), expected 1: off by 1 of the largest value
    """
    xs = rows_of(x)
    x0s = starts(xs, 0.0 if baselines is None else baselines)
    worst = Violation(0.0, what="attribution of the one feature that changed the score")
    for j, t in enumerate(xs):
        size = t[0].numel()
        for place in range(0, size, max(1, -(-size // features))):
            at = tuple(_moved(b, t, place) if i == j else b for i, b in enumerate(x0s))
            baseline_options = with_baselines(options, None if baselines is None else as_argument(x0s))
            a = attributions(method, f, at, baseline_options)[j].reshape(len(t), -1)[:, place]
            gained, scale = change(f, at, x0s, options)
            missed = torch.where(a == 0, gained, 0.0)
            violation = difference((torch.zeros_like(missed),), (missed,), worst.what, (scale,))
            if violation.size > worst.size:
                worst = violation._replace(where=(*violation.where, place), input=j)
    return judged("sensitivity", worst, tolerance)


def _moved(x0: Tensor, x: Tensor, place: int) -> Tensor:
    """Baselines with one feature taken from the inputs."""
    row = x0.reshape(len(x0), -1).clone()
    row[:, place] = x.reshape(len(x), -1)[:, place]
    return row.reshape(x.shape)


@documented
def dummy(
    method: Attribute,
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Violation:
    """The attribution of a feature that the model does not use is zero.

    The check overwrites every other feature with zero before `f` sees it; ``a_j = 0`` for these.

    Parameters
    ----------
    {method}
    {f}
    {x}
    {baselines}
    {tolerance}
    {options}

    Returns
    -------
    Violation
        Relative to the largest attribution.

    Raises
    ------
    {raises}

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency
    >>> from attrib.testing import dummy
    >>> dummy(saliency, lambda x: x.prod(1, keepdim=True).exp(), torch.ones(2, 4)).size
    0.0
    """
    xs = rows_of(x)
    used = tuple((torch.arange(t[0].numel(), device=t.device) % 2 == 0).view(t.shape[1:]) for t in xs)

    def blind(*rows: Tensor) -> Tensor:
        zero = [r.new_zeros(()) for r in rows]
        return output(f, tuple(torch.where(u, r, z) for u, r, z in zip(used, rows, zero, strict=True)))

    attributed = attributions(method, blind, xs, with_baselines(options, baselines))
    expected = tuple(torch.where(u, a, torch.zeros_like(a)) for u, a in zip(used, attributed, strict=True))
    return judged("dummy", difference(attributed, expected, "attribution of an unused feature"), tolerance)
