"""Class activation maps: where a layer's features speak for a score."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.grids import Reshape
from attrib.engine.inputs import Tensors
from attrib.engine.model import Model
from attrib.engine.target import TargetLike
from attrib.functional.explanation import Explanation, method
from attrib.functional.maps import MAPS, Layers, mapped


@method(
    "Grad-CAM",
    axioms=(),
    cost="1 forward to the layer, 1 forward + backward from there",
    units="output",
    reference="arXiv:1610.02391",
    into=MAPS,
)
def grad_cam(
    f: Model,
    x: Tensors,
    *,
    layer: Layers = "auto",
    relu: bool = True,
    upsample: bool = True,
    normalize: str | None = None,
    reshape: Reshape | None = None,
    onto: int = 0,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Explanation:
    """Features of a layer, weighted by their mean gradient.

    ``L = relu(sum over c of w_c A_c)``, ``w_c = mean over positions of d f / d A_c``

    Parameters
    ----------
    {f}
    {x}
    {map}
    {passes}

    Returns
    -------
    {returns_map}

    Raises
    ------
    {raises_map}

    Notes
    -----
    One pass: the model runs to the layer without a graph, from there on with one, and the gradient stops at the layer.
    With `targets`, one forward pass serves all. The mean blurs where a channel matters: `hires_cam` leaves it out. Maps
    of the last layer before a mean and a linear head add up to the score less its bias.

    References
    ----------
    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra (2016), Grad-CAM: visual explanations from deep networks via
    gradient-based localization. arXiv:1610.02391

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import grad_cam
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> grad_cam(net, torch.tensor([[[[4.0, 0.0], [0.0, -8.0]]]]), layer="0")
    tensor([[[1., 0.],
             [0., 0.]]])
    """
    return mapped(
        _weighted_by_mean, f, x, layer=layer, relu=relu, upsample=upsample, normalize=normalize, reshape=reshape, onto=onto,
        target=target, targets=targets, classes=classes, batch_size=batch_size, device=device, progress=progress,
    )  # fmt: skip


@method(
    "Grad-CAM++",
    axioms=(),
    cost="1 forward to the layer, 1 forward + backward from there",
    units="output",
    reference="arXiv:1710.11063",
    into=MAPS,
)
def grad_cam_plus_plus(
    f: Model,
    x: Tensors,
    *,
    layer: Layers = "auto",
    relu: bool = True,
    upsample: bool = True,
    normalize: str | None = None,
    reshape: Reshape | None = None,
    onto: int = 0,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Explanation:
    """Features of a layer, weighted by positive gradients where several objects may share them.

    ``L = relu(sum over c of w_c A_c)``, ``w_c = sum over positions of alpha_c relu(g_c)``,
    ``alpha_c = g_c^2 / (2 g_c^2 + sum(A_c) g_c^3 + 1e-6)``, ``g = d f / d A``

    Parameters
    ----------
    {f}
    {x}
    {map}
    {passes}

    Returns
    -------
    {returns_map}

    Raises
    ------
    {raises_map}

    Notes
    -----
    One pass: the model runs to the layer without a graph, from there on with one, and the gradient stops at the layer.
    The formula is that of the paper for the exponential of the score, as pytorch-grad-cam has it; 1e-6 keeps the
    quotient finite, so that the map does not scale with the score where gradients are small.

    References
    ----------
    Chattopadhay, Sarkar, Howlader, Balasubramanian (2017), Grad-CAM++: improved visual explanations for deep
    convolutional networks. arXiv:1710.11063

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import grad_cam_plus_plus
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> grad_cam_plus_plus(net, torch.tensor([[[[4.0, 0.0], [0.0, -8.0]]]]), layer="0")
    tensor([[[3.9999, 0.0000],
             [0.0000, 0.0000]]])
    """
    return mapped(
        _weighted_plus_plus, f, x, layer=layer, relu=relu, upsample=upsample, normalize=normalize, reshape=reshape, onto=onto,
        target=target, targets=targets, classes=classes, batch_size=batch_size, device=device, progress=progress,
    )  # fmt: skip


def _weighted_by_mean(a: Tensor, g: Tensor) -> Tensor:
    """Features (n, C, *grid), gradients (t, n, C, *grid) -> (t, n, *grid)."""
    positions = tuple(range(3, g.ndim))
    return _summed(g.mean(positions), a)


def _weighted_plus_plus(a: Tensor, g: Tensor) -> Tensor:
    positions = tuple(range(3, g.ndim))
    square = g**2
    total = a.flatten(2).sum(2).view(*a.shape[:2], *[1] * len(positions))
    alpha = square / (2 * square + total * square * g + 1e-6)
    return _summed((alpha * g.clamp(min=0)).sum(positions), a)


def _summed(weights: Tensor, a: Tensor) -> Tensor:
    """Weights (t, n, C) and features (n, C, *grid): their sum over channels, as one product of matrices per sample."""
    maps = torch.matmul(weights.transpose(0, 1), a.flatten(2))
    return maps.transpose(0, 1).unflatten(2, a.shape[2:])
