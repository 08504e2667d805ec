"""The deletion curve: confidence while the pixels of the largest attributions are removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attrib.engine.model.function import one_tensor

STEPS = 11


@torch.no_grad()
def deletion(
    model: Callable[..., Any],
    rows: Tensor,
    maps: Tensor,
    target: Tensor,
    steps: int = STEPS,
    batch_size: int = 32,
    several: bool = False,
) -> Tensor:
    """Probability of a class after the most important share of the pixels has been replaced by the image's mean.

    Parameters
    ----------
    model : callable
        Images (N, C, y, x) to logits (N, classes).
    rows : Tensor (N, C, y, x)
        Images as the model takes them.
    maps : Tensor (N, y, x)
        Importance; among equals the first row and column go first.
    target : Tensor (N,)
        The class of each image.
    steps : int, default 11
        Shares from 0 to 1.
    batch_size : int, default 32
        Rows per model call.
    several : bool, default False
        Whether an image may have several labels: probabilities are sigmoids then.

    Returns
    -------
    Tensor (N, steps)
        Their mean is the area under the curve: small if the attribution ranks the pixels well.
    """
    order = torch.sort(maps.flatten(1), dim=1, descending=True, stable=True).indices
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    shares = torch.linspace(0, 1, steps, device=rows.device)
    curves = []
    for start in range(0, len(rows), max(1, batch_size // steps)):
        some = slice(start, start + max(1, batch_size // steps))
        x, n = rows[some], len(rows[some])
        gone = rank[some, None] < (shares[None, :, None] * order.shape[1]).round()
        gone = gone.view(n, steps, 1, *x.shape[2:])
        left = torch.where(gone, x.mean((2, 3), keepdim=True)[:, None], x[:, None]).flatten(0, 1)
        logits = one_tensor(model(left), len(left)).float()
        p = (logits.sigmoid() if several else logits.softmax(1)).view(n, steps, -1)
        curves.append(p.gather(2, target[some].view(-1, 1, 1).expand(-1, steps, 1))[..., 0])
    return torch.cat(curves)
