"""A model that remembers what was learned of it, as long as it stays as it is."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.model.parameters import Model, modules, parts, weights


@dataclass
class Knowledge:
    """What was learned of a model.

    Attributes
    ----------
    checked : bool
        Whether its rows are known to be independent, and its outputs the same at every call.
    writes : bool
        Whether it writes to its inputs, so that they have to be copied.
    sizes_fixed : bool
        Whether it takes no other number of rows, or rows depend on each other: no row may then be added to a call.
    row_bytes, largest : int or None
        Bytes of all values that a row makes, and of the largest.
    two_rows : bool or None
        Whether passes back have to be of two rows at least.
    first_layer : object
        The affine first layer, None where there is none; `"unknown"` before it was looked for.
    graphs : dict
        Recorded graphs, by what was recorded.
    map_layers : dict
        Layers with maps and their image form, by what was asked for.
    """

    checked: bool = False
    writes: bool = False
    sizes_fixed: bool = False
    row_bytes: int | None = None
    largest: int = 1
    two_rows: bool | None = None
    first_layer: Any = "unknown"
    graphs: dict[Any, Any] = field(default_factory=dict)
    map_layers: dict[Any, Any] = field(default_factory=dict)


class PreparedModel:
    """A model that remembers what was learned of it. Made by `attrib.prepare`.

    Parameters
    ----------
    model : callable
        As every method takes it.

    Notes
    -----
    Remembered: that rows are independent, the memory that a row takes, recorded graphs (DeepLIFT), the affine first layer.
    It is forgotten when weights, buffers, modes, dtypes, devices, modules or numbers that modules hold change, or the
    shapes of samples do. Weights are compared by their version counters and by a digest of their values, which sees writes
    through `.data` too.
    """

    def __init__(self, model: Model) -> None:
        if not callable(model):
            raise TypeError(f"`f` must be callable, got {type(model).__name__}")
        self.model: Model = model.model if isinstance(model, PreparedModel) else model
        self._knowledge = Knowledge()
        self._state: tuple = ()

    def __call__(self, *x: Any, **options: Any) -> Any:
        """What the model returns."""
        return self.model(*x, **options)

    def knowledge(self, samples: Sequence[Tensor] = ()) -> Knowledge:
        """What is known of the model as it is now, for samples (N, ...) of these shapes and dtypes."""
        shapes = tuple((t.shape[1:], t.dtype, t.device) for t in samples)
        state = (shapes, _state(self.model))
        if state != self._state:
            self._knowledge, self._state = Knowledge(), state
        return self._knowledge


def _state(model: Model) -> tuple:
    """All that the outputs of a model depend on, small enough to be kept and compared."""
    modules_ = parts(model)
    return (
        tuple((id(part), part.training, _settings(part)) for part in modules_),
        tuple((id(t), t.dtype, t.device, t.shape, _version(t), digest(t)) for t in weights(model)),
        tuple(id(root) for root in modules(model)),
    )


def _settings(part: nn.Module) -> tuple:
    """The numbers and texts that a module holds."""
    return tuple(v for v in vars(part).values() if isinstance(v, bool | int | float | str | tuple))


def _version(t: Tensor) -> int:
    return -1 if t.is_inference() else t._version


def digest(t: Tensor) -> int:
    """A number that changes when a tensor's values do. One read of the tensor.

    On a CPU a checksum of its bytes; elsewhere sums of its bits by row and by column of a table, which see any change of
    one value and any exchange of two, and are all that is copied.
    """
    if t.numel() == 0 or t.is_meta:
        return 0
    bits = t.detach().contiguous().reshape(-1).view(torch.uint8)
    if not bits.is_cpu:
        table = torch.nn.functional.pad(bits, (0, -len(bits) % 1024)).view(torch.int32).view(-1, 256)
        bits = torch.cat([table.sum(0), table.sum(1)]).cpu().view(torch.uint8)
    return zlib.crc32(bits.numpy().data)
