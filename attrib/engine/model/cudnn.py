"""Recurrent layers on a GPU: cuDNN's kernels refuse a backward pass in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from attrib.engine.graph.modes import RECURRENT

_NAMES = {"LSTM", "GRU", "RNN"}


class PlainRecurrence(TorchFunctionMode):
    """Runs recurrent layers without cuDNN, and everything else with it.

    Notes
    -----
    torch's own kernels take a few times as long, and have a backward pass in every mode (pytorch#15788, captum#564).
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        with without_cudnn() if func in RECURRENT else nullcontext():
            return func(*args, **(kwargs or {}))


class without_cudnn:
    """A context in which torch uses its own kernels. (`torch.backends.cudnn.flags` sets more.)"""

    def __enter__(self) -> None:
        """Begin."""
        self._before = torch._C._get_cudnn_enabled()
        torch._C._set_cudnn_enabled(False)

    def __exit__(self, *error: object) -> None:
        """End: the setting as it was."""
        torch._C._set_cudnn_enabled(self._before)


def differentiable(modules: Sequence[nn.Module]) -> Callable[[], AbstractContextManager[Any]]:
    """What a model of these modules is called in, so that a backward pass goes through it.

    Without recurrent layers: nothing. In a script a single layer cannot be told apart, so all of it runs without cuDNN.
    """
    if any(isinstance(m, torch.jit.ScriptModule) and m.original_name in _NAMES for m in modules):
        return without_cudnn
    return PlainRecurrence if any(isinstance(m, nn.RNNBase) for m in modules) else nullcontext
