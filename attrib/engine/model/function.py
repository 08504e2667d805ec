"""Any callable as a function of rows, called without being changed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointFunction

from attrib.engine.graph.modes import NO_GRADIENT, differentiable, transformed
from attrib.engine.model.checks import (
    Batch,
    Ops,
    Trial,
    bare,
    batches_to_try,
    plain_calls,
    refuse_changing_outputs,
    refuse_dependent_rows,
    refuse_training_mode,
    row_difference,
    try_row,
)
from attrib.engine.model.companions import ALONE, Companions
from attrib.engine.model.parameters import (
    External,
    Model,
    dtype_of,
    padded_up_to,
    parts,
    refuse_uncallable,
    used,
    weights_of,
)
from attrib.engine.model.prepared import Knowledge, PreparedModel

Rows = tuple[Tensor, ...]

_REENTRANT = CheckpointFunction.forward.__code__
_COMPARING: ContextVar[bool] = ContextVar("comparing", default=False)


def comparing() -> bool:
    """Whether the model is called to be compared, not to be explained: hooks on its layers look away then."""
    return _COMPARING.get()


class Function:
    """The model as `rows -> (rows, ...)`: one float tensor out, checked, counted.

    Parameters
    ----------
    model : callable
        Takes inputs batched on dim 0; gives a tensor (N,), (N, C), (N, C, ...), or an object with `.logits`. Of a prepared
        model, what was learned of it is used and added to.
    samples : sequence of Tensor (N, ...), optional
        The inputs: a prepared model knows things of samples of one shape.
    companions : Companions, optional
        What goes into the model beside them.

    Attributes
    ----------
    model : callable
        As the user calls it.
    parts : list of Module
        All modules that the model is made of.
    rows : int
        Rows evaluated so far.
    knowledge : Knowledge
        What was learned of the model.
    notes : dict
        What users should know of how it was called.
    """

    def __init__(
        self, model: Model, samples: Sequence[Tensor] = (), companions: Companions | None = None
    ) -> None:
        refuse_uncallable(model, "model")
        prepared = model if isinstance(model, PreparedModel) else None
        self.model: Model = model if prepared is None else prepared.model
        self.companions = ALONE if companions is None else companions
        self.knowledge = prepared.knowledge(samples, self.companions.state()) if prepared else Knowledge()
        self.parts = prepared.parts if prepared else parts(self.model)
        if not self.knowledge.checked:
            refuse_training_mode(self.model, self.parts)
        self._tracked = differentiable(self.parts) if torch.cuda.is_available() else nullcontext
        self.rows = 0
        self.notes: dict[str, str | int | float] = {}
        self._trial: Trial | None = None
        self._ops: Ops | None = None
        self._alone, self._fewest = False, 1
        self._external = [part for part in self.parts if isinstance(part, External)]
        self._used = used(self._external) if self._external else None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters and buffers."""
        return sum(t.numel() * t.element_size() for t in weights_of(self.parts))

    @property
    def alone_untested(self) -> bool:
        """Whether rows go one by one, and none was called by itself so far."""
        return self._alone and self._trial is not None

    @property
    def compilations(self) -> int | None:
        """How many programs another library had to compile for this function's calls; None if torch runs the model."""
        return None if self._used is None else len(used(self._external) - self._used)

    @property
    def pads(self) -> bool:
        """Whether the model fills its calls up to a few sizes."""
        return bool(self._external)

    def is_known(self, measure: bool) -> bool:
        """Whether a check would tell nothing new; with `measure`, nothing of the memory of a row either."""
        return self.knowledge.checked and (self.knowledge.row_bytes is not None or not measure)

    def check(self, rows: Sequence[Tensor], count: int, *, alone: bool, measure: bool, padded: int) -> None:
        """Call the first of some rows in a batch of its own; the first call that follows is compared with it.

        Where there are several rows, a call of a single one is too early: nothing stands beside it.

        Parameters
        ----------
        rows : sequence of Tensor (2, ...)
            The first and the last of the rows that will be called first, which are those of the first samples.
        count : int
            How many these are.
        alone : bool
            Whether every call will be of one row: then rows may depend on each other, and a note says so.
        measure : bool
            Whether the memory of a row must be known.
        padded : int
            Rows that models of fixed sizes fill that call up to.

        Raises
        ------
        ValueError
            If the model draws random numbers.
        """
        known, rows, self._fewest = self.knowledge, tuple(rows), min(2, count)
        if alone:
            batches = [
                Batch(tuple(torch.cat([r[:1], r[:1]]) for r in rows), torch.zeros(2, dtype=torch.long), 0)
            ]
        else:
            batches = batches_to_try(rows, count, padded if self._external else None)
        self._ops = Ops() if measure else None
        with padded_up_to(padded) if self._external else nullcontext():
            trial = try_row(self._plain_call, batches)
        if self._ops is not None and trial is not None:
            size = max(1, len(trial.rows[0]))
            known.row_bytes, known.largest = self._ops.bytes // size, max(1, self._ops.largest // size)
        self._ops, self._alone = None, alone
        known.sizes_fixed |= trial is None or (not alone and len(trial.rows[0]) == count)
        self._trial = None if known.checked else trial
        known.checked |= trial is None and not alone

    def _plain_call(self, rows: Rows, samples: Tensor | None) -> Tensor:
        """Outputs of a trial, for copies of rows, which the model may write to."""
        copies = tuple(r.clone() for r in rows)
        versions = [c._version for c in copies]
        extra, named = self._beside(samples, rows[0])
        if self._ops is not None:
            self._ops.clear()
        back = self._follows_a_pass_back(copies)
        with (
            self._ops or nullcontext(),
            torch.set_grad_enabled(back),
            self._tracked() if back else nullcontext(),
            noted(copies),
        ):
            try:
                output = self.model(*self._handed(copies), *extra, **named)
            except AttributeError as error:  # as of a tensor that has no `astype`
                if not isinstance(error.obj, Tensor) or not hasattr(torch.empty(0).numpy(), error.name or ""):
                    raise
                self.knowledge.takes_arrays = True
                output = self.model(*self._handed(copies), *extra, **named)
        self.knowledge.writes |= [c._version for c in copies] != versions
        return one_tensor(output, len(rows[0])).detach()

    def _handed(self, rows: Rows) -> tuple[Any, ...]:
        """What goes into the model for rows: arrays of NumPy, where it takes no tensors."""
        return tuple(r.cpu().numpy() for r in rows) if self.knowledge.takes_arrays else rows

    def _follows_a_pass_back(self, rows: Rows) -> bool:
        """Whether rows are followed: where memory is measured, what recurrent layers keep for a pass back is most of what they take."""
        recurrent = any(isinstance(part, torch.nn.RNNBase) for part in self.parts)
        if self._ops is None or not recurrent or transformed():
            return False
        for r in rows:
            r.requires_grad_(r.is_floating_point())
        return True

    def _beside(self, samples: Tensor | None, rows: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What goes in beside rows of some samples."""
        return ((), {}) if self.companions is ALONE else self.companions.at(samples, rows)

    def output(self, *rows: Tensor, samples: Tensor | None = None) -> Tensor:
        """The model's output for a chunk of rows, which is not counted."""
        copies = tuple(r.clone() for r in rows) if self.knowledge.writes else rows
        extra, named = self._beside(samples, rows[0])
        with noted(copies):
            output = self.model(*self._handed(copies), *extra, **named)
        return one_tensor(output, len(rows[0]))

    def __call__(self, *rows: Tensor, samples: Tensor | None = None) -> Tensor:
        """Outputs for a chunk of rows.

        Parameters
        ----------
        *rows : Tensor (rows, ...)
            One per input.
        samples : Tensor (rows,) or (1,)
            The samples that they belong to.
        """
        copies = tuple(r.clone() for r in rows) if self.knowledge.writes else rows
        extra, named = self._beside(samples, rows[0])
        try:
            with self._tracked() if torch.is_grad_enabled() else nullcontext():
                with noted(copies):
                    output = self.model(*self._handed(copies), *extra, **named)
                y = one_tensor(output, len(rows[0]))
        except (RuntimeError, NotImplementedError, TypeError) as error:
            self._refuse_for_its_rows(rows, samples, error)
            refuse_numpy(error)
            raise
        self.rows += len(y)
        if self._trial is not None and len(y) >= self._fewest:
            self._compare(*(rows, samples, y) if self._is_tried(rows) else self._tried_beside(rows, samples))
        return y

    def _is_tried(self, rows: Rows) -> bool:
        """Whether the first of some rows is that of the trial."""
        trial = self._trial
        assert trial is not None
        pairs = [(bare(r)[0], t[trial.place]) for r, t in zip(rows, trial.rows, strict=True)]
        with plain_calls():
            return all(torch.equal(row, tried) for row, tried in pairs)

    def _tried_beside(self, rows: Rows, samples: Tensor | None) -> tuple[Rows, Tensor, Tensor]:
        """A call of the trial's row in place of the first of other rows, where calls of single rows came before."""
        trial = self._trial
        assert trial is not None
        place = slice(trial.place, trial.place + 1)
        batch = tuple(torch.cat([t[place], bare(r)[1:]]) for t, r in zip(trial.rows, rows, strict=True))
        i = torch.arange(len(rows[0])) if samples is None else samples.cpu().expand(len(rows[0])).clone()
        i[0] = trial.samples[trial.place]
        with plain_calls():
            return batch, i, self._plain_call(batch, i)

    def _refuse_for_its_rows(self, rows: Rows, samples: Tensor | None, error: Exception) -> None:
        """Raise a better error than the model's own, where its dtype or its dependent rows are the cause."""
        refuse_other_dtype(self.model, rows, error)
        if self._trial is None or isinstance(error, torch.OutOfMemoryError):
            return
        points = tuple(bare(r) for r in rows)
        with plain_calls():
            try:
                y = self._plain_call(points, samples)
            except Exception:  # then the model's own error is the one to see
                return
        self._compare(points, samples, y)

    def _compare(self, rows: Rows, samples: Tensor | None, y: Tensor) -> None:
        """Compare the first call with the trial.

        Raises
        ------
        ValueError
            If the first row's output differs, and calls are of more than one row.
        """
        trial = self._trial
        assert trial is not None
        i = torch.arange(len(y)) if samples is None else samples.cpu().expand(len(y))
        token = _COMPARING.set(True)
        try:
            if not self._alone:
                refuse_dependent_rows(self._plain_call, self.model, rows, i, y, trial)
            elif row_difference(y, trial):
                refuse_changing_outputs(self._plain_call, trial)
                self.knowledge.sizes_fixed = True
                self.notes["rows"] = "the model's rows depend on each other; each was called alone"
        finally:
            _COMPARING.reset(token)
        self._trial = None  # only now: a model that was refused is refused again
        self.knowledge.checked = not self._alone  # rows alone are no proof for rows beside each other


@contextmanager
def noted(rows: Rows) -> Iterator[None]:
    """An error of the model's own gets a note that says what it was called with, and what may be wrong with that."""
    try:
        yield
    except Exception as error:
        if not any("attrib called" in note for note in getattr(error, "__notes__", ())):
            shapes = " and ".join(f"{tuple(r.shape)}, {r.dtype}" for r in rows)
            lone = "; if `x` is one sample, pass x[None]" if rows[0].ndim in (1, 3) else ""
            fixed = re.search(r"size\(\)\[0\] == (\d+)", str(error))  # a guard of torch.export on the batch
            if fixed is not None:
                lone = (
                    f"; it is exported for {fixed[1]} rows alone: export it with a batch of any size, "
                    'torch.export.export(..., dynamic_shapes=({0: torch.export.Dim("batch")},)), or pass batch_size='
                    f"{fixed[1]} with as many samples, or a multiple of them"
                )
            error.add_note(
                f"attrib called the model with {shapes}: dim 0 of `x` is samples, and the other dims go in as they are{lone}"
            )
        raise


def refuse_other_dtype(model: Model, rows: tuple[Tensor, ...], error: Exception) -> None:
    """Raise a TypeError that names `x` where torch's error is about dtypes, and the inputs' is not the model's."""
    expected, text = dtype_of(model), str(error)
    if expected is None or "type" not in text:
        return
    others = [r.dtype for r in rows if r.dtype != expected]
    floats = [dtype for dtype in others if dtype.is_floating_point]
    if not floats and not (others and "same" in text):  # whole numbers are right for many models
        return
    name = str(expected).removeprefix("torch.")
    way_out = ", or the model with model.to(x.dtype)" if floats else ""
    raise TypeError(
        f"`x` is {', '.join(map(str, floats or others))}, but the model's parameters are {expected}; convert it with "
        f"x.to(torch.{name}){way_out}"
    ) from error


def refuse_numpy(error: Exception) -> None:
    """Raise a TypeError where a model takes tensors out of torch, so that nothing can be differentiated.

    Under a transform of `torch.func` it says nothing: what autograd can do is tried afterwards.
    """
    if "call numpy()" in str(error) and not transformed():
        raise TypeError(NO_GRADIENT) from error


def refuse_without_derivative(error: Exception) -> None:
    """Raise a ValueError of our own where a model calls an op that torch does not differentiate."""
    op = re.search(r"derivative for aten::(\w+) is not implemented", str(error))
    if op is not None:
        raise ValueError(
            f"`model` cuts the gradient: torch has no derivative of {op[1]}; write it in ops that have one, or take edits "
            "(feature_ablation, occlusion)"
        ) from error


WITHOUT_CHECKPOINT = "leave it out (in transformers model.gradient_checkpointing_disable())"


def refuse_checkpoint(error: Exception) -> None:
    """Raise a RuntimeError of our own where a model holds torch's re-entrant checkpoints."""
    if "use_reentrant" in str(error):
        raise RuntimeError(
            "`model` calls torch.utils.checkpoint in its re-entrant form, through which no gradient reaches an input; call "
            f"checkpoint(..., use_reentrant=False), or {WITHOUT_CHECKPOINT}"
        ) from error


def in_reentrant_checkpoint() -> bool:
    """Whether what runs now does so inside a re-entrant checkpoint of torch."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not _REENTRANT:
        frame = frame.f_back
    return frame is not None


def inside_checkpoint(layer: str) -> RuntimeError:
    """The error for a layer inside a re-entrant checkpoint."""
    return RuntimeError(
        f"`layer` {layer!r} lies inside torch.utils.checkpoint in its re-entrant form, out of which no gradient leads; choose the "
        f"layer that holds it, call checkpoint in its other form, or {WITHOUT_CHECKPOINT}"
    )


def refuse_untraceable(error: Exception) -> None:
    """Raise a RuntimeError of our own where `engine="func"` was asked of a model that torch.func does not take."""
    text = str(error)
    why = (
        "torch.utils.checkpoint or other hooks on saved tensors"
        if "saved tensor hooks" in text
        else "a torch.autograd.Function without setup_context, as re-entrant checkpoints are"
        if "setup_context" in text
        else None
    )
    if why is not None:
        raise RuntimeError(
            f'`engine` is "func", but `model` calls {why}, which torch.func does not take; leave `engine` at "auto", which goes on '
            "with autograd there"
        ) from error


def once(why: str) -> AbstractContextManager[Any]:
    """A context for a model that runs changed: a RuntimeError of this text where it would run a part again for the gradient, outside."""
    return torch.autograd.graph.disable_saved_tensors_hooks(why)


def one_tensor(output: Any, n: int) -> Tensor:
    """The float tensor in a model's output, its rows first; of arrays of NumPy their tensor.

    Raises
    ------
    TypeError
        For tuples, dicts and objects without `logits`, and integer outputs; the message says how to take one of theirs.
    ValueError
        If the first dim is not the batch.
    """
    y = getattr(output, "logits", output)
    if isinstance(y, dict) and "logits" in y:
        y = y["logits"]
    if type(y).__module__ == "numpy" and hasattr(y, "__array_interface__"):
        y = torch.as_tensor(y)
    if not isinstance(y, Tensor):
        raise TypeError(
            f"`model` returned {_described(output)}, expected a tensor or an object with `.logits`; {_advice(output, n)}"
        )
    if y.ndim == 0 or y.shape[0] != n:
        alone = "; if `x` is one sample, give it a batch dim: x[None]" if y.ndim else ""
        raise ValueError(
            f"`model` returned shape {tuple(y.shape)} for {n} rows, expected ({n},), ({n}, C) or ({n}, C, ...); "
            f"every row must get its own output{alone}"
        )
    if not y.is_floating_point():
        raise TypeError(f"`model` returned {y.dtype}, which has no gradient; return logits, not labels")
    return y


LISTED = 6  # entries of an output that a message names


def _entries(output: Any) -> dict[str, Any]:
    """What a tuple, a mapping or an object holds, by the code that takes it out."""
    if hasattr(output, "_fields"):
        return {f".{name}": getattr(output, name) for name in output._fields}
    if isinstance(output, tuple | list):
        return {f"[{k}]": value for k, value in enumerate(output)}
    if isinstance(output, Mapping):
        return {f"[{name!r}]": value for name, value in output.items()}
    return {
        f".{name}": value
        for name, value in getattr(output, "__dict__", {}).items()
        if not name.startswith("_") and value is not None
    }


def _described(output: Any) -> str:
    """The type of an output, and what it holds."""
    parts = [
        f"{code} {tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__}"
        for code, value in _entries(output).items()
    ]
    listed = ", ".join(parts[:LISTED]) + ", ..." * (len(parts) > LISTED)
    return f"a {type(output).__name__}" + (f" ({listed})" if listed else "")


def _advice(output: Any, n: int) -> str:
    """How to wrap a model so that it returns the first tensor with rows that its output holds, however deep."""
    depth: list[tuple[str, Any]] = [("", output)]
    for code, value in depth:
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim and len(value) == n:
            return f"wrap it: lambda *x: model(*x){code}"
        if code.count("[") + code.count(".") < 3 and not isinstance(value, Tensor):
            depth.extend((code + step, inner) for step, inner in _entries(value).items())
    return "wrap it in a function that returns a float tensor with a row for each sample"
