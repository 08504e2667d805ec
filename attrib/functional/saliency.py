"""Gradients at the input: saliency and input times gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes
from attrib.engine.graph.modes import transformed
from attrib.engine.inputs import Tensors, as_tuple
from attrib.engine.layers.at_layer import Layer
from attrib.engine.model.parameters import Model
from attrib.engine.target import TargetLike
from attrib.functional.explanation import Explanation, finish, method


@method(
    "Saliency",
    axioms=("dummy", "implementation_invariance", "symmetry", "translation"),
    cost="1 forward + backward",
    units="gradient",
    reference="arXiv:1312.6034",
)
def saliency(
    f: Model,
    x: Tensors,
    *,
    absolute: bool = True,
    layer: Layer | None = None,
    output: int | None = None,
    call: int | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
) -> Explanation:
    """Gradient of the score with respect to the input.

    ``a_i = |d f(x) / d x_i|``, or the signed gradient.

    Parameters
    ----------
    {f}
    {x}
    absolute : bool, default True
        Whether to drop the sign.
    {layer}
    {shared}

    Returns
    -------
    {returns_gradient}

    Raises
    ------
    {raises}

    Notes
    -----
    One forward and one backward pass per sample. Satisfies dummy and implementation invariance; not complete.

    References
    ----------
    Simonyan, Vedaldi, Zisserman (2013), Deep inside convolutional networks. arXiv:1312.6034

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency
    >>> saliency(lambda x: x @ torch.tensor([[1.0], [-2.0]]), torch.ones(1, 2), absolute=False)
    tensor([[ 1., -2.]])
    """
    xs = as_tuple(x)
    with Passes(
        f, xs, len(xs[0]), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as passes:  # fmt: skip
        scores, gradients = passes.gradients_at_inputs(xs)
    if absolute:
        gradients = tuple(g.abs() if transformed() else g.abs_() for g in gradients)
    return finish(passes, xs, gradients, scores)


@method(
    "Input x gradient",
    axioms=("dummy", "implementation_invariance", "linearity", "symmetry"),
    cost="1 forward + backward",
    units="output",
    reference="arXiv:1605.01713",
)
def input_x_gradient(
    f: Model,
    x: Tensors,
    *,
    layer: Layer | None = None,
    output: int | None = None,
    call: int | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
    engine: str = "auto",
) -> Explanation:
    """Input times the gradient of the score.

    ``a_i = x_i * d f(x) / d x_i``: the first-order change of the score when x_i is set to zero.

    Parameters
    ----------
    {f}
    {x}
    {layer}
    {shared}

    Returns
    -------
    {returns_output}

    Raises
    ------
    {raises}

    Notes
    -----
    One forward and one backward pass per sample. Satisfies dummy and implementation invariance; complete only for
    networks that are linear from zero to the input (piecewise linear ones without biases).

    References
    ----------
    Shrikumar, Greenside, Shcherbina, Kundaje (2016), Not just a black box. arXiv:1605.01713

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import input_x_gradient
    >>> input_x_gradient(lambda x: x @ torch.tensor([[1.0], [-2.0]]), torch.tensor([[3.0, 2.0]]))
    tensor([[ 3., -4.]])
    """
    xs = as_tuple(x)
    with Passes(
        f, xs, len(xs[0]), target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress, engine=engine,
    ) as passes:  # fmt: skip
        scores, gradients = passes.gradients_at_inputs(xs)
    products = tuple(g * t for g, t in zip(gradients, xs, strict=True))
    return finish(passes, xs, products, scores)
