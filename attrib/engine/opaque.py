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
    One forward pass of as many rows; of two for a single one, where the program takes two. Where it refuses the other
    rows, as one that looks at their range does, another of rows nearer to what it was given: the first one repeated.
    """
    with _disable_current_modes(), outside_transforms():
        y, *rows = (plain(t) for t in (y, *rows))
        again = _beside(call, rows, _other)
        again = _beside(call, rows, _nearer) if again is None else again
        if again is None or not _changes(y[0], again[0]):
            return  # made for one row, or of rows apart
        if len(rows[0]) == 1:  # alone it may have been rounded otherwise
            y = call(*(torch.cat([r, r]) for r in rows))
        off = _changes(y[0], again[0])
    if off:
        raise ValueError(
            f"`model` mixes samples: the output of the first row changes by {off:.2g} with the rows beside it, as with "
            "the statistics of the batch; call model.eval() before it is scripted, traced or exported"
        )


def _beside(
    call: Callable[..., Tensor], rows: Sequence[Tensor], others: Callable[[Tensor], Tensor]
) -> Tensor | None:
    """Outputs of the first row and others; None where the program does not take these."""
    try:
        return call(*(torch.cat([r[:1], others(r)]) for r in rows))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError, torch.jit.Error):
        return None


def _changes(y: Tensor, again: Tensor) -> float:
    """By how much two outputs differ, if that is more than rounding."""
    scale = float(y.abs().max()) if y.numel() else 0.0
    off = float((y - again).abs().max()) if y.numel() else 0.0
    return off if off > torch.finfo(y.dtype).eps ** 0.5 * scale else 0.0


def _other(rows: Tensor) -> Tensor:
    rows = rows[1:] if len(rows) > 1 else rows
    return rows * 1.5 + 1 if rows.is_floating_point() else rows.flip(0)


def _nearer(rows: Tensor) -> Tensor:
    if len(rows) > 1:
        return rows[:1].expand_as(rows[1:])
    return rows / 2 if rows.is_floating_point() else rows
