"""Any callable as a function of rows, called without being changed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from attrib.engine.graph.recorder import Recorder
from attrib.engine.model.checks import Flat, Watch, opaque, refuse_mixed
from attrib.engine.model.external import foreign, present, used
from attrib.engine.model.parameters import Model, dtype_of, modules, parts, weights


def refuse_training_mode(model: Model, found: Sequence[nn.Module]) -> None:
    """Raise if one of the modules that were found in a model would let rows or chance mix into a row's output.

    Raises
    ------
    ValueError
        Naming the submodules: batch norm in training mode or without running statistics, dropout in training mode.
    """
    if not any(_mixes_rows(part) or _drops(part) for part in found):
        return
    wrong = [
        f"{name or type(part).__name__} ({type(part).__name__})"
        for module in modules(model)
        for name, part in module.named_modules()
        if _mixes_rows(part) or _drops(part)
    ]
    shown = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
    raise ValueError(
        f"`model` is not deterministic row by row: {shown} would mix samples or draw at random. "
        "Call model.eval() first (batch norm needs running statistics)."
    )


def _mixes_rows(part: nn.Module) -> bool:
    if not isinstance(part, nn.modules.batchnorm._NormBase):
        return False
    if isinstance(part, nn.modules.instancenorm._InstanceNorm):
        return part.training and part.track_running_stats
    return part.training or part.running_mean is None


def _drops(part: nn.Module) -> bool:
    if not part.training:
        return False
    if isinstance(part, nn.modules.dropout._DropoutNd):
        return part.p > 0
    rate = getattr(part, "dropout", 0.0) if isinstance(part, nn.RNNBase | nn.MultiheadAttention) else 0.0
    return isinstance(rate, float) and rate > 0


class Function:
    """The model as `rows -> (rows, ...)`: one float tensor out, checked, counted.

    Parameters
    ----------
    model : callable
        Takes inputs batched on dim 0; gives a tensor (N,), (N, C), (N, C, ...), or an object with `.logits`.
    measure : callable, optional
        Says whether the memory of a row must be known; asked as long as it is not. By default it must.

    Attributes
    ----------
    rows : int
        Rows evaluated so far.
    row_bytes : int or None
        Bytes of all intermediate values per row, known after the first call that was measured.
    parts : list of Module
        All modules that the model is made of.
    largest : int
        Bytes of a row's largest tensor, inputs included, known with `row_bytes`.

    Notes
    -----
    The first call runs under `Watch`, which refuses models that draw random numbers or use batch statistics. The first
    one that is to be measured is watched op by op: `batch_size="auto"` derives its chunk from the activations.
    """

    def __init__(self, model: Model, measure: Callable[[], bool] = lambda: True) -> None:
        if not callable(model):
            raise TypeError(f"`model` must be callable, got {type(model).__name__}")
        self.parts = parts(model)
        refuse_training_mode(model, self.parts)
        self.model, self._measure = model, measure
        self.rows = 0
        self._watched = False
        self.row_bytes: int | None = None
        self.largest = 1
        self._writes = self._on_places = False
        self._foreign = foreign(self.parts)
        self._used = used(self._foreign)

    @functools.cached_property
    def weight_bytes(self) -> int:
        """Bytes of the parameters, buffers and constants."""
        return sum(t.numel() * t.element_size() for t in weights(self.model))

    @property
    def compilations(self) -> int | None:
        """How many programs another library had to compile for this function's calls; None if torch runs the model."""
        return len(used(self._foreign) - self._used) if self._foreign else None

    def take(self, model: Model) -> None:
        """Go on with another model, of which nothing is known."""
        self.model, self.row_bytes, self._watched = model, None, False

    def __call__(self, *rows: Tensor) -> Tensor:
        """Outputs for a chunk of rows."""
        n = len(rows[0])
        whole = self.row_bytes is None and (self._measure() or not self._light(rows[0].device))
        if whole or not self._watched:
            y = self._first(rows, whole)
        else:
            own = tuple(r.clone() for r in rows) if self._writes else rows
            with Flat() if self._on_places else nullcontext():
                y = one_tensor(self.model(*own), n)
        self.rows += n
        return y

    def _light(self, device: torch.device) -> bool:
        """Whether a call need not be watched op by op: torch runs the model, and its generators are known."""
        return not self._foreign and device.type in ("cpu", "cuda")

    def _first(self, rows: tuple[Tensor, ...], whole: bool) -> Tensor:
        """A watched call, on copies, as a recording has them: the model may write to its input, which is the caller's."""
        recorder, program = present(Recorder), not self._watched and opaque(self.model, self.parts)
        own = tuple(r.clone() for r in rows) if recorder is None or program else rows
        versions = [r._version for r in own]
        y, watch = self._under_watch(own, whole, recorder)
        if watch.suspect and recorder is None:
            return self._first(rows, whole=True)
        self._writes, self._on_places = [r._version for r in own] != versions, watch.on_places
        n = max(len(rows[0]), 1)
        if watch.bytes is not None:
            self.row_bytes = watch.bytes // n
            self.largest = max(watch.largest, *(r.nbytes for r in rows)) // n
        if program:
            refuse_mixed(lambda *xs: one_tensor(self.model(*xs), len(xs[0])), rows, y)
        self._watched = True
        return y

    def _under_watch(
        self, rows: tuple[Tensor, ...], whole: bool, recorder: Recorder | None
    ) -> tuple[Tensor, Watch]:
        """Outputs for rows that the model may write to, and what was seen; a recorder sees draws by itself."""
        if recorder is not None:
            recorder.watched = True
        try:
            with Watch(whole, rows[0].device if recorder is None else None) as watch:
                return one_tensor(self.model(*rows), len(rows[0])), watch
        except RuntimeError as error:
            if recorder is not None and recorder.refused is not None:  # TorchScript made another error of it
                raise recorder.refused from None
            refuse_other_dtype(self.model, rows, error)
            raise


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
