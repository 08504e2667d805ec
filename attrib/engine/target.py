"""Which number of the model's output is explained: targets as scores and as cotangents."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import vjp

from attrib._arguments import near, shown

Callables = Callable[..., Tensor]
TargetLike = int | str | tuple | Sequence | Tensor | Callables | None


class Target(Protocol):
    """One score per row, and the gradient of that score with respect to the model's output."""

    @property
    def label(self) -> int | str:
        """What the target is called."""
        ...

    def score(self, y: Tensor, i: Tensor) -> Tensor:
        """(rows,) scores of outputs `y` (rows, ...) that belong to samples `i` (rows,)."""
        ...

    def cotangent(self, y: Tensor, i: Tensor) -> Tensor:
        """d score / d y, shaped like `y`."""
        ...


@dataclass(frozen=True)
class Entry:
    """An entry of the output: `index` is (1, d) for all samples or (N, d), one index per output dim after the first."""

    index: Tensor
    label: int | str = ""

    def _at(self, y: Tensor, i: Tensor) -> tuple[Tensor, ...]:
        index = self.index if len(self.index) == 1 else self.index[i]
        columns = index.to(y.device, non_blocking=index.is_cpu).expand(len(y), -1).unbind(1)
        return (torch.arange(len(y), device=y.device), *columns)

    def score(self, y: Tensor, i: Tensor) -> Tensor:
        """The entry's value in each row."""
        return y[self._at(y, i)]

    def cotangent(self, y: Tensor, i: Tensor) -> Tensor:
        """One at the entry, zero elsewhere."""
        one_hot = torch.zeros_like(y)
        one_hot[self._at(y, i)] = 1
        return one_hot


@dataclass(frozen=True)
class Predicted(Entry):
    """The largest output of each sample; `index` is filled in by `look` as the outputs at the inputs come by."""

    def look(self, y: Tensor, i: Tensor) -> None:
        """Note the largest of outputs `y` (rows, C) at the inputs of samples `i` (rows,)."""
        if y.ndim > 1:
            self.index[i] = y.detach().argmax(1)[:, None].cpu()


_LEAVES_TORCH = ("call numpy()", "Cannot access data pointer")  # torch's words, without and under a transform


@dataclass(frozen=True)
class Custom:
    """A score computed by the user's function of the whole output."""

    function: Callable[..., Tensor]
    label: int | str = ""
    takes_samples: bool = False

    def score(self, y: Tensor, i: Tensor) -> Tensor:
        """The function's value, checked to be one number per row."""
        samples = (i.to(y.device, non_blocking=i.is_cpu),) if self.takes_samples else ()
        try:
            s = self.function(y, *samples)
        except RuntimeError as error:
            if not any(words in str(error) for words in _LEAVES_TORCH):
                raise
            raise TypeError(
                "`target` is a function that turns the output into NumPy, which has no gradient; write it in torch, or take edits "
                "(feature_ablation, occlusion)"
            ) from error
        if not isinstance(s, Tensor) or s.shape != y.shape[:1]:
            got = tuple(s.shape) if isinstance(s, Tensor) else type(s).__name__
            raise ValueError(f"`target` returned {got}, expected one number per row: ({len(y)},)")
        return s

    def cotangent(self, y: Tensor, i: Tensor) -> Tensor:
        """The function's gradient."""
        s, pull = vjp(lambda v: self.score(v, i), y)[:2]
        return pull(torch.ones_like(s))[0]


@dataclass(frozen=True)
class Wanted:
    """What the caller asked for, before an output has been seen.

    Parameters
    ----------
    items : tuple
        Each an int, a tuple of ints, a class name, one of these per sample, a function of the output, `"predicted"`
        or None.
    many : bool
        True for `targets`: results gain a leading target dim.
    every : bool
        True for `targets="all"`.
    classes : tuple of str, optional
        Names of the outputs.
    n : int
        Number of samples.
    """

    items: tuple[Any, ...]
    many: bool
    every: bool
    classes: tuple[str, ...] | None
    n: int

    @property
    def count(self) -> int | None:
        """How many targets there are; None before the output of `"all"` is known."""
        return None if self.every else len(self.items)

    @property
    def functions(self) -> bool:
        """Whether any of them is a function of the output."""
        return any(isinstance(t, Custom) or callable(t) for t in self.items)

    def _is_class(self, name: str) -> bool:
        return self.classes is not None and name in self.classes

    def settle(self, y: Tensor) -> list[Target]:
        """The targets for outputs shaped like `y` (rows, ...)."""
        shape = tuple(y.shape[1:])
        if self.classes is not None and len(shape) > 0 and len(self.classes) != shape[0]:
            raise ValueError(f"`classes` has {len(self.classes)} names, but the model has {shape[0]} outputs")
        if self.every:
            index = torch.arange(_count(shape))[:, None, None]
            return [Entry(i[:, : len(shape)], self._label(c)) for c, i in enumerate(index)]
        targets = [self._one(t, shape) for t in self.items]
        if len(targets) == 1:
            return targets
        entries = [
            tuple(int(v) for v in t.index[0]) if type(t) is Entry and _is_fixed(item) else None
            for t, item in zip(targets, self.items, strict=True)
        ]
        for j, entry in enumerate(entries):
            if entry is not None and entry in entries[:j]:
                first = self.items[entries.index(entry)]
                raise ValueError(
                    f"`targets` has {first!r} and {self.items[j]!r}, which are the same output; pass it once"
                )
        return targets

    def _one(self, t: Any, shape: tuple[int, ...]) -> Target:
        if isinstance(t, Entry | Custom):
            return t
        if callable(t):
            return custom(t)
        if isinstance(t, str) and t == "predicted" and not self._is_class(t):
            return _predicted(shape, self.n)
        if t is None:
            return _only(shape)
        rows, per_sample = _rows(t, self.n)
        index = [_index(r, shape, self.classes) for r in rows]
        label = "per sample" if per_sample else self._label(_from_start(rows[0], index[0]))
        return Entry(torch.tensor(index, dtype=torch.long), label)

    def _label(self, row: Any) -> int | str:
        if isinstance(row, tuple):
            return ",".join(map(str, row))
        if isinstance(row, str) or self.classes is None:
            return row if isinstance(row, str) else int(row)
        return self.classes[int(row)]


def class_names(classes: Any) -> tuple[str, ...] | None:
    """Names of the outputs in their order: of a list, of a table by its labels, of a mapping from numbers to names or back."""
    if classes is None:
        return None
    if isinstance(classes, set | frozenset):
        raise TypeError(
            f"`classes` is {classes!r}, which has no order, expected a list of names, one for each output"
        )
    if isinstance(classes, Mapping):
        numbers_last = not all(isinstance(k, Integral) for k in classes) and all(isinstance(v, Integral) for v in classes.values())  # fmt: skip
        pairs = [(v, k) if numbers_last else (k, v) for k, v in classes.items()]
        if not _are_numbers([k for k, _ in pairs]):
            raise TypeError(f"`classes` is {classes!r}, expected a list of names, or a mapping between 0 to {len(pairs) - 1} and names")  # fmt: skip
        return tuple(str(name) for _, name in sorted(pairs, key=lambda pair: int(pair[0])))
    if not isinstance(classes, Iterable):
        raise TypeError(f"`classes` is {shown(classes)}, expected a list of names")
    index: list[Any] = getattr(getattr(classes, "index", None), "tolist", list)()
    if index and _are_numbers(index):  # of a table; other labels say nothing of the order
        return class_names(dict(zip(index, classes, strict=True)))
    return tuple(str(c) for c in classes)


def _are_numbers(labels: list[Any]) -> bool:
    """Whether they are those of the outputs, 0 and up, in any order."""
    return sorted(map(str, labels)) == sorted(map(str, range(len(labels))))


def wanted(
    target: TargetLike, targets: Sequence | str | None, classes: Sequence[str] | None, n: int
) -> Wanted:
    """Check `target`, `targets` and `classes` as far as that goes without an output."""
    if target is not None and targets is not None:
        raise ValueError("`target` and `targets` were both given; pass one of them")
    names = class_names(classes)
    if names is not None and len(set(names)) != len(names):
        repeated_name = next(c for c in names if names.count(c) > 1)
        raise ValueError(
            f"`classes` has {repeated_name!r} more than once, expected one name for each output; labels of samples are `target`"
        )
    if targets is None:
        return Wanted((target,), False, False, names, n)
    if isinstance(targets, str):
        if targets != "all":
            raise ValueError(
                f'`targets` is {targets!r}, expected "all" or a list; for one target use `target`{near(targets, ["all"])}'
            )
        return Wanted((), True, True, names, n)
    if not isinstance(targets, Tensor | Sequence) and not hasattr(targets, "tolist"):
        raise TypeError(
            f'`targets` is {targets!r}, expected "all" or a list of targets; for one use `target`'
        )
    items = tuple(targets.tolist() if isinstance(targets, Tensor) else targets)
    if not items:
        raise ValueError('`targets` is empty; pass at least one, or "all"')
    twice = [t for j, t in enumerate(items) if isinstance(t, int | str) and t in items[:j]]
    if twice:
        raise ValueError(f"`targets` has {twice[0]!r} twice; results could not be told apart, pass it once")
    return Wanted(items, True, False, names, n)


def custom(function: Callable[..., Tensor]) -> Custom:
    """A target of the user's own: a function of the output, or of the output and the numbers of the rows' samples."""
    return Custom(function, _function_name(function), _takes_two(function))


def _takes_two(function: Callable) -> bool:
    """Whether a function needs, or names `samples` as, a second argument."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 and (
        positional[1].default is inspect.Parameter.empty or positional[1].name == "samples"
    )


def _function_name(t: Callable) -> str:
    name = getattr(t, "__name__", type(t).__name__)
    return "function" if name == "<lambda>" else name


def _count(shape: tuple[int, ...]) -> int:
    if len(shape) > 1:
        raise ValueError(
            f'`targets="all"` needs one dim of outputs, the model gives (N, {", ".join(map(str, shape))}); '
            "list tuples such as targets=[(0, 3), (1, 3)], or functions of the output"
        )
    return shape[0] if shape else 1


def _only(shape: tuple[int, ...]) -> Entry:
    if any(s != 1 for s in shape):
        raise ValueError(
            f"`target` is None, but the model has outputs of shape {shape} per sample; "
            'pass an index, a class name, "predicted", a function of the output, or targets="all"'
        )
    return Entry(torch.zeros(1, len(shape), dtype=torch.long), "output")


def _predicted(shape: tuple[int, ...], n: int) -> Entry:
    if len(shape) > 1:
        raise ValueError(
            f'`target="predicted"` needs outputs (N, C), the model gives {shape} per sample; pass a function'
        )
    return Predicted(torch.zeros(n, len(shape), dtype=torch.long), "predicted")


def _is_fixed(item: Any) -> bool:
    """Whether a target as given names one output for all samples, whatever the samples are."""
    return isinstance(item, Integral | tuple) or (isinstance(item, str) and item != "predicted")


def _rows(t: Any, n: int) -> tuple[list, bool]:
    """One value for all samples, or one per sample."""
    if isinstance(t, Tensor) or (hasattr(t, "tolist") and not isinstance(t, int)):
        t = t.tolist()
        if isinstance(t, list) and len(t) == 1:  # an array of one element stands for all samples
            return t, False
    if isinstance(t, list):
        if len(t) != n:
            raise ValueError(
                f"`target` has {len(t)} entries for {n} samples; pass one per sample, or `targets` for several"
            )
        return t, True
    return [t], False


def _index(t: Any, shape: tuple[int, ...], classes: tuple[str, ...] | None) -> list[int]:
    """An entry of an output of `shape`, as one int per dim."""
    parts = t if isinstance(t, tuple | list) else (t,)
    parts = [_class(p, classes) if isinstance(p, str) else p for p in parts]
    if any(isinstance(p, bool) or not isinstance(p, int) for p in parts):
        raise TypeError(f"`target` is {t!r}, expected an int, a class name, a tuple of ints or a function")
    if not shape and list(parts) in ([0], [-1]):
        return []
    if len(parts) != len(shape):
        raise ValueError(
            f"`target` is {t!r}, but the model gives {shape} per sample; pass a tuple of {len(shape)} ints, or a function"
        )
    for p, size in zip(parts, shape, strict=True):
        if not -size <= p < size:
            raise ValueError(f"`target` {t!r} is out of range: the model has outputs 0 to {size - 1}")
    return [p % size for p, size in zip(parts, shape, strict=True)]


def _from_start(row: Any, index: list[int]) -> Any:
    """A target as the caller named it; numbers from the end as numbers from the start."""
    if isinstance(row, tuple | list):
        return tuple(_from_start(p, [i]) for p, i in zip(row, index, strict=True))
    return index[0] if isinstance(row, int) and index else row


def _class(name: str, classes: tuple[str, ...] | None) -> int:
    if classes is None:
        raise ValueError(f"`target` is the name {name!r}, but `classes` was not given; pass classes=[...]")
    if name not in classes:
        raise ValueError(
            f"`target` {name!r} is not one of the classes: {', '.join(classes[:8])}{', ...' * (len(classes) > 8)}"
        )
    return classes.index(name)


def repeated(target: Target, samples: Tensor) -> Target:
    """The target for other rows: row r of the new ones belongs to sample `samples[r]` of the old."""
    if isinstance(target, Predicted) or (isinstance(target, Entry) and len(target.index) > 1):
        return Entry(target.index[samples], target.label)
    if isinstance(target, Custom) and target.takes_samples:
        of_rows = lambda y, rows: target.function(y, samples.to(y.device)[rows])
        return Custom(of_rows, target.label, True)
    return target


def labels(targets: list[Target]) -> list[int | str]:
    """Coordinates of the target dim: ints where all are ints, else strings."""
    names = [t.label for t in targets]
    return names if all(isinstance(v, int) for v in names) else [str(v) for v in names]


# ------------------------------------------------------------------ all targets at once


class Scores:
    """Outputs to scores (T, rows).

    Parameters
    ----------
    want : Wanted
        What the caller asked for; the first output settles it.

    Attributes
    ----------
    targets : list of Target
        Empty before the first output.
    """

    def __init__(self, want: Wanted) -> None:
        self.want = want
        self.targets: list[Target] = []
        self._columns: Tensor | None = None
        self._one_hot: Tensor | None = None  # (T, 1, outputs), where there are columns

    @property
    def count(self) -> int | None:
        """The number of targets, if it is known yet."""
        return len(self.targets) or self.want.count

    def __call__(self, y: Tensor, i: Tensor, at_inputs: bool = False) -> Tensor:
        """Scores (T, rows) of outputs `y` (rows, ...) of samples `i` (rows,); `at_inputs` settles `"predicted"`."""
        if not self.targets:
            self.targets = self.want.settle(y)
            self._columns = _columns(self.targets, y)
            if self._columns is not None:
                self._one_hot = y.new_zeros(len(self.targets), 1, y.shape[1])
                self._one_hot.scatter_(2, self._columns.view(-1, 1, 1), 1)
        if self._columns is not None:
            return y.index_select(1, self._columns).T
        for t in self.targets:
            if at_inputs and isinstance(t, Predicted):
                t.look(y, i)
        return torch.stack([t.score(y, i) for t in self.targets])

    def cotangents(self, y: Tensor, i: Tensor, some: slice) -> Tensor:
        """d score / d y (targets, rows, ...) of some of the targets."""
        if self._one_hot is None:
            return torch.stack([t.cotangent(y, i) for t in self.targets[some]])
        return self._one_hot[some].to(y).expand(-1, len(y), -1)


def _columns(targets: list[Target], y: Tensor) -> Tensor | None:
    """The output columns, where every target is one and the same for all samples: then no loop is needed."""
    if y.ndim != 2 or not all(
        isinstance(t, Entry) and type(t) is Entry and len(t.index) == 1 for t in targets
    ):
        return None
    return torch.cat([t.index for t in targets if isinstance(t, Entry)]).view(-1).to(y.device)
