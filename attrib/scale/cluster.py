"""Blocks on a Dask cluster: a plugin carries the job to each worker once, tasks carry the numbers of their samples."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
import xarray as xr
from distributed import Client, LocalCluster, WorkerPlugin, as_completed, get_worker

from attrib.scale.blocks import Block, Job, Outcome, Plan, Survey
from attrib.scale.loading import first_line
from attrib.scale.samples import is_lazy


class Worker(WorkerPlugin):
    """A job on a worker; the model is loaded at the first block.

    Parameters
    ----------
    job : Job, or another with `device` and `opened`
    """

    def __init__(self, job: Any) -> None:
        self.job = job
        self.name = f"attrib-{uuid.uuid4().hex}"

    def setup(self, worker: Any) -> None:
        """Called where the plugin arrives."""
        self._lock = threading.Lock()
        self._session: Any = None
        self._device = _device(self.job.device, worker.name)

    def __getstate__(self) -> dict[str, Any]:
        return {"job": self.job, "name": self.name}

    def do(self, work: str, *arguments: Any) -> Any:
        """What a method of the session gives; one thread of a worker at a time."""
        with self._lock:
            if self._session is None:
                self._session = self.job.opened(self._device)
            return getattr(self._session, work)(*arguments)


def _connection(address: str) -> Client:
    try:
        return Client(address)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"`cluster` is {address!r}, where no Dask scheduler answers ({first_line(error)}); expected an address such as "
            "tcp://host:8786, or a number of processes"
        ) from error


def _shipped(job: Job) -> Job:
    return replace(job, source=job.source.shipped())


def _device(device: str | None, worker: Any) -> str | None:
    """A card for each worker of this machine, where the cluster has not given it one already."""
    cards = torch.cuda.device_count() if device == "cuda" else 0
    return f"cuda:{worker % cards}" if cards > 1 and isinstance(worker, int) else device


def _do(name: str, work: str, *arguments: Any) -> Any:
    plugin: Any = get_worker().plugins[name]
    return plugin.do(work, *arguments)


class OnCluster:
    """The workers of a cluster.

    Parameters
    ----------
    cluster : int, str or Client
        A number of processes on this machine, the address of a scheduler, or a connection to one.
    """

    def __init__(self, cluster: int | str | Client) -> None:
        self._local: LocalCluster | None = None
        self._plugins: list[str] = []
        if isinstance(cluster, int):
            self._local = LocalCluster(
                n_workers=cluster,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.ERROR,
            )
            cluster = Client(self._local)
        elif isinstance(cluster, str):
            cluster = _connection(cluster)
            self._connected = True
        elif not isinstance(cluster, Client):
            raise TypeError(
                f"`cluster` is a {type(cluster).__name__}, expected None, a number of processes, an address or a Client"
            )
        else:
            self._connected = False
        self.client = cluster

    def _registered(self, job: Any) -> str:
        plugin = Worker(job)
        self.client.register_plugin(plugin)
        self._plugins.append(plugin.name)
        return plugin.name

    def survey(self, job: Job, threads: int) -> Survey:
        """What the first samples tell, on one of the workers."""
        name = self._registered(_shipped(job))
        try:
            return self.client.submit(_do, name, "survey", threads, pure=False).result()
        finally:
            self._unregister()

    def run(self, job: Job, blocks: Sequence[Block], plan: Plan) -> Iterator[Outcome]:
        """Each block with the error it raised, or None, as they are finished."""
        name = self._registered(_shipped(job))
        submitted = lambda block: self._submitted(name, job, block, plan)
        for block, result, error in self._finished(blocks, submitted, self._most(job)):
            yield block, result if error is None else first_line(error)

    def each(self, job: Any, items: Sequence[Any]) -> Iterator[tuple[Any, Any, Exception | None]]:
        """What `do` of an opened job gives for each item, and the error it raised, or None, as they are finished."""
        name = self._registered(job)
        submitted = lambda item: self.client.submit(_do, name, "do", item, pure=False)
        yield from self._finished(items, submitted, 2 + 2 * sum(self.client.nthreads().values()))

    def _finished(
        self, items: Sequence[Any], submitted: Callable[[Any], Any], most: int
    ) -> Iterator[tuple[Any, Any, Exception | None]]:
        """Items with their results and errors, of which at most so many wait for a worker."""
        waiting = iter(items)
        futures = {submitted(item): item for item in islice(waiting, most)}
        finished = as_completed(list(futures), loop=self.client.loop)  # no default client is needed
        for future in finished:
            item = futures.pop(future)
            error = future.exception() if future.status == "error" else None
            yield item, None if error is not None else future.result(), error
            future.release()
            for following in islice(waiting, max(0, most - len(futures))):
                added = submitted(following)
                futures[added] = following
                finished.add(added)

    def _most(self, job: Job) -> int:
        """Blocks that may wait for a worker: of those that are sent with their samples a few for each."""
        if job.source.path is not None:
            return 100_000
        return 2 + 2 * sum(self.client.nthreads().values())

    def _submitted(self, name: str, job: Job, block: Block, plan: Plan) -> Any:
        """The future of a block: workers read it from the file, or it comes with the task."""
        if job.source.path is not None:
            return self.client.submit(_do, name, "run", block, plan, pure=False)
        ds = job.source.block(block.start, block.stop)
        if not is_lazy(ds):
            return self.client.submit(_do, name, "run", block, plan, ds.load(), pure=False)
        from dask import delayed

        return self.client.compute(delayed(_do, pure=False)(name, "run", block, plan, _merged(ds)))

    def _unregister(self) -> None:
        for name in self._plugins:
            self.client.unregister_worker_plugin(name)
        self._plugins.clear()

    def close(self) -> None:
        """Take the jobs from the workers; end those that were started here."""
        try:
            if self._local is None:
                self._unregister()
        finally:
            if self._local is not None:
                self.client.close()
                self._local.close()
            elif self._connected:
                self.client.close()


def _merged(ds: xr.Dataset) -> xr.Dataset:
    """A block in one piece, so that a task gets it from few others."""
    return ds.chunk(dict.fromkeys(ds.dims, -1))
