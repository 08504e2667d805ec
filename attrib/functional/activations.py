"""What a layer gives, what its filters look for, and conductance: integrated gradients through each of its units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes, add_by_sample
from attrib.engine.inputs import Baselines, Tensors, as_baselines, as_tuple, moved, of_samples
from attrib.engine.layers.at_layer import Layer, Site, find_layer, named_layers, pass_through
from attrib.engine.layers.image_form import Reshape
from attrib.engine.layers.map_layers import AUTO
from attrib.engine.model.parameters import Model
from attrib.engine.target import TargetLike
from attrib.functional.arguments import at_least, checked
from attrib.functional.explanation import About, Explanation, finish, missed_completeness
from attrib.functional.layer_maps import outputs
from attrib.functional.layers import up_to

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

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
def layer_activation(
    f: Model,
    x: Tensors,
    *,
    layer: Layer = AUTO,
    call: int | None = None,
    reshape: Reshape | None = None,
    onto: int = 0,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Tensor:
    """Output of a layer.

    Parameters
    ----------
    {f}
    {x}
    layer : str or torch.nn.Module, default "auto"
        A dotted name, the module itself, or `"auto"`: the last layer whose positions are the input's and count for the
        output.
    call : int, optional
        Which call, from 0, of a layer that the model calls several times.
    reshape : callable, optional
        Your own image form: a function of the layer's output that gives (N, C, *spatial).
    onto : int, default 0
        With several inputs: the number of the one whose proportions tell the image form of tokens.
    {chunks}

    Returns
    -------
    Tensor
        (N, C, *grid) where the output is an image or a sequence of tokens in any layout, else as it is.

    Raises
    ------
    TypeError
        For inputs that are no float tensors and layers of a wrong type.
    ValueError
        For a layer that does not exist, that the model does not call, calls twice, or that returns a tuple: the message
        lists layers with maps.

    Notes
    -----
    One forward pass per sample, without a graph.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import layer_activation
    >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4, 1))
    >>> layer_activation(net, torch.tensor([[[[1.0, -1.0], [2.0, 0.0]]]]), layer="0")
    tensor([[[[1., 0.],
              [2., 0.]]]])
    """
    return outputs(
        f, x, layer, reshape, onto, call, additional_forward_args=additional_forward_args, batch_size=batch_size,
        device=device, progress=progress,
    ).values  # fmt: skip


@checked
def filters(f: Model, layer: Layer = "first") -> Tensor:
    """Weights of a convolution: what its filters look for.

    Parameters
    ----------
    f : callable
        The model.
    layer : str or torch.nn.Module, default "first"
        A convolution by dotted name or as a module; `"first"` is the first one in the order of the modules.

    Returns
    -------
    Tensor
        (filters, channels, *kernel), a copy. Unit: activation units per input unit.

    Raises
    ------
    ValueError
        If the model has no such layer, or it is no convolution; the message lists the convolutions.

    Notes
    -----
    No evaluation of the model. Channels are those of the filter's group.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import filters
    >>> filters(torch.nn.Sequential(torch.nn.Conv1d(2, 5, 3))).shape
    torch.Size([5, 2, 3])
    """
    convolutions = {n: p for n, p in named_layers(f).items() if isinstance(p, _CONVOLUTIONS)}
    if isinstance(f, _CONVOLUTIONS):
        convolutions = {"": f}
    if layer == "first" and convolutions:
        part: nn.Module | None = next(iter(convolutions.values()))
    else:
        named = find_layer(f, layer)
        part = None if named is None else named[1]
    if not isinstance(part, _CONVOLUTIONS):
        names = ", ".join(list(convolutions)[:10]) or "none"
        raise ValueError(f"`layer` {layer!r} is no convolution of the model; its convolutions: {names}")
    return part.weight.detach().clone()


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
    integers = [str(t.dtype) for t in xs if not t.is_floating_point()]
    if integers:
        raise TypeError(
            f"`x` is {', '.join(integers)}, between whose values no path leads; use integrated_gradients with `layer`, whose path "
            "begins at the layer"
        )
    x0s = as_baselines(baselines, xs)
    at_least(n_steps, "n_steps", 1)
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
    notes = missed_completeness(delta, change, (total,), score, "n_steps=")
    return finish(passes, xs[:1], (total,), score, delta=delta, notes=notes)


def _on_line(b: Tensor, x: Tensor, i: Tensor, alpha: Tensor, device: torch.device) -> Tensor:
    """Points of samples `i` at `alpha` (rows,) on the lines from baselines to inputs."""
    start, end = of_samples(b, i, device), of_samples(x, i, device)
    return start + moved(alpha, device, end.dtype).view(-1, *[1] * (end.ndim - 1)) * (end - start)
