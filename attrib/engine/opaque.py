"""Programs that torch runs without telling: scripts, traces and exports. Whether their rows mix is found by trying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import _disable_current_modes

from attrib.engine.graph.modes import outside_transforms, plain

KINDS = (torch.jit.ScriptModule, torch.jit.ScriptFunction, fx.GraphModule)


def opaque(model: Any, found: Sequence[nn.Module]) -> bool:
    """Whether a model, of which all modules were found, is or holds such a program."""
    return isinstance(model, KINDS) or any(isinstance(part, KINDS) for part in found)


def refuse_mixed(call: Callable[..., Tensor], rows: Sequence[Tensor], y: Tensor) -> None:
    """Raise if the first row's output depends on the rows beside it.

    Parameters
    ----------
    call : callable
        The model: rows to outputs (rows, ...).
    rows : sequence of Tensor (n, ...)
        Inputs.
    y : Tensor (n, ...)
        Their outputs.

    Raises
    ------
    ValueError
        If it does.

    Notes
    -----
    One forward pass of as many rows; of two for a single one, where the program takes two.
    """
    with _disable_current_modes(), outside_transforms():
        y, *rows = (plain(t) for t in (y, *rows))
        try:
            again = call(*(torch.cat([r[:1], _other(r[1:] if len(r) > 1 else r)]) for r in rows))
        except (RuntimeError, ValueError, AssertionError):
            if len(rows[0]) > 1:
                raise
            return  # made for one row
        _refuse_change(y[0], again[0])


def _refuse_change(y: Tensor, again: Tensor) -> None:
    scale = float(y.abs().max()) if y.numel() else 0.0
    off = float((y - again).abs().max()) if y.numel() else 0.0
    if off > torch.finfo(y.dtype).eps ** 0.5 * scale:
        raise ValueError(
            f"`model` mixes samples: the output of the first row changes by {off:.2g} with the rows beside it, as with "
            "the statistics of the batch; call model.eval() before it is scripted, traced or exported"
        )


def _other(rows: Tensor) -> Tensor:
    return rows * 1.5 + 1 if rows.is_floating_point() else rows.flip(0)
