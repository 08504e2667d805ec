"""A worker of the study: a model that explains one subject after the other, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from attrib.domains.mri import Subject
from attrib.scale.loading import load_model
from attrib.workflows.context import Context
from attrib.workflows.folder import timed
from attrib.workflows.mri.explaining import Explained, Explainer
from attrib.workflows.mri.intake import Cohort
from attrib.workflows.mri.plan import Plan
from attrib.workflows.mri.reference import baseline_of
from attrib.workflows.mri.subjectfiles import write_subject

FAULTS = (ValueError, TypeError, NotImplementedError, OSError)  # for which a subject is listed, and left out
Item = tuple[Subject, bool]  # a subject, and whether its maps are compared with random orders


@dataclass(frozen=True)
class Job:
    """What a worker has to know of a study, once.

    Attributes
    ----------
    model : str or callable
        With a name each worker makes the model for itself.
    weights : path or None
    parameters : mapping or None
    device : str or None
    plan : Plan
    across : str
        The dim across slices.
    cohort : Cohort
    context : Context
    first : str
        The subject with which the model is tried, the same on each worker.
    folder : Path
        Of the results, which all workers see.
    npy : bool
    threads : int
        Of torch, on a worker of a cluster.
    """

    model: str | Callable[..., Any]
    weights: str | Path | None
    parameters: Mapping[str, Any] | None
    device: str | None
    plan: Plan
    across: str
    cohort: Cohort
    context: Context
    first: str
    folder: Path
    npy: bool
    threads: int

    def opened(self, device: str | None = None) -> Worker:
        """The study on a worker of a cluster, which computes on `device`; default: as the job says."""
        torch.set_num_threads(self.threads)
        f, where = self.model, device or self.device
        f = load_model(f, self.weights, where, self.parameters) if isinstance(f, str) else f
        explainer = Explainer(f, self.plan, self.across, self.context)
        first = next(s for s in self.cohort.subjects if s.name == self.first)
        explainer.try_out(self.cohort.read(first), first.name)
        return Worker(self, explainer)


class Worker:
    """A model, and what is done with a subject.

    Parameters
    ----------
    job : Job
    explainer : Explainer
        That has been tried.
    """

    def __init__(self, job: Job, explainer: Explainer) -> None:
        self.job, self.explainer = job, explainer
        self.baseline = baseline_of(job.plan, job.cohort)
        self.seconds: dict[str, float] = {}
        self._ready: dict[str, tuple[xr.DataArray, Explained]] = {}

    def rehearse(self, item: Item) -> None:
        """Explain a subject before anything is written; `do` takes the result."""
        self._ready[item[0].name] = self._explained(*item)

    def do(self, item: Item) -> str | None:
        """Explain a subject and write its maps and its part; the reason if it cannot be explained."""
        subject, job = item[0], self.job
        try:
            ready = subject.name in self._ready
            volume, explained = self._ready.pop(subject.name) if ready else self._explained(*item)
        except FAULTS as error:
            return str(error)
        with timed(self.seconds, "writing"):
            write_subject(job.folder, subject, job.cohort, job.plan, volume, explained, job.npy)
        return None

    def _explained(self, subject: Subject, judged: bool) -> tuple[xr.DataArray, Explained]:
        with timed(self.seconds, "explaining"):
            volume, regions = self.job.cohort.read(subject), self.job.cohort.atlas_of(subject)
            return volume, self.explainer.explain(
                volume, regions, self.baseline(volume), judged, subject.name
            )
