"""The one runner of the studies: samples that are not done are explained, some at a time, here or on a cluster, and drawn beside the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch

from attrib.scale.loading import first_line
from attrib.scale.runners import each, shares
from attrib.workflows.attribute import Tell
from attrib.workflows.folder import timed

FEW = 6  # samples with pictures that are drawn by this process: others take seconds to start


class Outcome(NamedTuple):
    """What came of a sample.

    Attributes
    ----------
    name : str
    draw : callable, optional
        Writes its pictures, and what else is written beside the model; it can be pickled.
    refused : str, optional
        Why it could not be explained.
    """

    name: str
    draw: Callable[[], object] | None = None
    refused: str | None = None


class Job:
    """What a process has to know of a study, once. It can be pickled, and is its own session where nothing has to be opened."""

    def opened(self, device: str | None = None) -> Any:
        """The study in this process, with `do`."""
        return self

    def do(self, block: Sequence[Any]) -> Sequence[Outcome]:
        """Explain a block of samples, and write what has to be there if they count as done."""
        raise NotImplementedError


class OnWorkers(Job):
    """A job whose samples are drawn where they are explained: on the workers of a cluster, which see the same files.

    Parameters
    ----------
    job : Job
    threads : int
        Of torch, on each worker.
    """

    def __init__(self, job: Any, threads: int) -> None:
        self.job, self.threads, self.device = job, threads, getattr(job, "device", None)

    def opened(self, device: str | None = None) -> OnWorkers:
        """The study in this process."""
        torch.set_num_threads(self.threads)
        return OnWorkers(self.job.opened(device), self.threads)

    def do(self, block: Sequence[Any]) -> list[Outcome]:
        """Explain a block, and draw it."""
        outcomes = []
        for outcome in self.job.do([item for _, item in block]):
            if outcome.draw is not None:
                outcome.draw()
            outcomes.append(outcome._replace(draw=None))
        return outcomes


class Drawers:
    """Draws in other processes, of which a few samples wait at a time, or in this one.

    Parameters
    ----------
    workers : int
        Processes; 0: this one.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers else None
        self._most = 2 * workers
        self._waiting: set[Future[object]] = set()

    def submit(self, draw: Callable[[], object]) -> None:
        """Draw now or soon; waits while as many others wait as there may."""
        if self._pool is None:
            draw()
            return
        self._waiting.add(self._pool.submit(draw))
        if len(self._waiting) > self._most:
            self.collect(FIRST_COMPLETED)

    def collect(self, until: str = ALL_COMPLETED) -> None:
        """Wait for the pictures that are under way: for all, or for the first that is ready."""
        finished, self._waiting = wait(self._waiting, return_when=until)
        for future in finished:
            future.result()

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


def carried_out(
    job: Job,
    items: Mapping[str, Any],
    is_done: Callable[[str], bool],
    *,
    what: str,
    size: int = 1,
    session: Any = None,
    workers: int = 0,
    cluster: Any = None,
    seconds: dict[str, float] | None = None,
    weight: Callable[[str], int] = lambda name: 1,
    tell: Tell | None = None,
) -> dict[str, str]:
    """Explain and draw the samples that are not done.

    Parameters
    ----------
    job : Job
    items : mapping of str to object
        Samples by name, as the session takes them.
    is_done : callable
        Whether an earlier run has done a sample, pictures too.
    what : str
        What samples are called in messages of progress.
    size : int, default 1
        Samples in a block.
    session : optional
        The job opened in this process, if it is.
    workers : int, default 0
        Processes that draw, if there are more than a few samples; 0: this one.
    cluster : int, str or Client, optional
        As for `attrib.cohort`; default: this process.
    seconds : dict, optional
        Gets the time of drawing, or of waiting for it.
    weight : callable, optional
        How much an item counts in messages of progress, if it stands for several samples.
    tell : callable, optional
        Gets (what, samples done, samples in all).

    Returns
    -------
    dict of str to str
        Samples that could not be explained, and why.
    """
    refused: dict[str, str] = {}
    pending = [name for name in items if not is_done(name)]
    blocks = [pending[i : i + size] for i in range(0, len(pending), size)]
    total = sum(map(weight, items))
    done = total - sum(map(weight, pending))
    seconds = {} if seconds is None else seconds
    with Drawers(workers if len(pending) > FEW and cluster is None else 0) as drawers:
        for block, outcomes in _outcomes(job, items, blocks, session, cluster):
            for outcome in outcomes:
                if outcome.refused is not None:
                    refused[outcome.name] = outcome.refused
                elif outcome.draw is not None:
                    with timed(seconds, "pictures"):
                        drawers.submit(outcome.draw)
            done += sum(map(weight, block))
            if tell is not None:
                tell(what, done, total)
        with timed(seconds, "pictures"):
            drawers.collect()
    return refused


def _outcomes(
    job: Job, items: Mapping[str, Any], blocks: Sequence[list[str]], session: Any, cluster: Any
) -> Iterator[tuple[list[str], Sequence[Outcome]]]:
    """Names of each block with what came of it, as they are finished."""
    if not blocks:
        return
    if cluster is None:
        session = session or job.opened()
        for block in blocks:
            yield block, session.do([items[name] for name in block])
        return
    named = [[(name, items[name]) for name in block] for block in blocks]
    on_workers = OnWorkers(job, shares(torch.get_num_threads(), cluster))
    for some, outcomes, error in each(cluster, on_workers, named):
        block = [name for name, _ in some]
        failed = [Outcome(name, refused=first_line(error)) for name in block] if error is not None else []
        yield block, failed or outcomes
