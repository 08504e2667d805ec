"""A worker of the study: a model that explains one subject after the other against what volumes are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attrib._arguments import near
from attrib.domains.mri import Subject, evenly, normalised, smoothed
from attrib.io.nifti import is_nifti
from attrib.scale.loading import load_model
from attrib.workflows.folder import timed
from attrib.workflows.mri.explaining import Explained, Explainer
from attrib.workflows.mri.intake import Cohort, on_grid
from attrib.workflows.mri.plan import Plan
from attrib.workflows.mri.subjectfiles import Sheet, draw, read_part, write_subject
from attrib.workflows.plan import Context
from attrib.workflows.runner import Outcome, Study

FAULTS = (ValueError, TypeError, NotImplementedError, OSError)  # for which a subject is listed, and left out
Item = tuple[Subject, bool]  # a subject, and whether its maps are compared with random orders

BLUR = 20.0  # mm
SEVERAL = 8  # volumes of a distribution
FORMS = "zeros, a number, mean:LABEL, samples:LABEL, samples:LABEL:COUNT, blurred, blurred:MM, or an image"

Baseline = Callable[[xr.DataArray], xr.DataArray | None]


@dataclass(frozen=True)
class Mri(Study):
    """A run's model, subjects and settings.

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
    drawn : frozenset of str
        Subjects with pictures.
    slices : list of int
        That are drawn.
    settings : mapping
        What the parts depend on.
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
    drawn: frozenset[str]
    slices: list[int]
    settings: Mapping[str, Any]

    program = "attrib mri"
    what = "subjects"

    def identity(self) -> Mapping[str, Any]:
        """What must be equal for a run to be continued."""
        return self.settings

    def sheet(self, subject: Subject) -> Sheet | None:
        """What is drawn of a subject, if anything is."""
        if subject.name not in self.drawn:
            return None
        return Sheet(self.folder, subject, self.cohort, self.plan.methods, self.across, self.slices)

    def is_done(self, item: Item) -> bool:
        """Whether an earlier run has done a subject, pictures too."""
        subject, sheet = item[0], self.sheet(item[0])
        drawn = sheet is None or all((self.folder / f).is_file() for f in sheet.files)
        return drawn and read_part(self.folder, subject) is not None

    def opened(self, device: str | None = None) -> Worker:
        """The study on a worker of a cluster, which computes on `device`; default: as the job says."""
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
    job : Mri
    explainer : Explainer
        That has been tried.
    """

    def __init__(self, job: Mri, explainer: Explainer) -> None:
        self.job, self.explainer = job, explainer
        self.baseline = baseline_of(job.plan, job.cohort)
        self.seconds: dict[str, float] = {}
        self._ready: dict[str, tuple[xr.DataArray, Explained]] = {}

    def rehearse(self, item: Item) -> None:
        """Explain a subject before anything is written; `do` takes the result."""
        self._ready[item[0].name] = self._explained(*item)

    def do(self, block: Sequence[Item]) -> list[Outcome]:
        """Explain subjects and write their maps and parts."""
        return [self._outcome(item) for item in block]

    def _outcome(self, item: Item) -> Outcome:
        subject, job = item[0], self.job
        if read_part(job.folder, subject) is None:
            try:
                ready = subject.name in self._ready
                volume, explained = self._ready.pop(subject.name) if ready else self._explained(*item)
            except FAULTS as error:
                return Outcome(subject.name, refused=str(error))
            with timed(self.seconds, "writing"):
                write_subject(job.folder, subject, job.cohort, job.plan, volume, explained, job.npy)
        sheet = job.sheet(subject)
        return Outcome(subject.name, None if sheet is None else partial(draw, sheet))

    def _explained(self, subject: Subject, judged: bool) -> tuple[xr.DataArray, Explained]:
        with timed(self.seconds, "explaining"):
            volume, regions = self.job.cohort.read(subject), self.job.cohort.atlas_of(subject)
            return volume, self.explainer.explain(
                volume, regions, self.baseline(volume), judged, subject.name
            )


def baseline_of(plan: Plan, cohort: Cohort) -> Baseline:
    """From a volume to its baseline(s), as the plan says.

    Raises
    ------
    ValueError
        For another form, and labels that no subject has.
    """
    form, _, detail = plan.baselines.partition(":")
    if plan.baselines == "zeros":
        return lambda volume: None
    if form == "blurred":
        width = _number(detail) if detail else BLUR
        return lambda volume: volume.copy(data=smoothed(volume.values, cohort.affine, width))
    if form in ("mean", "samples") and detail:
        label = detail.partition(":")[0]
        subjects = reference_subjects(plan, cohort)
        if not subjects:
            labels = sorted({s.label for s in cohort.subjects if s.label is not None})
            raise ValueError(
                f"`baselines` is {plan.baselines!r}, but no subject has the label {label!r}{near(label, labels)}"
            )
        if form == "mean":
            total, count = np.zeros(cohort.shape), 0
            for volume in _readable(subjects, cohort, plan):
                total += volume.values
                count += 1
            mean = cohort.volume((total / count).astype(np.float32))
            return lambda volume: mean
        several = xr.concat(_readable(subjects, cohort, plan), "baseline")
        return lambda volume: several
    if is_nifti(plan.baselines):
        values = on_grid(Path(plan.baselines), cohort.shape, cohort.affine, plan.orientation, "the subjects")
        image = cohort.volume(normalised(values, plan.intensity, cohort.brain))
        return lambda volume: image
    value = _number(plan.baselines)
    return lambda volume: xr.full_like(volume, value)


def reference_subjects(plan: Plan, cohort: Cohort) -> list[Subject]:
    """The subjects that the baselines are made of."""
    form, _, detail = plan.baselines.partition(":")
    if form not in ("mean", "samples"):
        return []
    label, _, count = detail.partition(":")
    subjects = [s for s in cohort.subjects if s.label == label]
    return (
        subjects if form == "mean" else evenly(subjects, int(_number(count)) if count else SEVERAL, plan.seed)
    )


def _readable(subjects: Sequence[Subject], cohort: Cohort, plan: Plan) -> Iterator[xr.DataArray]:
    """The volumes of these subjects; those that cannot be read are left out here, and listed when their turn comes."""
    reasons, count = [], 0
    for s in subjects:
        try:
            volume = cohort.read(s)
        except (ValueError, OSError) as error:
            reasons.append(str(error))
        else:
            count += 1
            yield volume
    if not count:
        raise ValueError(
            f"`baselines` is {plan.baselines!r}, but no image of that label can be read: {reasons[0]}"
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"`baselines` has {text!r}, expected {FORMS}") from None
