"""Any callable as a function of rows, called without being changed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.flat import Flat
from attrib.engine.foreign import foreign, used
from attrib.engine.watch import Watch

Model = Callable[..., Any]


def modules(model: Model) -> list[nn.Module]:
    """The `torch.nn.Module` objects a callable is made of, as far as Python shows them.

    Looks through `functools.partial`, bound methods, callable objects, closures and globals that the function names.
    """
    return [v for v in _held(model) if isinstance(v, nn.Module)]


def _held(model: Model) -> list[nn.Module | Tensor]:
    """The modules, and the tensors outside of modules, that a callable is made of."""
    found: list[nn.Module | Tensor] = []
    seen: set[int] = set()
    queue: list[Any] = [model]
    while queue:
        value = queue.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, nn.Module | Tensor):
            found.append(value)
        else:
            queue.extend(_parts(value))
    return found


def _weights(model: Model) -> Iterator[Tensor]:
    """Parameters, buffers, and tensors that a function names."""
    for value in _held(model):
        if isinstance(value, Tensor):
            yield value
        else:
            for part in submodules(value):
                yield from part.parameters(recurse=False)
                yield from part.buffers(recurse=False)
            for outside in foreign([value]):
                yield from outside.weights()


def submodules(module: nn.Module) -> list[nn.Module]:
    """A module and all below it, as `modules()`, whose nested generators take long where layers lie deep."""
    found: dict[int, nn.Module] = {}
    stack = [module]
    while stack:
        part = stack.pop()
        if id(part) not in found:
            found[id(part)] = part
            stack.extend(reversed(list(part.children())))
    return list(found.values())


def _parts(value: Any) -> list[Any]:
    """What a callable that is no module holds on to."""
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if inspect.ismethod(value):
        return [value.__self__, value.__func__]
    if inspect.isfunction(value):
        return [] if (value.__module__ or "").partition(".")[0] == "torch" else _named(value)
    if hasattr(value, "__dict__") and not isinstance(value, type) and callable(value):
        return [v for v in vars(value).values() if isinstance(v, nn.Module | Tensor)]
    return []


def _named(function: Callable) -> list[Any]:
    """The modules and functions that a Python function's code names."""
    try:
        names = inspect.getclosurevars(function)
    except ValueError:  # a closure cell that is still empty
        return []
    held = (*names.nonlocals.values(), *names.globals.values())
    kinds = (nn.Module, Tensor, functools.partial)
    return [v for v in held if isinstance(v, kinds) or inspect.isfunction(v) or inspect.ismethod(v)]


def refuse_training_mode(model: Model) -> None:
    """Raise if a module would let rows or chance mix into a row's output.

    Raises
    ------
    ValueError
        Naming the submodules: batch norm in training mode or without running statistics, dropout in training mode.
    """
    if not any(_mixes_rows(p) or _drops(p) for module in modules(model) for p in submodules(module)):
        return
    wrong = [
        f"{name or type(part).__name__} ({type(part).__name__})"
        for module in modules(model)
        for name, part in module.named_modules()
        if _mixes_rows(part) or _drops(part)
    ]
    if wrong:
        shown = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise ValueError(
            f"`model` is not deterministic row by row: {shown} would mix samples or draw at random. "
            "Call model.eval() first (batch norm needs running statistics)."
        )


def _mixes_rows(part: nn.Module) -> bool:
    if isinstance(part, nn.modules.instancenorm._InstanceNorm):
        return part.training and part.track_running_stats
    if isinstance(part, nn.modules.batchnorm._BatchNorm):
        return part.training or part.running_mean is None
    return False


def _drops(part: nn.Module) -> bool:
    if not part.training:
        return False
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return part.p > 0
    rate = getattr(part, "dropout", 0.0) if isinstance(part, nn.RNNBase | nn.MultiheadAttention) else 0.0
    return isinstance(rate, float) and rate > 0


def device_of(model: Model) -> torch.device | None:
    """The device of the model's first parameter, buffer or constant; None if it has none."""
    return next((t.device for t in _weights(model)), None)


def dtype_of(model: Model) -> torch.dtype | None:
    """The floating dtype that all of the model's parameters share (a function's constants, if it has no module)."""
    module = [p.dtype for m in modules(model) for p in m.parameters() if p.is_floating_point()]
    dtypes = set(module or [t.dtype for t in _weights(model) if t.is_floating_point()])
    return dtypes.pop() if len(dtypes) == 1 else None


@contextmanager
def unchanged(model: Model) -> Iterator[None]:
    """Put back any buffer that the model's forward pass writes to (a call counter, say)."""
    buffers = [
        (b, b._version, b.detach().clone())
        for m in modules(model)
        for part in submodules(m)
        for b in part.buffers(recurse=False)
        if not b.is_inference()
    ]
    try:
        yield
    finally:
        for buffer, version, value in buffers:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(value)


class Function:
    """The model as `rows -> (rows, ...)`: one float tensor out, checked, counted.

    Parameters
    ----------
    model : callable
        Takes inputs batched on dim 0; gives a tensor (N,), (N, C), (N, C, ...), or an object with `.logits`.

    Attributes
    ----------
    rows : int
        Rows evaluated so far.
    row_bytes : int or None
        Bytes of all intermediate values per row, known after the first call.
    weight_bytes : int
        Bytes of the parameters, buffers and constants.
    largest : int
        Bytes of a row's largest tensor, inputs included, known after the first call.

    Notes
    -----
    The first call runs under `Watch`, which refuses models that draw random numbers or use batch statistics and
    measures the activations, from which `batch_size="auto"` derives its chunk.
    """

    def __init__(self, model: Model) -> None:
        if not callable(model):
            raise TypeError(f"`model` must be callable, got {type(model).__name__}")
        refuse_training_mode(model)
        self.model = model
        self.rows = 0
        self.row_bytes: int | None = None
        self.weight_bytes = sum(t.numel() * t.element_size() for t in _weights(model))
        self.largest = 1
        self._writes = self._on_places = False
        self._foreign = foreign(modules(model))
        self._used = used(self._foreign)

    @property
    def compilations(self) -> int | None:
        """How many programs another library had to compile for this function's calls; None if torch runs the model."""
        return len(used(self._foreign) - self._used) if self._foreign else None

    def __call__(self, *rows: Tensor) -> Tensor:
        """Outputs for a chunk of rows."""
        n = len(rows[0])
        if self.row_bytes is None:
            y = self._first(rows)
        else:
            own = tuple(r.clone() for r in rows) if self._writes else rows
            with Flat() if self._on_places else nullcontext():
                y = one_tensor(self.model(*own), n)
        self.rows += n
        return y

    def _first(self, rows: tuple[Tensor, ...]) -> Tensor:
        """A watched call, on copies: the model may write to its input, which is the caller's."""
        own = tuple(r.clone() for r in rows)
        versions = [r._version for r in own]
        try:
            with Watch() as watch:
                y = one_tensor(self.model(*own), len(rows[0]))
        except RuntimeError as error:
            refuse_other_dtype(self.model, rows, error)
            raise
        self._writes, self._on_places = [r._version for r in own] != versions, watch.on_places
        n = max(len(rows[0]), 1)
        self.row_bytes = watch.bytes // n
        self.largest = max(watch.largest, *(r.nbytes for r in rows)) // n
        return y


def refuse_other_dtype(model: Model, rows: tuple[Tensor, ...], error: RuntimeError) -> None:
    """Raise a TypeError that names `x` where torch's error is about dtypes, and the inputs' is not the model's."""
    expected, got = dtype_of(model), [r.dtype for r in rows if r.is_floating_point()]
    if "type" in str(error) and expected is not None and any(dtype != expected for dtype in got):
        named = str(expected).removeprefix("torch.")
        raise TypeError(
            f"`x` is {', '.join(map(str, got))}, but the model's parameters are {expected}; convert it with "
            f"x.to(torch.{named}), or the model with model.to(x.dtype)"
        ) from error


def one_tensor(output: Any, n: int) -> Tensor:
    """The float tensor in a model's output, its rows first.

    Raises
    ------
    TypeError
        For tuples, dicts without `logits`, and integer outputs.
    ValueError
        If the first dim is not the batch.
    """
    y = getattr(output, "logits", output)
    if isinstance(y, dict) and "logits" in y:
        y = y["logits"]
    if not isinstance(y, Tensor):
        raise TypeError(
            f"`model` returned a {type(output).__name__}, expected a tensor or an object with `.logits`; "
            "wrap it: lambda *x: model(*x)[0]"
        )
    if y.ndim == 0 or y.shape[0] != n:
        raise ValueError(
            f"`model` returned shape {tuple(y.shape)} for {n} rows, expected ({n},), ({n}, C) or ({n}, C, ...); "
            "every row must get its own output"
        )
    if not y.is_floating_point():
        raise TypeError(f"`model` returned {y.dtype}, which has no gradient; return logits, not labels")
    return y
