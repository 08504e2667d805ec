"""What goes into a model beside the inputs that are explained: masks, ids, covariates, lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from attrib._public import public
from attrib.engine.model.prepared import digest


class Shared(NamedTuple):
    """A value that goes into the model as it is, although it has as many rows as there are samples.

    Attributes
    ----------
    value : object
        Usually a tensor.
    """

    value: Any


@public
def shared(value: Any) -> Shared:
    """Mark a value of `additional_forward_args` as one that all samples share.

    Parameters
    ----------
    value : object
        Usually an array that happens to have as many rows as there are samples: a table of classes, an adjacency matrix.

    Returns
    -------
    Shared
        For `additional_forward_args` of any method.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency, shared
    >>> weights = torch.tensor([[1.0], [2.0]])
    >>> saliency(lambda x, w: (x @ w)[:, 0], torch.ones(2, 2), additional_forward_args=(shared(weights),))
    tensor([[1., 2.],
            [1., 2.]])
    """
    return Shared(value)


class Beside(NamedTuple):
    """Values by position and by name at once."""

    positional: tuple[Any, ...]
    named: dict[str, Any]


def each(additional: Any, change: Callable[[Any], Any]) -> Any:
    """The values of `additional_forward_args`, each of them changed, in the form that they have: a tuple, a mapping, or `Beside`."""
    if isinstance(additional, Beside):
        return Beside(*(each(part, change) for part in additional))
    if isinstance(additional, Mapping):
        return {name: change(value) for name, value in additional.items()}
    return tuple(map(change, additional))


def values_of(additional: Any) -> list[Any]:
    """The values of `additional_forward_args` without their names."""
    if isinstance(additional, Beside):
        return [*additional.positional, *additional.named.values()]
    return list(additional.values() if isinstance(additional, Mapping) else additional)


class Companions:
    """The values of `additional_forward_args`, of which each call gets those of its rows' samples.

    Parameters
    ----------
    additional : tuple, mapping or Beside
        Values by position, behind the inputs, or by name.
    count : int
        Samples. Tensors of so many rows have one for each sample; everything else goes into each call as it is.

    Attributes
    ----------
    per_sample : bool
        Whether any of them has a row for each sample.

    Raises
    ------
    TypeError
        For anything else than a tuple, a list or a mapping.
    """

    def __init__(self, additional: Any, count: int) -> None:
        if isinstance(additional, Beside):
            self._positional: tuple[Any, ...] = additional.positional
            self._named: dict[str, Any] = dict(additional.named)
        elif isinstance(additional, Mapping):
            self._positional, self._named = (), dict(additional)
        elif isinstance(additional, tuple | list) and not isinstance(additional, Shared):
            self._positional, self._named = tuple(additional), {}
        else:
            raise TypeError(
                f"`additional_forward_args` is a {type(additional).__name__}, expected a tuple of values or a mapping; "
                "for one value pass (value,)"
            )
        self._count = count
        self.per_sample = any(map(self._is_per_sample, self._values))

    @property
    def _values(self) -> list[Any]:
        return [*self._positional, *self._named.values()]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._values)

    def _is_per_sample(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.ndim > 0 and len(value) == self._count

    def at(self, samples: Tensor | None, rows: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Values by position and by name for a call of `rows`, which belong to `samples` (rows,), or to one sample all."""
        if not self:
            return (), {}
        if self.per_sample and samples is None:
            raise RuntimeError("a call of a model with values per sample needs the numbers of its samples")
        positional = tuple(self._of(v, samples, rows) for v in self._positional)
        return positional, {name: self._of(v, samples, rows) for name, v in self._named.items()}

    def _of(self, value: Any, samples: Tensor | None, rows: Tensor) -> Any:
        if isinstance(value, Shared):
            value = value.value
        elif self._is_per_sample(value) and samples is not None:
            value = value[samples.to(value.device, non_blocking=samples.is_cpu).expand(len(rows))]
        return value.to(rows.device, non_blocking=value.is_cpu) if isinstance(value, Tensor) else value

    def of_samples(self, samples: Tensor) -> Any:
        """The same values for some of the samples, as `additional_forward_args`."""
        if not self:
            return ()

        def picked(value: Any) -> Any:
            return value[samples.to(value.device)] if self._is_per_sample(value) else _kept(value)

        return Beside(tuple(map(picked, self._positional)), {k: picked(v) for k, v in self._named.items()})

    def state(self) -> list[Any]:
        """What a recording of the model depends on: the shapes of rows, the values of all else."""
        state: list[Any] = [tuple(self._named)]
        for value in self._values:
            if self._is_per_sample(value):
                state += (value.shape[1:], value.dtype)
                continue
            value = value.value if isinstance(value, Shared) else value
            state += (id(value), digest(value) if isinstance(value, Tensor) else value)
        return state


ALONE = Companions((), 0)  # nothing goes in beside the inputs


def _kept(value: Any) -> Any:
    """A shared value that stays so whatever the number of samples."""
    return Shared(value) if isinstance(value, Tensor) else value
