"""Class activation maps: where a layer's features speak for a score.

Each is a way to combine features (N, C, *grid) and gradients (T, N, C, *grid) to maps (T, N, *grid); `layer_maps.cam` makes
the public function of it; `guided_grad_cam` multiplies a method's attribution by such a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrib._arguments import list_of, refuse_unnamed
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.inputs import Tensors, as_tuple
from attrib.engine.layers.at_layer import Call, Layer
from attrib.engine.layers.image_form import Reshape
from attrib.engine.model.parameters import Model
from attrib.engine.target import TargetLike
from attrib.functional.arguments import checked
from attrib.functional.explanation import METHODS, Explanation, method
from attrib.functional.layer_maps import Layers, cam, layer_maps


@cam(layer_maps, "Grad-CAM", reference="arXiv:1610.02391")
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


@cam(layer_maps, "Grad-CAM++", reference="arXiv:1710.11063")
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


@cam(layer_maps, "Layer-CAM", reference="doi:10.1109/TIP.2021.3089943")
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


@cam(layer_maps, "HiResCAM", reference="arXiv:2011.08891")
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


@checked
def class_activation_maps(
    methods: Sequence[str],
    f: Model,
    x: Tensors,
    *,
    layer: Layers = "auto",
    call: Call = None,
    relu: bool = True,
    upsample: bool = True,
    normalize: str | None = None,
    reshape: Reshape | None = None,
    onto: int = 0,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> dict[str, Explanation]:
    """Several class activation maps of the same layer, from one pass of the model.

    Parameters
    ----------
    methods : sequence of str
        Names of methods of this family: `"grad_cam"`, `"grad_cam_plus_plus"`, `"layer_cam"`, `"hires_cam"`.
    {f}
    {x}
    {map}
    {passes}

    Returns
    -------
    dict of str to Explanation
        By method, each as ``method.explain`` gives it.

    Raises
    ------
    ValueError
        For other methods, and for what `grad_cam` refuses.

    Notes
    -----
    One pass to the layer and back, however many methods there are.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import class_activation_maps
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> x = torch.tensor([[[[4.0, 0.0], [0.0, -8.0]]]])
    >>> both = class_activation_maps(["grad_cam", "layer_cam"], net, x, layer="0")
    >>> torch.equal(both["grad_cam"].attribution, both["layer_cam"].attribution)
    True
    """
    family = {name: m for name, m in METHODS.items() if m.about.result == "layer map"}
    methods = list_of("methods", methods)
    refuse_unnamed("methods", methods, family)
    combinations = [family[name].combine for name in methods]  # type: ignore[attr-defined]
    explanations = layer_maps(
        combinations, f, x, layer=layer, call=call, relu=relu, upsample=upsample, normalize=normalize, reshape=reshape,
        onto=onto, target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args, batch_size=batch_size, device=device,
        progress=progress,
    )  # fmt: skip
    return dict(zip(methods, explanations, strict=True))


@method(
    "Guided Grad-CAM",
    axioms=(),
    cost="Grad-CAM and the method",
    units="method",
    reference="arXiv:1610.02391",
    inputs="one",
    layer=True,
    wraps=True,
)
def guided_grad_cam(
    method: Callable[..., Tensors],
    f: Model,
    x: Tensors,
    *,
    layer: Layer = "auto",
    call: int | None = None,
    reshape: Reshape | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Explanation:
    """Product of a method's attribution and Grad-CAM: fine detail, where the class is.

    ``a = method(f, x) * grad_cam(f, x)``, the same for all channels

    Parameters
    ----------
    method : callable
        A function of `attrib.functional`, or a `functools.partial` of one. With
        ``partial(saliency, absolute=False)`` this is the gradient; the paper's guided backpropagation is left out, as
        it shows edges of the image whatever the model has learnt (arXiv:1810.03292).
    {f}
    {x}
        One input, of spatial dims.
    layer : str or torch.nn.Module, default "auto"
        As for `grad_cam`.
    call : int, optional
        As for `grad_cam`; one call.
    reshape : callable, optional
        As for `grad_cam`.
    {passes}

    Returns
    -------
    Tensor
        Shaped like the input, with a leading dim for `targets`. Unit: output units times the method's.
        ``.explain(...)`` with the same arguments returns an `Explanation`.

    Raises
    ------
    ValueError
        For several inputs, several layers, and what `grad_cam` and the method refuse.

    Notes
    -----
    Cost: Grad-CAM and the method.

    References
    ----------
    Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra (2016), Grad-CAM: visual explanations from deep networks via
    gradient-based localization. arXiv:1610.02391

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import guided_grad_cam, input_x_gradient
    >>> net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> guided_grad_cam(input_x_gradient, net, torch.tensor([[[[4.0, 0.0], [0.0, -8.0]]]]), layer="0")
    tensor([[[[1., 0.],
              [0., -0.]]]])
    """
    xs = as_tuple(x)
    if len(xs) > 1:
        raise ValueError(f"`x` has {len(xs)} inputs; guided_grad_cam takes one: close over the others")
    if isinstance(layer, list | tuple):
        raise ValueError("`layer` is a list; guided_grad_cam takes one layer")
    if call == "all":
        raise ValueError('`call` is "all"; guided_grad_cam takes one call: call=0')
    same = {"target": target, "targets": targets, "classes": classes}
    options: dict[str, Any] = {"batch_size": batch_size, "device": device, "progress": progress}
    if additional_forward_args:
        options["additional_forward_args"] = additional_forward_args
    where = grad_cam.explain(f, x, layer=layer, call=call, reshape=reshape, **same, **options)  # type: ignore[arg-type]
    fine = method(f, x, **same, **options)
    assert isinstance(fine, torch.Tensor)
    assert isinstance(where.attribution, torch.Tensor)
    maps = where.attribution
    lead = 1 + int(targets is not None)
    dims = where.dims or tuple(range(xs[0].ndim - 1 - (maps.ndim - lead), xs[0].ndim - 1))
    for d in range(xs[0].ndim - 1):
        maps = maps if d in dims else maps.unsqueeze(lead + d)
    return where._replace(attribution=fine * maps, engine="layer")
