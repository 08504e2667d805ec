"""The convolutions of each branch of a network of two inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrib.functional import layer_activation
from attrib.workflows.fcgr.pairs import BRANCHES


class Layers(NamedTuple):
    """A branch's convolutions.

    Attributes
    ----------
    first : tuple of str
        Dotted names of those that read the image itself: one, or the paths of a first block.
    last : str or None
        The last one.
    """

    first: tuple[str, ...]
    last: str | None


def branch_layers(model: nn.Module, x: Mapping[str, Tensor], beside: Any = ()) -> dict[str, Layers]:
    """The first and last convolution of each branch: those whose output depends on one input and not on the other.

    Parameters
    ----------
    model : torch.nn.Module
        Of two inputs.
    x : mapping of Tensor
        One sample or more; the first is used, and a shifted copy of it in which every value is larger.
    beside : tuple or mapping, optional
        What goes in beside the first sample, as `additional_forward_args`.

    Returns
    -------
    dict of str to Layers
        By input. Convolutions that both inputs reach, or that are called twice or never, belong to no branch.
    """
    a, b = (x[name][:1] for name in BRANCHES)
    other_a, other_b = (x[name][:1].roll(1, -1) + 1 for name in BRANCHES)
    convolutions: dict[str, list[str]] = {name: [] for name in BRANCHES}
    for name, part in model.named_modules():
        if not isinstance(part, nn.Conv2d):
            continue
        plain = _output(model, (a, b), beside, name)
        if plain is None:
            continue
        moved = [_differs(plain, _output(model, rows, beside, name)) for rows in ((other_a, b), (a, other_b))]
        if moved.count(True) == 1:
            convolutions[BRANCHES[moved.index(True)]].append(name)
    return {n: _layers(model, names, x[n].shape[1]) for n, names in convolutions.items()}


def _layers(model: nn.Module, names: list[str], channels: int) -> Layers:
    """The first and last of a branch's convolutions; the first ones have as many channels as the image."""
    first = [n for n in names if getattr(model.get_submodule(n), "in_channels", 0) == channels]
    return Layers(tuple(first or names[:1]), names[-1] if names else None)


def _output(model: nn.Module, rows: tuple[Tensor, Tensor], beside: Any, layer: str) -> Tensor | None:
    try:
        output = layer_activation(model, rows, layer=layer, additional_forward_args=beside)
    except ValueError:  # called twice, or not called
        return None
    return output if isinstance(output, Tensor) else None


def _differs(output: Tensor, other: Tensor | None) -> bool:
    return other is not None and not torch.equal(output, other)
