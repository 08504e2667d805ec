"""DeepLIFT's account of a model: what each op did to an attribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from attrib.engine.contents import Model
from attrib.engine.gradients import Kernel
from attrib.engine.inputs import Baselines, Tensors, as_baselines, as_tuple
from attrib.engine.secant import OpShare, Readout, expressed, shares
from attrib.engine.target import TargetLike


def op_shares(
    f: Model,
    x: Tensors,
    *,
    baselines: Baselines = 0.0,
    target: TargetLike = None,
    classes: Sequence[str] | None = None,
) -> list[OpShare]:
    """What each op of a model contributed to a DeepLIFT attribution, in the order of the model.

    Parameters
    ----------
    f : callable
        The model.
    x : Tensor or tuple of Tensor
        Input(s), samples on dim 0.
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        What the input is compared with.
    target : int, str, tuple, sequence, callable or None
        Which score is explained.
    classes : sequence of str, optional
        Names of the outputs.

    Returns
    -------
    list of OpShare
        One per recorded op: name, source line, rule, shape, change, residual; sums over the samples.
    """
    xs = as_tuple(x)
    x0s = tuple(b.expand_as(t) for b, t in zip(as_baselines(baselines, xs), xs, strict=True))
    with Kernel(f, xs, target=target, classes=classes) as kernel:
        readout = Readout(kernel.function, kernel.score)
        graph = expressed(readout.outputs, xs)
        samples = torch.arange(len(xs[0]), device=xs[0].device)
        readout.scores(graph.value, samples, at_inputs=True)
        return shares(graph, x0s, xs, readout.cotangents(graph.value, samples)[0])
