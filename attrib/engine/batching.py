"""The only owner of how many rows go into one call of the model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, TypeVar

import torch

from attrib.engine.model.parameters import padded_up_to

T = TypeVar("T")
BatchSize = int | str
Progress = bool | Callable[[int, int], None]

FIRST_ROWS = 8  # rows of the call that measures what a row costs; more where they are small
FIRST_BYTES = 2 << 20  # of inputs in that call
MOST_FIRST_ROWS = 64
MOST_ROWS = 4096
CPU_BYTES = 256 << 20  # of activations: larger chunks were not faster on any of the networks in benchmarks/
CPU_TENSOR = 24 << 20  # the C library maps larger blocks anew each time, which costs more than it saves
CUDA_SHARE = 0.25  # of the card's memory


class Batches:
    """Cuts rows into chunks, shrinks them when memory runs out, and reports progress.

    Parameters
    ----------
    size : int or "auto"
        Rows per model call. `"auto"` runs a few rows, measures their activations and takes the largest power of two
        that fits a budget (on a CPU 256 MB in all and 24 MB in one tensor, on a GPU a quarter of its memory): a
        function of model and shapes alone, never of timings, so that equal calls give equal results.
    device : torch.device
        Where the model runs.
    progress : bool or callable
        True shows a bar on standard error; a callable gets (rows done, rows in all).
    title : str
        What the bar calls the work.
    row_bytes : int
        Bytes of one row of the inputs, if they are known: of small rows the first call takes more.
    pads : bool
        Whether the model fills its calls up to a few sizes.

    Attributes
    ----------
    rows : int or None
        Rows per model call; None while an automatic size is not settled.
    Raises
    ------
    ValueError, TypeError
        For a size that is neither a positive int nor "auto".
    """

    def __init__(
        self,
        size: BatchSize,
        device: torch.device,
        progress: Progress = False,
        title: str = "attrib",
        row_bytes: int = FIRST_BYTES,
        pads: bool = False,
    ) -> None:
        if isinstance(size, bool) or not (isinstance(size, int) or size == "auto"):
            raise TypeError(f'`batch_size` is {size!r}, expected a positive int or "auto"')
        if isinstance(size, int) and size < 1:
            raise ValueError(f'`batch_size` is {size}, expected a positive int or "auto"')
        self.device = device
        self.auto = size == "auto"
        self.rows: int | None = None if isinstance(size, str) else size
        self._more = self._waiting = False
        self._pads = pads
        self._first = max(FIRST_ROWS, min(MOST_FIRST_ROWS, FIRST_BYTES // max(row_bytes, 1)))
        self._bar = _Bar(progress, title)

    def measured(self, row_bytes: int | None, largest: int = 1) -> None:
        """Settle the automatic size, once a row's bytes of activations and its largest tensor's are known."""
        if self.rows is None and row_bytes is not None:
            fits = max(1, self._fitting(max(1, row_bytes), max(1, largest)))
            self.rows = min(MOST_ROWS, 1 << (fits.bit_length() - 1))

    @property
    def open(self) -> bool:
        """Whether work waits for an automatic size to be settled: there are more rows than the first call takes."""
        return self.rows is None and (self._more or self._waiting)

    def _fitting(self, row_bytes: int, largest: int) -> int:
        if self.device.type == "cuda":
            return int(CUDA_SHARE * torch.cuda.get_device_properties(self.device).total_memory) // row_bytes
        return min(CPU_BYTES // row_bytes, CPU_TENSOR // largest)

    def sums_at(self, inputs: torch.device, size: int) -> torch.device:
        """Where sums of so many bytes are kept: with the model, so that no chunk waits for a copy; with the inputs if that takes too much.

        That is more than an eighth of a GPU's memory.
        """
        if self.device.type != "cuda":
            return inputs
        fits = size <= torch.cuda.get_device_properties(self.device).total_memory // 8
        return self.device if fits else inputs

    def chunk(self, share: int = 1) -> int:
        """Rows of the next chunk where every row stands for `share` rows of the backward pass."""
        return max(1, (self.rows or self._first) // share)

    def expect(self, rows: int, more: bool = False) -> None:
        """Announce work to come, for the progress bar, and whether still more follows, of which the size is not known."""
        self._bar.grow(rows)
        self._more = self._more or more or rows > self._first

    def close(self) -> None:
        """Take the progress bar away."""
        self._bar.close()

    def spans(self, total: int, share: Callable[[], int] = lambda: 1, light: int = 1) -> Iterator[Span]:
        """Runs of rows [0, total) in order, each of which is worked on inside ``with span:``.

        A span that runs out of memory is not `done`, and comes again in halves; the smaller size is kept for the rest.
        One row that does not fit raises torch.OutOfMemoryError. `light` rows of this work take the memory of one row of
        the model.
        """
        start = 0
        while start < total:
            size = self.chunk(share()) * light
            span = Span(start, min(total, start + size))
            self._waiting = span.stop < total
            with padded_up_to(self._padded(start, span.stop, size)) if self._pads else nullcontext():
                yield span
            if span.done:
                self._bar.advance(span.stop - start)
                start = span.stop
                continue
            self.rows = max(1, int((span.stop - start) * share() / light // 2))
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def run(
        self,
        total: int,
        work: Callable[[int, int], T],
        share: Callable[[], int] = lambda: 1,
        light: int = 1,
    ) -> Iterator[T]:
        """`work(start, stop)` of each span, in order."""
        for span in self.spans(total, share, light):
            results = []
            with span:
                results.append(work(span.start, span.stop))
            if span.done:
                yield results.pop()  # kept by nobody here while the next one is made

    def padded(self, count: int) -> int:
        """Rows that a model of fixed sizes fills the first chunk of `count` rows up to."""
        return self._padded(0, count, self.chunk())

    def _padded(self, start: int, stop: int, size: int) -> int:
        """Rows that such a model may fill a chunk up to: the size of those before, or else a power of two.

        A run of any length then has two sizes at most: that of the first rows, and that of all others.
        """
        return size if start >= size else min(size, 1 << (stop - start - 1).bit_length())


class Span:
    """A run of rows, worked on inside ``with span:``; memory that runs out there is forgiven, unless it is one row's.

    Attributes
    ----------
    start, stop : int
    done : bool
        Whether the work went through.
    """

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop, self.done = start, stop, False

    def __enter__(self) -> Span:
        """Begin the work."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        """End it: errors go on, but for a lack of memory that fewer rows may mend."""
        self.done = error is None
        return isinstance(error, RuntimeError) and _out_of_memory(error) and self.stop - self.start > 1


def _out_of_memory(error: RuntimeError) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return "not enough memory" in str(error) or "can't allocate memory" in str(error)


class _Bar:
    """Tells how many rows are done: to a tqdm bar where `show` is True, to `show` itself where it is a function."""

    def __init__(self, show: Progress, title: str) -> None:
        self._show, self._title = show, title
        self._done = self._total = 0
        self._tqdm: Any = None

    def grow(self, rows: int) -> None:
        self._total += rows
        if self._show is True:
            from tqdm.auto import tqdm

            self._tqdm = self._tqdm or tqdm(
                total=0, desc=self._title, unit="row", file=sys.stderr, leave=False
            )
            self._tqdm.total = self._total
            self._tqdm.refresh()

    def advance(self, rows: int) -> None:
        self._done += rows
        if self._tqdm is not None:
            self._tqdm.update(rows)
        elif callable(self._show):
            self._show(self._done, self._total)

    def close(self) -> None:
        if self._tqdm is not None:
            self._tqdm.close()
