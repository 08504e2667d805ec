"""Class activation maps position by position: features times their own gradients, not times a mean."""

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
    "Layer-CAM",
    axioms=(),
    cost="1 forward to the layer, 1 forward + backward from there",
    units="output",
    reference="doi:10.1109/TIP.2021.3089943",
    into=MAPS,
)
def layer_cam(
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
    """Features of a layer times their positive gradients, position by position.

    ``L = relu(sum over c of relu(g_c) A_c)``, ``g = d f / d A``

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
    As gradients are not averaged, early layers give fine maps too.

    References
    ----------
    Jiang, Zhang, Hou, Cheng, Wei (2021), LayerCAM: exploring hierarchical class activation maps for localization. IEEE
    Transactions on Image Processing 30. doi:10.1109/TIP.2021.3089943

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import layer_cam
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> layer_cam(net, torch.tensor([[[[4.0, 0.0], [0.0, -8.0]]]]), layer="0")
    tensor([[[1., 0.],
             [0., 0.]]])
    """
    return mapped(
        _times_positive, f, x, layer=layer, relu=relu, upsample=upsample, normalize=normalize, reshape=reshape, onto=onto,
        target=target, targets=targets, classes=classes, batch_size=batch_size, device=device, progress=progress,
    )  # fmt: skip


@method(
    "HiResCAM",
    axioms=(),
    cost="1 forward to the layer, 1 forward + backward from there",
    units="output",
    reference="arXiv:2011.08891",
    into=MAPS,
)
def hires_cam(
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
    """Features of a layer times their gradients, position by position.

    ``L = relu(sum over c of g_c A_c)``, ``g = d f / d A``

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
    Shows the positions that the model used if everything behind the layer is linear. With ``relu=False`` the sum over
    positions is the inner product of features and gradient: the score less its bias, if that part is piecewise linear.

    References
    ----------
    Draelos, Carin (2020), Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks.
    arXiv:2011.08891

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import hires_cam
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> hires_cam(net, torch.tensor([[[[4.0, 0.0], [0.0, -8.0]]]]), layer="0", relu=False)
    tensor([[[ 1.,  0.],
             [ 0., -2.]]])
    """
    return mapped(
        _times_gradient, f, x, layer=layer, relu=relu, upsample=upsample, normalize=normalize, reshape=reshape, onto=onto,
        target=target, targets=targets, classes=classes, batch_size=batch_size, device=device, progress=progress,
    )  # fmt: skip


def _times_positive(a: Tensor, g: Tensor) -> Tensor:
    return (g.clamp(min=0) * a).sum(2)


def _times_gradient(a: Tensor, g: Tensor) -> Tensor:
    return (g * a).sum(2)
