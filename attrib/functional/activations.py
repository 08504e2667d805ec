"""What a layer gives, and what its filters look for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.inputs import Tensors
from attrib.engine.layers.at_layer import Layer, find_layer, named_layers
from attrib.engine.layers.image_form import Reshape
from attrib.engine.layers.map_layers import AUTO
from attrib.engine.model.parameters import Model
from attrib.functional.arguments import checked
from attrib.functional.layer_maps import outputs

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


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
