"""The one runner of the studies: samples that are not done are explained, some at a time, here or on a cluster, and drawn beside the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import torch

from attrib._typed import drawers as allowed
from attrib.scale.loading import first_line
from attrib.scale.runners import each, shares
from attrib.workflows.folder import Folder, timed
from attrib.workflows.study import Tell

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


class Study:
    """A study as a value: what the runner and each of its workers have to know, once.

    It can be pickled, and is its own session where nothing has to be opened.

    Attributes
    ----------
    program : str
        The command, which runs in a folder have in common.
    what : str
        What samples are called in messages.
    folders : tuple of str
        Inside the folder of the run.
    log : str or None
        A file there that says what was done.
    drawn : collection of str
        Names of the samples that get pictures; a study without it draws all.
    """

    program: ClassVar[str] = "attrib"
    what: ClassVar[str] = "samples"
    folders: ClassVar[tuple[str, ...]] = ()
    log: ClassVar[str | None] = None

    def identity(self) -> Mapping[str, Any]:
        """What must be equal for a run to be continued."""
        raise NotImplementedError

    def opened(self, device: str | None = None) -> Any:
        """The study in this process, with `do`."""
        return self

    def is_done(self, item: Any) -> bool:
        """Whether an earlier run has done a sample, pictures too."""
        raise NotImplementedError

    def weight(self, item: Any) -> int:
        """How many samples an item stands for."""
        return 1

    def do(self, block: Sequence[Any]) -> Sequence[Outcome]:
        """Explain a block of samples, and write what has to be there if they count as done."""
        raise NotImplementedError


class Unwritten(OSError):
    """Results that could not be written or drawn: no fault of the sample."""


class OnWorkers:
    """A study whose samples are drawn where they are explained: on the workers of a cluster, which see the same files.

    Parameters
    ----------
    study : Study
    threads : int
        Of torch, on each worker.
    """

    def __init__(self, study: Any, threads: int) -> None:
        self.study, self.threads, self.device = study, threads, getattr(study, "device", None)

    def opened(self, device: str | None = None) -> OnWorkers:
        """The study in this process."""
        torch.set_num_threads(self.threads)
        return OnWorkers(self.study.opened(device), self.threads)

    def do(self, block: Sequence[Any]) -> tuple[list[Outcome], dict[str, float]]:
        """Explain a block, and draw it; the seconds that this took, too."""
        seconds = getattr(self.study, "seconds", {})
        before = dict(seconds)
        outcomes = []
        for outcome in explained(self.study, block):
            if outcome.draw is not None:
                try:
                    with timed(seconds, "pictures"):
                        outcome.draw()
                except Exception as error:
                    raise Unwritten(f"{outcome.name}: {first_line(error)}") from error
            outcomes.append(outcome._replace(draw=None))
        return outcomes, {k: v - before.get(k, 0.0) for k, v in seconds.items()}


class Drawers:
    """Draws in other processes, of which a few samples wait at a time, or in this one.

    Parameters
    ----------
    count : int
        Pictures, or samples with pictures. More than a few go to other processes, if the command line allows some.
    """

    def __init__(self, count: int) -> None:
        workers = allowed.get() if count > FEW else 0
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


def studied(
    study: Study,
    items: Mapping[str, Any],
    output: str | Path,
    finish: Callable[[Folder, list[str], dict[str, str]], object],
    *,
    overwrite: bool = False,
    **how: Any,
) -> Path:
    """A run of a study: its folder, the samples that are not done, and the files of all of them.

    Parameters
    ----------
    study, items, how
        As for `carried_out`.
    output : path
        The folder, see `Folder`.
    finish : callable
        Gets the folder, the samples that are done, and those that were refused with their reasons; it writes the files of all samples
        together.
    overwrite : bool, default False

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        If no sample can be explained, with the first reason.
    """
    with Folder(output, program=study.program, settings=study.identity(), overwrite=overwrite, folders=study.folders, log=study.log) as run:  # fmt: skip
        run.note(f"{len(items)} {study.what}")
        refused = carried_out(study, items, note=run.note, **how)
        done = [name for name in items if name not in refused]
        if not done:
            name, why = next(iter(refused.items()))
            raise ValueError(f"`data`: none of {len(items)} {study.what} can be explained; {name}: {why}")
        finish(run, done, refused)
    return run.path


def carried_out(
    study: Study,
    items: Mapping[str, Any],
    *,
    size: int = 1,
    session: Any = None,
    cluster: Any = None,
    seconds: dict[str, float] | None = None,
    tell: Tell | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Explain and draw the samples that are not done.

    Parameters
    ----------
    study : Study
    items : mapping of str to object
        Samples by name, as the study takes them.
    size : int, default 1
        Samples in a block.
    session : optional
        The study opened in this process, if it is.
    cluster : int, str or Client, optional
        As for `attrib.cohort`; default: this process.
    seconds : dict, optional
        Gets the time of drawing, or of waiting for it, and what workers of a cluster say of theirs.
    tell : callable, optional
        Gets (what, samples done, samples in all).
    note : callable, optional
        Gets a line of the log for each block.

    Returns
    -------
    dict of str to str
        Samples that could not be explained, and why: refused by the study, or by the model or a method that raised. The others are
        finished, here as on a cluster.

    Raises
    ------
    Exception
        What the first block of several samples raised, if it raised for each of them: that is no fault of a sample.
    Unwritten
        If files cannot be written.
    """
    refused: dict[str, str] = {}
    pending = [name for name, item in items.items() if not study.is_done(item)]
    blocks = [pending[i : i + size] for i in range(0, len(pending), size)]
    weight = {name: study.weight(item) for name, item in items.items()}
    total = sum(weight.values())
    done = total - sum(weight[name] for name in pending)
    is_first = not done
    seconds = {} if seconds is None else seconds
    pictured = sum(name in getattr(study, "drawn", pending) for name in pending)
    with Drawers(pictured if cluster is None else 0) as drawers:
        for block, outcomes, error in _outcomes(study, items, blocks, session, cluster, seconds):
            count = sum(weight[name] for name in block)
            if error is not None:
                if isinstance(error, Unwritten) or (is_first and count > 1):
                    raise error
                refused |= dict.fromkeys(block, first_line(error))
            for outcome in outcomes:
                if outcome.refused is not None:
                    refused[outcome.name] = outcome.refused
                elif outcome.draw is not None:
                    with timed(seconds, "pictures"):
                        drawers.submit(outcome.draw)
            is_first = is_first and error is not None
            done += count
            note(f"{done} of {total} {study.what} are done")
            if tell is not None:
                tell(study.what, done, total)
        with timed(seconds, "pictures"):
            drawers.collect()
    return refused


def _outcomes(
    study: Study, items: Mapping[str, Any], blocks: Sequence[list[str]], session: Any, cluster: Any, seconds: dict[str, float]
) -> Iterator[tuple[list[str], Sequence[Outcome], Exception | None]]:  # fmt: skip
    """Names of each block with what came of it, or with the error of all its samples, as they are finished."""
    if not blocks:
        return
    named = [[(name, items[name]) for name in block] for block in blocks]
    if cluster is None:
        session = session or study.opened()
        for block, some in zip(blocks, named, strict=True):
            outcomes: Sequence[Outcome] = []
            fault: Exception | None = None
            try:
                outcomes = explained(session, some)
            except Exception as raised:  # the user's model
                fault = raised
            yield block, outcomes, fault
        return
    on_workers = OnWorkers(study, shares(torch.get_num_threads(), cluster))
    for some, result, error in each(cluster, on_workers, named):
        some_outcomes, took = result or ([], {})
        for step, value in took.items():
            seconds[step] = seconds.get(step, 0.0) + value
        yield [name for name, _ in some], some_outcomes, error


def explained(session: Any, named: Sequence[tuple[str, Any]]) -> list[Outcome]:
    """What came of the samples of a block; where the model raises, of each by itself.

    Raises
    ------
    Exception
        What the model raised, if it did for each of them.
    Unwritten
        If a file could not be written.
    """
    try:
        return list(session.do([item for _, item in named]))
    except OSError as error:
        raise Unwritten(first_line(error)) from error
    except Exception:  # the user's model
        if len(named) == 1:
            raise
        outcomes: list[Outcome] = []
        raised = 0
        for name, item in named:
            try:
                outcomes += explained(session, [(name, item)])
            except Unwritten:
                raise
            except Exception as fault:
                outcomes.append(Outcome(name, refused=first_line(fault)))
                raised += 1
        if raised == len(named):
            raise
        return outcomes
