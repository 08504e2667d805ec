"""What a model predicts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, as_tuple
from attrib.engine.model.parameters import Model
from attrib.functional.arguments import checked


@checked
def predict(
    f: Model,
    x: Tensors,
    *,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Tensor:
    """Outputs of the model.

    Parameters
    ----------
    {f}
    {x}
    {chunks}

    Returns
    -------
    Tensor
        (N, ...): the outputs (or the `.logits`) as the model gives them, without a graph, on the inputs' device.

    Raises
    ------
    TypeError
        For inputs that are no tensors, and outputs that are no float tensors.
    ValueError
        For a model in training mode (batch norm, dropout) or one that draws random numbers, and NaN or infinite inputs
        (the samples are named).

    Notes
    -----
    One forward pass per sample. The model is called as the methods call it, so that these are the numbers that they
    explain. Whole numbers, such as tokens, may be inputs too, since nothing is differentiated. Outputs that are not
    finite come back as they are.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import predict
    >>> predict(torch.nn.Flatten(), torch.ones(2, 1, 3), batch_size=1)
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    xs = as_tuple(x, integers=True)
    with Passes(
        f, xs, len(xs[0]), additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        return passes.outputs_at(xs, torch.arange(len(xs[0]))).detach().to(xs[0].device)
