"""What a model predicts, and one of the things that it returns, as a model: a head of a tuple, the score of a profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attrib._public import public
from attrib.engine.batching import BatchSize, Progress
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, as_tuple
from attrib.engine.model.parameters import Model
from attrib.functional.arguments import checked

Score = Callable[[Tensor], Tensor]


class Head:
    """A model of which one head is returned. Made by `head`."""

    def __init__(self, f: Model, which: Sequence[int | str], score: Score | None) -> None:
        self.model, self.which, self.score = f, tuple(which), score
        self.__wrapped__ = getattr(f, "forward", f)  # names of the inputs

    def __call__(self, *x: Any, **named: Any) -> Tensor:
        """The head's output, or its score."""
        y = taken(self.model(*x, **named), self.which)
        return y if self.score is None else self.score(y)


@public
def head(f: Model, *which: int | str, score: Score | None = None) -> Head:
    """One head of a model that returns several: ``x -> f(x)[which]``.

    Parameters
    ----------
    f : callable
        The model. It may return a tuple, a mapping, or an object.
    *which : int or str
        The head: a number, or a key or an attribute; several lead deeper, ``head(f, "human", 0)``.
    score : callable, optional
        Of the head's output, such as `profile_score`; default: the output as it is.

    Returns
    -------
    callable
        Takes what the model takes, under the same names. It goes into any method; layers keep their names.

    Raises
    ------
    ValueError
        When called, if there is no such head; the message lists those that there are.

    Examples
    --------
    The counts of a model that gives a profile and counts, as BPNet does, and the score of its profile:

    >>> import torch
    >>> from attrib.functional import head, input_x_gradient, profile_score
    >>> bpnet = lambda x: (2 * x, x.sum((1, 2))[:, None])
    >>> x = torch.tensor([[[1.0, 2.0]]])
    >>> input_x_gradient(head(bpnet, 1), x, target=0)
    tensor([[[1., 2.]]])
    >>> torch.equal(head(bpnet, 0, score=profile_score)(x), profile_score(2 * x))
    True
    """
    return Head(f, which, score)


def taken(y: Any, which: Sequence[int | str]) -> Any:
    """What lies at a place in what a model returned."""
    for k, step in enumerate(which):
        parts = _parts(y)
        if step not in parts:
            behind = f" of {', '.join(map(str, which[:k]))}" if k else ""
            listed = ", ".join(map(str, parts)) or f"no parts, it is a {type(y).__name__}"
            raise ValueError(f"`which` is {step!r}, but the model's output{behind} has {listed}")
        y = parts[step]
    return y


def _parts(y: Any) -> dict[int | str, Any]:
    """Heads by number and by name."""
    if isinstance(y, Mapping):
        return dict(y)
    if isinstance(y, tuple | list):
        named = {name: getattr(y, name) for name in getattr(y, "_fields", ())}
        return {**dict(enumerate(y)), **named}
    if isinstance(y, Tensor):
        return {}
    return {k: v for k, v in getattr(y, "__dict__", {}).items() if not k.startswith("_") and v is not None}


@public
def profile_score(y: Tensor) -> Tensor:
    r"""The score of a profile's logits: their mean, weighted by the profile.

    .. math:: s = \sum_k p_k \, (y_k - \bar y), \qquad p = \mathrm{softmax}(y)

    Parameters
    ----------
    y : Tensor (N, ...)
        Logits along positions (and strands, which share one softmax).

    Returns
    -------
    Tensor (N,)
        In logits. Large where the profile has peaks.

    Notes
    -----
    It is the profile score of bpnet-lite and ChromBPNet, and differentiable in both factors, as there. Of DeepLIFT's
    attributions it takes the sum to the change of the score.

    References
    ----------
    Avsec et al. (2021), Base-resolution models of transcription-factor binding reveal soft motif syntax.
    doi:10.1038/s41588-021-00782-6

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import profile_score
    >>> profile_score(torch.zeros(1, 2, 5))
    tensor([0.])
    >>> profile_score(torch.tensor([[[3.0, 0.0, 0.0]]])).round(decimals=3)
    tensor([1.7280])
    """
    logits = y.flatten(1)
    logits = logits - logits.mean(1, keepdim=True)
    return (logits * logits.softmax(1)).sum(1)


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
