"""Class activation maps: where a layer's features speak for a score.

Each is a way to combine features (N, C, *grid) and gradients (T, N, C, *grid) to maps (T, N, *grid); `maps.cam` makes the
public function of it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attrib.functional.maps import cam, mapped


@cam(mapped, "Grad-CAM", reference="arXiv:1610.02391")
def grad_cam(a: Tensor, g: Tensor) -> Tensor:
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
    positions = tuple(range(3, g.ndim))
    return _summed(g.mean(positions), a)


@cam(mapped, "Grad-CAM++", reference="arXiv:1710.11063")
def grad_cam_plus_plus(a: Tensor, g: Tensor) -> Tensor:
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
    positions = tuple(range(3, g.ndim))
    square = g**2
    total = a.flatten(2).sum(2).view(*a.shape[:2], *[1] * len(positions))
    alpha = square / (2 * square + total * square * g + 1e-6)
    return _summed((alpha * g.clamp(min=0)).sum(positions), a)


@cam(mapped, "Layer-CAM", reference="doi:10.1109/TIP.2021.3089943")
def layer_cam(a: Tensor, g: Tensor) -> Tensor:
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
    return (g.clamp(min=0) * a).sum(2)


@cam(mapped, "HiResCAM", reference="arXiv:2011.08891")
def hires_cam(a: Tensor, g: Tensor) -> Tensor:
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
    return (g * a).sum(2)


def _summed(weights: Tensor, a: Tensor) -> Tensor:
    """Weights (t, n, C) and features (n, C, *grid): their sum over channels, as one product of matrices per sample."""
    maps = torch.matmul(weights.transpose(0, 1), a.flatten(2))
    return maps.transpose(0, 1).unflatten(2, a.shape[2:])
