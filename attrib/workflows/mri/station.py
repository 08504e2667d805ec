"""Subjects explained by the workers of a cluster, each of which has the model once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from attrib.domains.mri import Subject
from attrib.scale.loading import load_model
from attrib.workflows.context import Context
from attrib.workflows.mri.explaining import Explainer
from attrib.workflows.mri.intake import Cohort
from attrib.workflows.mri.plan import Plan
from attrib.workflows.mri.reference import baseline_of
from attrib.workflows.mri.subjectfiles import write_subject


@dataclass(frozen=True)
class Station:
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
        Of torch.
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

    def opened(self, device: str | None = None) -> Desk:
        """The study on a worker."""
        return Desk(self, device)


class Desk:
    """A worker's model, and what it does with a subject.

    Parameters
    ----------
    station : Station
    device : str or None
        Where this worker computes; default: as the station says.
    """

    def __init__(self, station: Station, device: str | None = None) -> None:
        torch.set_num_threads(station.threads)
        where, model = device or station.device, station.model
        f = load_model(model, station.weights, where, station.parameters) if isinstance(model, str) else model
        self.station = station
        self.explainer = Explainer(f, station.plan, station.across, station.context)
        first = next(s for s in station.cohort.subjects if s.name == station.first)
        self.explainer.try_out(station.cohort.read(first), first.name)
        self.baseline = baseline_of(station.plan, station.cohort)

    def do(self, item: tuple[Subject, bool]) -> str | None:
        """Explain a subject, judged or not, and write its maps and its part; the reason if it cannot be explained."""
        subject, judged = item
        cohort = self.station.cohort
        try:
            volume = cohort.read(subject)
            explained = self.explainer.explain(
                volume, cohort.atlas_of(subject), self.baseline(volume), judged, subject.name
            )
        except (ValueError, TypeError, NotImplementedError, OSError) as error:
            return str(error)
        write_subject(
            self.station.folder, subject, cohort, self.station.plan, volume, explained, self.station.npy
        )
        return None
