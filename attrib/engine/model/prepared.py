"""A model that remembers what was learned of it, as long as it stays as it is."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.model.parameters import Model, parts, weights, weights_of


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
    engine : str or None
        The engine that traces it.
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
    engine: str | None = None
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
    shapes of samples do. Weights are compared by a digest of their values, which sees writes through `.data` too.
    """

    def __init__(self, model: Model) -> None:
        if not callable(model):
            raise TypeError(f"`f` must be callable, got {type(model).__name__}")
        self.model = model
        self.parts = parts(self.model)
        self._knowledge = Knowledge()
        self._state: list[Any] = []
        self._forms: dict[Any, PreparedModel] = {}

    def form(self, key: Any, make: Callable[[Model], Model]) -> PreparedModel:
        """Another form of the model, such as one whose inputs go in by name, of which is remembered what was learned, too."""
        if key not in self._forms:
            self._forms[key] = PreparedModel(make(self.model))
        return self._forms[key]

    def __call__(self, *x: Any, **options: Any) -> Any:
        """What the model returns."""
        return self.model(*x, **options)

    def __reduce__(self) -> tuple:
        """Copies and pickles are of the model alone: what they know, they learn anew."""
        return type(self), (self.model,)

    def knowledge(self, samples: Sequence[Tensor] = (), beside: Sequence[Any] = ()) -> Knowledge:
        """What is known of the model as it is now, for samples (N, ...) of these shapes and dtypes, and values beside them."""
        self.parts = parts(self.model)
        shapes = [(t.shape[1:], t.dtype, t.device) for t in samples]
        state = [*shapes, *beside, *state_of(self.model, self.parts)]
        if state != self._state:
            self._knowledge, self._state = Knowledge(), state
        return self._knowledge


def prepare(f: Model) -> PreparedModel:
    """A model that remembers what was learned of it, so that later calls of any method are cheaper.

    Every method takes it where it takes a model; results are the same.

    Parameters
    ----------
    f : callable
        The model.

    Returns
    -------
    PreparedModel
        Callable as the model is. It holds the model itself, not a copy.

    Raises
    ------
    TypeError
        If `f` is not callable.

    Notes
    -----
    Remembered: that rows are independent and nothing is drawn, the memory that a row takes, the engine that works, the
    recorded graphs of DeepLIFT, the affine first layer. All is forgotten when weights or buffers change (a checksum
    of their values sees writes through `.data` too), when modules are exchanged or switched between
    training and evaluation, when numbers, tensors, functions or hooks that modules hold change, and when samples come in another shape, dtype or device.
    Not seen are changes of numbers that a plain function closes over. Cost: one read of all weights per call.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import deep_lift, prepare, saliency
    >>> model = prepare(torch.nn.Linear(2, 1, bias=False).eval())
    >>> x = torch.ones(1, 2)
    >>> torch.equal(deep_lift(model, x), saliency(model, x, absolute=False))
    True
    """
    return f if isinstance(f, PreparedModel) else PreparedModel(f)


def state_of(model: Model, parts_: Sequence[nn.Module], values: bool = True) -> list[Any]:
    """All that the outputs of a model depend on, small enough to be kept and compared; weights by their values if `values`."""
    state: list[Any] = []
    for part in parts_:
        state.append(id(part))
        for v in part.__dict__.values():
            if type(v) in _SETTINGS:
                state.append(v)
            elif isinstance(v, dict):  # weights, modules and hooks, by name or number
                if v:
                    state += (*v, *map(id, v.values()))
            elif isinstance(v, Tensor):
                state += _tensor_state(v, values)
            elif callable(v):
                state.append(id(v))
    for t in weights(model) if not isinstance(model, nn.Module) else weights_of(parts_):
        state += _tensor_state(t, values)
    return state


def _tensor_state(t: Tensor, values: bool) -> tuple[Any, ...]:
    if values:
        return id(t), t.dtype, t.device, digest(t)
    return id(t), t.dtype, t.device, -1 if t.is_inference() else t._version


_OF_NUMPY = {torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool}
_SETTINGS = (bool, int, float, str, tuple)  # numbers and texts that modules hold, `training` among them


def digest(t: Tensor) -> int:
    """A number that changes when a tensor's values do. One read of the tensor.

    On a CPU a checksum of its bytes; elsewhere sums of its bits by row and by column of a table, which see any change of
    one value and any exchange of two, and are all that is copied.
    """
    if t.numel() == 0 or t.is_meta:
        return 0
    if t.is_cpu and t.dtype in _OF_NUMPY and t.is_contiguous():
        return zlib.crc32(t.detach().numpy().data)
    bits = t.detach().reshape(-1).view(torch.uint8)
    if not bits.is_cpu:
        table = torch.nn.functional.pad(bits, (0, -len(bits) % 1024)).view(torch.int32).view(-1, 256)
        bits = torch.cat([table.sum(0), table.sum(1)]).cpu().view(torch.uint8)
    return zlib.crc32(bits.numpy().data)
