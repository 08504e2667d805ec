"""Conductance: how much of integrated gradients flows through each unit of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes, add_by_sample
from attrib.engine.inputs import Baselines, Tensors, as_baselines, as_tuple, moved, of_samples
from attrib.engine.layers.at_layer import Layer, Site, pass_through
from attrib.engine.model.parameters import Model
from attrib.engine.target import TargetLike
from attrib.functional.arguments import checked
from attrib.functional.explanation import About, Explanation, finish
from attrib.functional.layers import up_to

ABOUT = About(
    "conductance",
    "Conductance",
    axioms=(),
    cost="n_steps x (3 forward + 1 backward)",
    units="output",
    reference="arXiv:1805.12233",
    result="layer",
    baselines="point",
    complete=True,
    layer=True,
)


@checked
def conductance(
    f: Model,
    x: Tensors,
    *,
    layer: Layer,
    baselines: Baselines = 0.0,
    n_steps: int = 50,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Tensor:
    """The part of the change from a baseline to the input that flows through each unit of a layer.

    ``a_j = integral over alpha in [0, 1] of (d f / d h_j) (d h_j / d alpha)`` along ``x0 + alpha (x - x0)``, `h` the layer's
    activation

    Parameters
    ----------
    {f}
    {x}
    layer : str or torch.nn.Module
        A dotted name, or the module itself.
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        Where the path begins: a number, a tensor shaped like a sample, (1, ...) or (N, ...), or a function of the
        inputs.
    n_steps : int, default 50
        Steps of the path. In each the gradient is taken in the middle, the change of `h` from end to end.
    {passes}

    Returns
    -------
    Tensor
        (N, ...), shaped like the layer's activation, with a leading dim for `targets`. Unit: output units.

    Raises
    ------
    {raises}

    Notes
    -----
    Complete, up to the steps, where everything flows through the layer; the labelled form shows the rest as `delta`. The error falls with the square
    of `n_steps` on smooth networks; captum's `LayerConductance` takes the gradient at the beginning of each step, and its
    error falls with `n_steps`: the two are equal where the network behind the layer is linear (captum with
    ``method="riemann_trapezoid"``, whose points are the ends of the path, too), else in the limit of many steps. Cost: for each step three forward passes and one backward pass from the output to the layer.
    Memory: `batch_size` rows.

    References
    ----------
    Dhamdhere, Sundararajan, Yan (2018), How important is a neuron? arXiv:1805.12233

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import conductance
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU(), torch.nn.Flatten())
    >>> conductance(net, torch.tensor([[3.0]]), layer="1")
    tensor([[3.]])
    """
    explanation = explain_conductance(
        f, x, layer=layer, baselines=baselines, n_steps=n_steps, target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args, batch_size=batch_size, device=device, progress=progress,
    )  # fmt: skip
    assert isinstance(explanation.attribution, Tensor)
    return explanation.attribution


def explain_conductance(
    f: Model,
    x: Tensors,
    *,
    layer: Layer,
    baselines: Baselines,
    n_steps: int,
    additional_forward_args: Any,
    **options: Any,
) -> Explanation:
    """What `conductance` computes, with prediction and completeness error."""
    xs = as_tuple(x, integers=True)
    whole = [str(t.dtype) for t in xs if not t.is_floating_point()]
    if whole:
        raise TypeError(
            f"`x` is {', '.join(whole)}, between whose values no path leads; use integrated_gradients with `layer`, whose path "
            "begins at the layer"
        )
    x0s = as_baselines(baselines, xs)
    if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < 1:
        raise ValueError(f"`n_steps` is {n_steps!r}, expected a positive int")
    before = up_to(f, layer)
    site = Site(before.name, before.module)
    n = len(xs[0])
    with Passes(
        f, xs, n * (2 + 3 * n_steps), additional_forward_args=additional_forward_args, **options
    ) as passes:
        passes.engine = "layer"
        score = passes.scores(xs)
        starts = tuple(b.expand(n, *t.shape[1:]) for b, t in zip(x0s, xs, strict=True))
        change = score - passes.scores_at(starts, torch.arange(n))
        total: Tensor | None = None
        for span in passes.batches.spans(n * n_steps):
            with span:
                r = torch.arange(span.start, span.stop)
                i, k = r.div(n_steps, rounding_mode="floor"), r % n_steps
                low, middle, high = (
                    tuple(
                        _on_line(b, t, i, (k + part).double() / n_steps, passes.device)
                        for b, t in zip(starts, xs, strict=True)
                    )
                    for part in (0.0, 0.5, 1.0)
                )
                extra, named = passes.companions.at(i, low[0])
                difference = (before(*high, *extra, **named) - before(*low, *extra, **named)).detach()
                gradients = [g[0] for g in pass_through(passes, [site], middle, i).gradients()]
                part = torch.cat(gradients) * difference
            if span.done:
                if total is None:
                    total = part.new_zeros(len(part), n, *part.shape[2:])
                add_by_sample(total, part, span.start, n_steps)
    assert total is not None
    delta = total.reshape(*total.shape[:2], -1).sum(2).to(change.device) - change
    return finish(passes, xs[:1], (total,), score, delta=delta)


def _on_line(b: Tensor, x: Tensor, i: Tensor, alpha: Tensor, device: torch.device) -> Tensor:
    """Points of samples `i` at `alpha` (rows,) on the lines from baselines to inputs."""
    start, end = of_samples(b, i, device), of_samples(x, i, device)
    return start + moved(alpha, device, end.dtype).view(-1, *[1] * (end.ndim - 1)) * (end - start)
