"""Who explains the blocks: this process, or the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from attrib._install import install_hint
from attrib.scale.blocks import Block, Job, Outcome, Plan, Session, Survey

Progress = bool | Callable[[int, int], None]


class InProcess:
    """This process.

    Notes
    -----
    Blocks run in a thread of their own, as they do in a worker: torch's forward mode is for the main thread only, and a
    block has to give the same bits everywhere.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "attrib cohort")
        self._session: Session | None = None

    def survey(self, job: Job, threads: int) -> Survey:
        """What the first samples tell."""
        self._session = self._thread.submit(Session, job).result()
        return self._thread.submit(self._session.survey, threads).result()

    def run(self, job: Job, blocks: Sequence[Block], plan: Plan) -> Iterator[Outcome]:
        """Each block with the error it raised, or None, as they are finished."""
        session = self._session
        assert session is not None
        for block in blocks:
            yield block, self._thread.submit(session.run, block, plan).result()

    def close(self) -> None:
        """Wait for the block in work, and end."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def runner(cluster: Any) -> Any:
    """The runner for `cluster`.

    Raises
    ------
    ImportError
        If Dask's distributed scheduler is wanted and not installed.
    TypeError
        For a cluster of another kind.
    """
    if cluster is None:
        return InProcess()
    try:
        from attrib.scale.cluster import OnCluster
    except ImportError as error:
        raise ImportError(f"`cluster` needs dask.distributed: {install_hint('large')} ({error})") from error
    return OnCluster(cluster)


def each(cluster: Any, job: Any, items: Sequence[Any]) -> Iterator[tuple[Any, Any, Exception | None]]:
    """What `job.opened(device).do(item)` gives for each item, on the workers of a cluster, as they are finished, and its error."""
    workers = runner(cluster)
    try:
        yield from workers.each(job, items)
    finally:
        workers.close()


@contextmanager
def connected(cluster: Any) -> Iterator[Any]:
    """A connection that several cohorts share: None stays None, and a Client stays open."""
    if cluster is None:
        yield None
        return
    shares(1, cluster)
    workers = runner(cluster)
    try:
        yield workers.client
    finally:
        workers.close()


def shares(threads: int, cluster: Any) -> int:
    """Threads of each block: those of this process, divided among workers on this machine; one on other machines.

    Raises
    ------
    ValueError
        If `cluster` is a number that is no number of workers.
    """
    if isinstance(cluster, bool) or (isinstance(cluster, int) and cluster < 1):
        raise ValueError(
            f"`cluster` is {cluster!r}, expected None, a number of processes, an address or a Client"
        )
    if cluster is None:
        return threads
    return max(1, threads // cluster) if isinstance(cluster, int) else 1
