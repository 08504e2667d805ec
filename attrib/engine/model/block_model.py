"""A model that is explained block by block of samples: checked at the first block, known at all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from attrib.engine.model.checks import refuse_training_mode
from attrib.engine.model.parameters import Model, parts
from attrib.engine.model.prepared import Knowledge, PreparedModel, state_of


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
