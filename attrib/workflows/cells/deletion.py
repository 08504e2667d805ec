"""The deletion curves of cell images: the class's probability as the most important pixels become the image's mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from attrib import functional
from attrib.engine.model.function import one_tensor

STEPS = 10
CONTROLS = 5  # random orders, shared by all methods


def deletion(
    model: Callable[..., Any],
    rows: Tensor,
    maps: Tensor,
    target: Tensor,
    batch_size: int = 32,
    several: bool = False,
    beside: Any = (),
    seed: int = 0,
) -> functional.Curve:
    """Deletion curves of several methods, beside random orders of the pixels.

    Parameters
    ----------
    model : callable
        Images (N, C, y, x) to logits (N, classes).
    rows : Tensor (N, C, y, x)
        Images as the model takes them.
    maps : Tensor (method, N, y, x)
        Importance; the channels of a pixel go together.
    target : Tensor (N,)
        The class of each image.
    batch_size : int, default 32
        Rows per model call.
    several : bool, default False
        Whether an image may have several labels: probabilities are sigmoids then.
    beside : tuple, mapping or Beside
        What goes into the model beside the images, as `additional_forward_args`.
    seed : int, default 0
        Of the random orders.

    Returns
    -------
    Curve
        Scores (method, N, 11) are probabilities; areas and z (method, N), and `random_area` that of the same random orders for
        all methods.
    """

    def probabilities(x: Tensor, *values: Any, **named: Any) -> Tensor:
        logits = one_tensor(model(x, *values, **named), len(x)).float()
        return logits.sigmoid() if several else logits.softmax(1)

    return functional.deletion.explain(
        probabilities, rows, maps[:, :, None].to(rows.device), baselines=rows.mean((2, 3), keepdim=True),
        targets=[target.tolist()] * len(maps), steps=STEPS, n_random=CONTROLS, seed=seed, batch_size=batch_size,
        additional_forward_args=beside,
    )  # fmt: skip
