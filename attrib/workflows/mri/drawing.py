"""Pictures in processes beside the model, of which a few wait at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from types import TracebackType
from typing import Self

from attrib.workflows.mri.pictures import Sheet, draw


class Drawers:
    """Draws subjects in other processes, or in this one.

    Parameters
    ----------
    workers : int
        Processes; 0: this one.
    done : callable
        Gets the names of the files of a subject that is drawn.
    """

    def __init__(self, workers: int, done: Callable[[list[str]], object]) -> None:
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers else None
        self._most, self._done = 2 * workers, done
        self._waiting: set[Future[list[str]]] = set()

    def submit(self, sheet: Sheet) -> None:
        """Draw a subject, now or soon; waits while as many others wait as there may."""
        if self._pool is None:
            self._done(draw(sheet))
            return
        self._waiting.add(self._pool.submit(draw, sheet))
        if len(self._waiting) > self._most:
            self.collect(FIRST_COMPLETED)

    def collect(self, until: str = ALL_COMPLETED) -> None:
        """Wait for the pictures that are under way: for all, or for the first that is ready."""
        finished, self._waiting = wait(self._waiting, return_when=until)
        for future in finished:
            self._done(future.result())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        try:
            if kind is None:
                self.collect()
        finally:
            self._pool.shutdown(wait=kind is None, cancel_futures=True)
