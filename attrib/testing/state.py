"""What a call may not change: the model, the inputs, and the global state of the process."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attrib.engine.inputs import Tensors
from attrib.engine.model.parameters import Model, modules
from attrib.testing.calling import rows_of
from attrib.testing.violation import AxiomError, Violation

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
