"""A fine map of any method, where a class activation map says that something is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.contents import Model
from attrib.engine.grids import Reshape
from attrib.engine.inputs import Tensors, as_tuple
from attrib.engine.layers import Layer
from attrib.engine.target import TargetLike
from attrib.functional.cam import grad_cam
from attrib.functional.explanation import Explanation, Method, method

PRODUCTS: dict[str, Method[...]] = {}


@method(
    "Guided Grad-CAM",
    axioms=(),
    cost="Grad-CAM and the method",
    units="method",
    reference="arXiv:1610.02391",
    into=PRODUCTS,
)
def guided_grad_cam(
    method: Callable[..., Tensors],
    f: Model,
    x: Tensors,
    *,
    layer: Layer = "auto",
    reshape: Reshape | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Explanation:
    """Product of a method's map and Grad-CAM: fine detail, where the class is.

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
    same = {"target": target, "targets": targets, "classes": classes}
    how = {"batch_size": batch_size, "device": device, "progress": progress}
    where = grad_cam.explain(f, x, layer=layer, reshape=reshape, **same, **how)  # type: ignore[arg-type]
    fine = method(f, x, **same, **how)
    assert isinstance(fine, torch.Tensor)
    assert isinstance(where.attribution, torch.Tensor)
    maps = where.attribution
    lead = int(targets is not None)
    for _ in range(xs[0].ndim + lead - maps.ndim):
        maps = maps.unsqueeze(lead + 1)
    return where._replace(attribution=fine * maps, engine="layer")
