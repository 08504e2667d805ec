"""A model that remembers what was learned of it, as long as it stays as it is; also while it is explained block by block."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Number
from typing import Any

import torch
from torch import Tensor, nn

from attrib._public import public
from attrib.engine.model.checks import refuse_training_mode
from attrib.engine.model.parameters import Model, parts, refuse_uncallable, weights, weights_of


@dataclass
class Knowledge:
    """What was learned of a model.

    Attributes
    ----------
    checked : bool
        Whether its rows are known to be independent, and its outputs the same at every call.
    writes : bool
        Whether it writes to its inputs, so that they have to be copied.
    takes_arrays : bool
        Whether it takes arrays of NumPy, and no tensors.
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
    costly : dict
        Edits for which a window does not pay, with its gain and the reason.
    """

    checked: bool = False
    writes: bool = False
    takes_arrays: bool = False
    sizes_fixed: bool = False
    row_bytes: int | None = None
    largest: int = 1
    engine: str | None = None
    two_rows: bool | None = None
    first_layer: Any = "unknown"
    graphs: dict[Any, Any] = field(default_factory=dict)
    map_layers: dict[Any, Any] = field(default_factory=dict)
    costly: dict[Any, tuple[float, str]] = field(default_factory=dict)


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
        refuse_uncallable(model, "f")
        self.model = model
        self.parts = parts(self.model)
        self._knowledge = Knowledge()
        self._state: list[Any] = []
        self._forms: dict[Any, PreparedModel] = {}
        self._shown: dict[Any, tuple[list[Any], Any]] = {}

    def form(self, key: Any, make: Callable[[Model], Model]) -> PreparedModel:
        """Another form of the model, such as one whose inputs go in by name, of which is remembered what was learned, too."""
        if key not in self._forms:
            self._forms[key] = PreparedModel(make(self.model))
        return self._forms[key]

    def shown(self, key: Any, make: Callable[[], Any]) -> Any:
        """What does not depend on the values of weights, such as the form of a result: made once for a key, and anew for other modules."""
        state = state_of(self.model, parts(self.model), values=False)
        before, value = self._shown.get(key, (None, None))
        if before != state:
            value = make()
            self._shown[key] = state, value
        return value

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


@public
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
            elif isinstance(v, Number | str | tuple):  # of NumPy, of an enumeration, sizes
                state.append(v)
            else:
                state.append(id(v))
    for t in weights(model) if not isinstance(model, nn.Module) else weights_of(parts_):
        state += _tensor_state(t, values)
    return state


def _tensor_state(t: Tensor, values: bool) -> tuple[Any, ...]:
    if values:
        return id(t), t.dtype, t.device, digest(t)
    return id(t), t.dtype, t.device, -1 if t.is_inference() else t._version


_ADDED_UP, _WIDTH = 1 << 16, 509  # bytes, and columns

_SETTINGS = {bool, int, float, str, tuple, type(None)}  # most of what modules hold beside tensors


def digest(t: Tensor) -> int:
    """A number that changes when a tensor's values do. One read of the tensor, at the speed of the memory.

    Large tensors are added up first, in columns of a table whose width is a prime, so that no dim of theirs fills it: a change of
    one value is seen, and an exchange of two unless both stand in one column. On a GPU the sums are all that is copied.
    """
    if t.numel() == 0 or t.is_meta:
        return 0
    bits = (t if t.ndim and t.is_contiguous() else t.reshape(-1).contiguous()).view(torch.uint8)
    if t.nbytes < _ADDED_UP:
        return zlib.crc32(bits.numpy(force=True).data)
    bits = bits.view(-1)
    whole = len(bits) // (8 * _WIDTH) * (8 * _WIDTH)
    if bits.is_cpu:  # NumPy adds rows up twice as fast
        sums = bits[:whole].numpy().view("uint64").reshape(-1, _WIDTH).sum(0)
    else:
        aligned = bits if bits.storage_offset() % 8 == 0 else bits.clone()
        sums = aligned[:whole].view(torch.int64).view(-1, _WIDTH).sum(0).cpu().numpy()
    return zlib.crc32(bits[whole:].cpu().numpy().data, zlib.crc32(sums.data))


class BlockModel(PreparedModel):
    """A prepared model for blocks of samples of one shape, which may run in several threads.

    Parameters
    ----------
    model : callable
        As every method takes it.

    Notes
    -----
    What the first block teaches holds for all: that rows are independent, the memory that a row takes, the engine, the
    affine first layer. None of it depends on the values of weights, so these are not read; it is forgotten when version
    counters, modes, or numbers that modules hold change. Each block gets a copy, so that its result depends neither on
    the blocks before it nor on those that run beside it. Recorded graphs are not kept: with a graph of an earlier block
    the model would run once more, to be compared with it.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._of_first_block: tuple[list, Knowledge] = ([], Knowledge())

    def knowledge(self, samples: Sequence[Tensor] = (), beside: Sequence[Any] = ()) -> Knowledge:
        """What is known of the model as it is now, for samples (N, ...) of these shapes and dtypes, and values beside them."""
        self.parts = parts(self.model)
        shapes = [(t.shape[1:], t.dtype, t.device) for t in samples]
        state = [*shapes, *beside, *state_of(self.model, self.parts, values=False)]
        last, learned = self._of_first_block
        if state == last and learned.checked:
            learned.graphs.clear()
            return replace(learned, graphs={})
        self._of_first_block = state, (fresh := Knowledge())
        return fresh


class FirstLook(PreparedModel):
    """A model of which one row is called to see what it gives, before anything is asked of its rows.

    Parameters
    ----------
    model : callable
        As every method takes it.
    measured : bool, default True
        Whether the memory of a row matters.

    Raises
    ------
    ValueError
        If it is in training mode.
    """

    def __init__(self, model: Model, measured: bool = True) -> None:
        super().__init__(model)
        self._measured = measured
        refuse_training_mode(getattr(model, "model", model), self.parts)

    def knowledge(self, samples: Sequence[Tensor] = (), beside: Sequence[Any] = ()) -> Knowledge:
        """Nothing but that no check is wanted yet."""
        return Knowledge(checked=True, row_bytes=None if self._measured else 1)
