"""What a call may not change, the model, the inputs and global state; and whether a model's rows depend on each other."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attrib._public import public
from attrib.engine.inputs import Tensors
from attrib.engine.model.parameters import Model, modules
from attrib.testing.violation import (
    AxiomError,
    Rows,
    Violation,
    difference,
    documented,
    judged,
    largest,
    output,
    rows_of,
)

_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


def state(f: Model, x: Tensors) -> dict[str, Any]:
    """Everything that a call of a method must leave as it is, by name.

    Values, gradients, flags and hooks of every parameter and buffer, modes and attributes of every module, values of
    the inputs, states of the random generators, and torch's global switches.
    """
    entries = _globals()
    for j, t in enumerate(rows_of(x)):
        entries |= _tensor(f"input {j}", t)
    for k, module in enumerate(modules(f)):
        for name, part in module.named_modules(prefix=f"model {k}" if k else "model"):
            entries |= _module(name, part)
    return entries


def _globals() -> dict[str, Any]:
    return {
        "torch's random state": torch.get_rng_state(),
        "torch's random state on the GPU": torch.cuda.get_rng_state_all()
        if torch.cuda.is_initialized()
        else [],
        "NumPy's random state": repr(np.random.get_state()),  # noqa: NPY002
        "Python's random state": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "fused attention": (
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
        ),
        "mkldnn": torch.backends.mkldnn.enabled if hasattr(torch.backends.mkldnn, "enabled") else None,
        "threads": torch.get_num_threads(),
        "global hooks": len(nn.modules.module._global_forward_hooks),
    }


def _tensor(name: str, t: Tensor) -> dict[str, Any]:
    return {
        f"{name}: values": t.detach().clone(),
        f"{name}: requires_grad": t.requires_grad,
        f"{name}: grad": None if not t.is_leaf or t.grad is None else t.grad.detach().clone(),
        f"{name}: hooks": len(t._backward_hooks or ()),
        f"{name}: object": id(t),
    }


def _module(name: str, part: nn.Module) -> dict[str, Any]:
    tensors = {
        f"{name}.{n}": t for n, t in (*part._parameters.items(), *part._buffers.items()) if t is not None
    }
    entries: dict[str, Any] = {
        f"{name}: training": part.training,
        f"{name}: attributes": sorted(vars(part)),
        f"{name}: submodules": [(n, id(m)) for n, m in part._modules.items()],
        f"{name}: hooks": [list(getattr(part, h, ())) for h in _HOOKS],
    }
    for n, t in tensors.items():
        entries |= _tensor(n, t)
    return entries


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the entries that differ."""
    return [n for n in before | after if not _same(before.get(n), after.get(n))]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


def changed(before: dict[str, Any], after: dict[str, Any]) -> Violation:
    """An infinite violation if any entry differs."""
    names = changes(before, after)
    return Violation(math.inf, what=f"the call changed {'; '.join(names[:5])}") if names else Violation(0.0)


@public
@contextmanager
def untouched(f: Model, x: Tensors) -> Iterator[None]:
    """Context in which a model, inputs and global state must stay as they are, even if an error is raised.

    Parameters
    ----------
    f : callable
        The model.
    x : Tensor or tuple of Tensor
        Inputs.

    Raises
    ------
    AxiomError
        Naming what changed.

    Examples
    --------
    >>> import torch
    >>> from attrib.testing import untouched
    >>> model = torch.nn.Linear(2, 1)
    >>> with untouched(model, torch.ones(1, 2)):
    ...     model.weight.requires_grad_(False)
    Traceback (most recent call last):
    attrib.testing.violation.AxiomError: purity is violated: the call changed model.weight: requires_grad ...
    """
    before = state(f, x)
    try:
        yield
    finally:
        violation = changed(before, state(f, x))
        if violation.size:
            raise AxiomError("purity", violation, 0.0)


@public
@documented
def independent_rows(f: Model, x: Tensors, *, tolerance: float | None = None) -> Violation:
    """Each row of a model's output depends on that row of its input alone, and is the same at every call.

    ``f(x) = f(x)`` when called twice; ``f(x)[i] = f(x[i:i+1])[0]``; and the same for the rows in reverse, for row i beside other
    rows, and for row i beside copies of itself.

    Parameters
    ----------
    {f}
    {x}
    {tolerance}

    Returns
    -------
    Violation
        Relative to the largest output; `where` starts with the row.

    Raises
    ------
    AxiomError
        If the violation is larger than `tolerance`.

    Notes
    -----
    Cost: four calls of the model for each row, and three of all rows. Every method of `attrib` makes a short form of this
    check by itself, on the first row.

    Examples
    --------
    >>> import torch
    >>> from attrib.testing import independent_rows
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    >>> independent_rows(torch.tanh, x).size
    0.0
    >>> print(independent_rows(lambda x: x - x.mean(0), x))
    output of a row beside other rows is -4 at (1, 1), expected 1.5: off by 3.67 of the largest value
    """
    xs = rows_of(x)
    with torch.no_grad():
        y = output(f, xs)
        worst = difference((output(f, xs),), (y,), "output of the same rows again")
        worst = largest(
            worst, difference((output(f, tuple(t.flip(0) for t in xs)).flip(0),), (y,), "output in reverse")
        )
        for i in range(len(y)):
            row = tuple(t[i : i + 1] for t in xs)
            for text, rows, place in (
                ("output of a row alone", row, 0),
                ("output of a row beside copies of itself", _repeated(row, 3), 1),
                ("output of a row beside other rows", _among_others(row), 1),
            ):
                v = difference((output(f, rows)[place : place + 1],), (y[i : i + 1],), text, (y,))
                worst = largest(worst, v._replace(where=(i, *v.where[1:])) if v.where else v)
    return judged("independence of rows", worst, tolerance)


def _repeated(row: Rows, count: int) -> Rows:
    return tuple(t.repeat(count, *[1] * (t.ndim - 1)) for t in row)


def _among_others(row: Rows) -> Rows:
    """The row between two others; whole numbers and booleans in another order stay values that a model knows."""
    others = [2 * t + 1 if t.is_floating_point() else t.flip(-1) if t.ndim > 1 else t for t in row]
    return tuple(torch.cat([o, t, o]) for o, t in zip(others, row, strict=True))
