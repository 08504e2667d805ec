"""Whether each row's output depends on that row alone: asked of every model before its gradients are believed.

Modules are asked for their mode. Everything else is tried: a row is called again, at another place, beside other rows and
in a batch of another size. What counts is what the output does, not which ops are called.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import RLock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from attrib.engine.graph.modes import outside_transforms, plain, transformed
from attrib.engine.model.parameters import Model, modules

Rows = tuple[Tensor, ...]
Call = Callable[[Rows, Tensor], Tensor]  # rows, and their samples, to outputs (rows, ...)

ROUNDING = 100  # eps of the largest output: smaller differences are rounding

REFUSALS = (
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    IndexError,
    torch.jit.Error,
)  # of rows, by models


def refuse_training_mode(model: Model, parts: Sequence[nn.Module]) -> None:
    """Raise if one of the modules of a model would let rows or chance mix into a row's output.

    Raises
    ------
    ValueError
        Naming the submodules: batch norm in training mode or without running statistics, dropout in training mode.
    """
    if not any(_mixes_rows(part) or _drops(part) for part in parts):
        return
    names = [
        f"{name or type(part).__name__} ({type(part).__name__})"
        for module in modules(model)
        for name, part in module.named_modules()
        if _mixes_rows(part) or _drops(part)
    ]
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    raise ValueError(
        f"`model` is not deterministic row by row: {listed} would mix samples or draw at random. "
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


class Trial(NamedTuple):
    """The first row of a chunk, called in a batch of the check's own.

    Attributes
    ----------
    rows : tuple of Tensor (rows, ...)
        The batch.
    samples : Tensor (rows,)
        The samples of the rows.
    place : int
        Where the row stands in it.
    outputs : Tensor (rows, ...)
        What the model gives.
    """

    rows: Rows
    samples: Tensor
    place: int
    outputs: Tensor


class Batch(NamedTuple):
    """Rows to call, their samples, and where among them the first row of the chunk stands."""

    rows: Rows
    samples: Tensor
    place: int


def batches_to_try(rows: Rows, count: int, size: int | None = None) -> list[Batch]:
    """Batches that hold the first row of a chunk at another place, beside other rows, most telling first.

    Parameters
    ----------
    rows : tuple of Tensor (2, ...)
        First and last row of the chunk.
    count : int
        Rows of the chunk. The batches are of another size, at first.
    size : int, optional
        Rows of the batches, if the model fills them up to that many anyway.
    """
    sizes = [3 if count < 3 else 2, count] if size is None else [max(2, size)]
    changes = (_changed, _nearer, _same)
    return [_around(rows, count - 1, n, change) for n in sizes if n > 1 for change in changes]


def _around(rows: Rows, last: int, size: int, change: Callable[[Tensor], Tensor]) -> Batch:
    """The first row at place 1 of a batch, the last row of the chunk, changed, everywhere else."""
    batch = []
    for r in rows:
        other = change(r[-1:])
        batch.append(torch.cat([other, r[:1], *[other] * (size - 2)]))
    samples = torch.full((size,), last)
    samples[1] = 0
    return Batch(tuple(batch), samples, 1)


def _changed(row: Tensor) -> Tensor:
    return row * 1.5 + 1 if row.is_floating_point() else row.flip(-1) if row.ndim > 1 else row


def _nearer(row: Tensor) -> Tensor:
    """Nearer to what the model was given: some look at the range of their inputs."""
    return row / 2 if row.is_floating_point() else row


def _same(row: Tensor) -> Tensor:
    return row


def try_row(call: Call, batches: Sequence[Batch]) -> Trial | None:
    """Call the first batch that the model takes; None where it takes none of them.

    Raises
    ------
    ValueError
        If the model's outputs change from call to call.
    """
    batches = [batch._replace(rows=tuple(map(bare, batch.rows))) for batch in batches]
    with plain_calls():
        for batch in batches:
            try:
                with _Draws() as draws:
                    outputs = call(batch.rows, batch.samples)
            except REFUSALS:  # or there is no memory for so many rows
                continue
            if draws.suspected:
                _refuse_draws_that_matter(call, batch, outputs)
            return Trial(*batch, outputs)
    return None


def refuse_dependent_rows(
    call: Call, model: Model, rows: Rows, samples: Tensor, outputs: Tensor, trial: Trial
) -> None:
    """Raise if the first row's output in a chunk is another than in the trial.

    Parameters
    ----------
    call : callable
        The model: rows to outputs.
    model : callable
        The same as the user gave it: tried again in double precision where only rounding may be the cause.
    rows : tuple of Tensor (n, ...)
        The chunk.
    samples : Tensor (n,)
        The samples of its rows.
    outputs : Tensor (n, ...)
        Its outputs.
    trial : Trial

    Raises
    ------
    ValueError
        If the rows are not independent, naming what changed; or if outputs change from call to call.
    """
    difference = row_difference(outputs, trial)
    if difference == 0:
        return
    chunk, y = tuple(map(bare, rows)), bare(outputs)
    with plain_calls():
        refuse_changing_outputs(call, trial)
        inside = partial(call, chunk, samples)
        if difference <= ROUNDING * _coarsest(inside) or _is_rounding(model, chunk, trial, difference):
            return
        change = _what_changes_it(call, chunk, samples, y)
    raise ValueError(
        f"`model` mixes samples: the output of the first row changes by {difference:.2g} of the largest {change}. "
        "Usual causes: time before batch (batch_first=True), statistics of the batch (model.eval(), also before scripting "
        "or exporting; in JAX use_running_average=True, inference=True), a closure over arrays with an entry per sample (pass these "
        "as `additional_forward_args`), "
        "a Python `if` on values. "
        "With batch_size=1 every sample, step and edit is called alone"
    )


def refuse_changing_outputs(call: Call, trial: Trial) -> None:
    """Raise a ValueError if the rows of a trial have other outputs when they are called again."""
    with plain_calls():
        again = (call(trial.rows, trial.samples) for _ in range(3))  # two draws can be alike
        if not all(_same_outputs(y, trial.outputs) for y in again):
            raise ValueError(
                "`model` gives other outputs when the same rows are called again: it draws random numbers, or counts its "
                "calls. Call model.eval(), pass training=False to functional dropout (in JAX deterministic=True), or "
                "take NumPy's and Python's random numbers out of the forward pass"
            )


def row_difference(outputs: Tensor, trial: Trial) -> float:
    """Difference of the first row's outputs, relative to the largest output; 0 for what is certainly rounding."""
    y = bare(outputs)[0]
    with plain_calls():
        again = trial.outputs[trial.place]
        if y.shape != again.shape:
            return float("inf")
        off = (y - again).abs().nan_to_num(0.0, torch.inf)
        lost = y.isfinite() != again.isfinite()
        scale = float(torch.maximum(y.abs(), again.abs()).nan_to_num(0.0, 0.0).max()) if y.numel() else 0.0
        largest = float("inf") if bool(lost.any()) else float(off.max()) if y.numel() else 0.0
    floats = [
        t for t in (y, again, *trial.rows) if t.is_floating_point()
    ]  # a model may compute in any of their dtypes
    eps = max(torch.finfo(t.dtype).eps for t in floats)
    if largest <= ROUNDING * eps * scale:
        return 0.0
    return largest / max(scale, torch.finfo(y.dtype).tiny)


def _same_outputs(y: Tensor, again: Tensor) -> bool:
    """Whether two calls of the same rows agree."""
    if y.shape != again.shape:
        return False
    scale = again.abs().nan_to_num(0.0, 0.0).max() if again.numel() else torch.zeros(())
    tolerance = max(torch.finfo(t.dtype).eps for t in (y, again)) ** 0.5 * float(scale)
    wide = torch.promote_types(y.dtype, again.dtype)
    return bool(torch.isclose(y.to(wide), again.to(wide), rtol=0, atol=tolerance, equal_nan=True).all())


class Precision(TorchDispatchMode):
    """The largest eps of the numbers that a call computes with: models of double precision take some steps in single.

    Attributes
    ----------
    eps : float
        Models of other libraries, into which torch does not see, raise it to theirs.
    """

    eps = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, op: OpOverload, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = op(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, Tensor) and t.is_floating_point():
                self.eps = max(self.eps, torch.finfo(t.dtype).eps)
        return out


def _coarsest(call: Callable[[], Tensor]) -> float:
    with Precision() as precision:
        call()
    return precision.eps


def _is_rounding(model: Model, rows: Rows, trial: Trial, difference: float) -> bool:
    """Whether a difference shrinks in double precision as rounding does; by its size, where the model has none."""
    small = difference < torch.finfo(trial.outputs.dtype).eps ** 0.5
    if not isinstance(model, nn.Module) or not all(
        r.dtype in (torch.float32, torch.float16, torch.bfloat16) for r in rows
    ):
        return small
    try:
        double = copy.deepcopy(model).double()
        rows, others = (tuple(r.double() for r in batch) for batch in (rows, trial.rows))
        y, again = _output(double(*rows)), _output(double(*others))
    except Exception:  # whatever a model does that cannot be copied, or takes no double precision
        return small
    return row_difference(y, trial._replace(rows=others, outputs=again)) < 1e-4 * difference


def _output(y: Any) -> Tensor:
    y = getattr(y, "logits", y)
    return y["logits"] if isinstance(y, dict) else y


def _what_changes_it(call: Call, rows: Rows, samples: Tensor, outputs: Tensor) -> str:
    """Which change of the chunk changes the first row's output, as the end of a sentence."""
    alone = len(samples) == 1
    beside = tuple(torch.cat([r[:1], _changed(r if alone else r[1:])]) for r in rows)
    turned = tuple(r.flip(0) for r in rows)
    longer = tuple(torch.cat([r, r[-1:]]) for r in rows)
    more = torch.cat([samples, samples[-1:]])
    for change, batch in (
        ("when other rows stand beside it", Batch(beside, more if alone else samples, 0)),
        ("when it stands at another place in the batch", Batch(turned, samples.flip(0), -1)),
        ("in a batch of another size", Batch(longer, more, 0)),
    ):
        try:
            y = call(batch.rows, batch.samples)
        except REFUSALS:
            continue
        if row_difference(outputs, Trial(*batch, y)):
            return change
    return "in another batch"


# ------------------------------------------------------------------ random numbers


GENERATORS = RLock()  # torch draws for all threads from one generator: one thread at a time puts it somewhere


class _Draws:
    """Whether torch's generators moved, or an op that draws was seen; the generators are put back."""

    def __enter__(self) -> _Draws:
        GENERATORS.acquire()
        self._generators = [torch.default_generator]
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            self._generators += torch.cuda.default_generators
        self._states = [g.get_state() for g in self._generators]
        self.suspected = False
        return self

    def others(self) -> None:
        """Draw other numbers than before."""
        for generator in self._generators:
            generator.manual_seed(generator.initial_seed() + 1)

    def __exit__(self, *error: object) -> None:
        try:
            for generator, state in zip(self._generators, self._states, strict=True):
                if not torch.equal(generator.get_state(), state):
                    self.suspected = True
                    generator.set_state(state)
        finally:
            GENERATORS.release()


def _refuse_draws_that_matter(call: Call, batch: Batch, outputs: Tensor) -> None:
    """Raise if outputs are others when every draw comes out at the lower or at the upper end."""
    for end in (0.0, 0.999):
        with ExitStack() as stack:
            stack.enter_context(_Draws())
            stack.enter_context(_Fixed(end))
            try:
                y = call(batch.rows, batch.samples)
            except REFUSALS:  # not every draw can be so: then the draws themselves are compared
                y = None
        if y is None:
            with _Draws() as draws:
                draws.others()
                y = call(batch.rows, batch.samples)
        if not _same_outputs(y, outputs):
            raise ValueError(
                "`model` draws random numbers, so the same input gives different results; call model.eval(), or pass "
                "training=False to functional dropout"
            )


class _Fixed(TorchDispatchMode):
    """Random draws come out at one end of (0, 1)."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else the first call loads torch's compiler

    def __init__(self, end: float) -> None:
        super().__init__()
        self._end = end

    def __torch_dispatch__(
        self, op: OpOverload, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = op(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in op.tags and _draws(op, args, kwargs or {}):
            for t in out if isinstance(out, tuple | list) else (out,):
                if isinstance(t, Tensor) and not t.is_meta:
                    t.fill_(self._end)
        return out


def _draws(op: OpOverload, args: tuple, kwargs: Mapping[str, Any]) -> bool:
    """Fused attention and RNN kernels carry the tag of randomness also where their dropout is off."""
    names = [a.name for a in op._schema.arguments]
    defaults = {a.name: a.default_value for a in op._schema.arguments if a.has_default_value()}
    values = defaults | dict(zip(names, args, strict=False)) | dict(kwargs)
    if "dropout_p" in names or "dropout" in names:
        rate = values.get("dropout_p", values.get("dropout", 0.0))
        return bool(rate) and values.get("train", True) is not False
    return values.get("train", values.get("training", True)) is not False


# ------------------------------------------------------------------ memory


class Ops(TorchDispatchMode):
    """Context in which one forward pass runs: the bytes of all values that it makes.

    Attributes
    ----------
    bytes, largest : int
        Of all new tensors, and of the largest.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.largest = 0

    def clear(self) -> None:
        """Forget what was counted."""
        self.bytes = self.largest = 0

    def add(self, size: int, largest: int) -> None:
        """Count the bytes of a computation that torch does not see into."""
        self.bytes, self.largest = self.bytes + size, max(self.largest, largest)

    def __torch_dispatch__(
        self, op: OpOverload, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = op(*args, **(kwargs or {}))
        if not _is_view(op):
            for t in out if isinstance(out, tuple | list) else (out,):
                if isinstance(t, Tensor) and not t.is_meta:
                    self.bytes += t.nbytes
                    self.largest = max(self.largest, t.nbytes)
        return out


_VIEWS: dict[OpOverload, bool] = {}


def _is_view(op: OpOverload) -> bool:
    view = _VIEWS.get(op)
    if view is None:
        view = _VIEWS[op] = any(r.alias_info is not None for r in op._schema.returns)
    return view


@contextmanager
def plain_calls() -> Iterator[None]:
    """Calls of the model as its user would make them: outside of transforms, recorders and derivatives."""
    with _disable_current_modes(), outside_transforms() if transformed() else torch.no_grad():
        yield


def bare(t: Tensor) -> Tensor:
    """The values of a tensor that a transform may have wrapped."""
    return plain(t) if transformed() else t.detach()
