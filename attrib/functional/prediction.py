"""What a model predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.contents import Model
from attrib.engine.gradients import Kernel
from attrib.engine.inputs import Tensors, as_tuple
from attrib.functional.maps import rows_at
from attrib.functional.wording import fill


def predict(
    f: Model,
    x: Tensors,
    *,
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
        For inputs that are no float tensors, and outputs that are none.
    ValueError
        For a model in training mode (batch norm, dropout) or one that draws random numbers, and NaN or infinite inputs
        (the samples are named).

    Notes
    -----
    One forward pass per sample. The model is called as the methods call it, so that these are the numbers that they
    explain. Outputs that are not finite come back as they are.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import predict
    >>> predict(torch.nn.Flatten(), torch.ones(2, 1, 3), batch_size=1)
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    xs = as_tuple(x)
    with Kernel(f, xs, batch_size=batch_size, device=device, progress=progress) as kernel:
        kernel.batches.expect(len(xs[0]))

        def work(start: int, stop: int) -> Tensor:
            y = kernel.function(*rows_at(kernel, xs, torch.arange(start, stop)))
            kernel.batches.measured(kernel.function.row_bytes, kernel.function.largest)
            return y.detach().to(xs[0].device)

        return torch.cat(list(kernel.batches.run(len(xs[0]), work)))


predict.__doc__ = fill(predict.__doc__)
