"""What a volume is compared with: zeros, a mean or some volumes of a label, its own blurred copy, or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from attrib._nearest import near
from attrib.domains.mri import Subject, evenly, normalised, smoothed
from attrib.io.nifti import is_nifti
from attrib.workflows.mri.intake import Cohort, on_grid
from attrib.workflows.mri.plan import Plan

BLUR = 20.0  # mm
SEVERAL = 8  # volumes of a distribution
FORMS = "zeros, a number, mean:LABEL, samples:LABEL, samples:LABEL:COUNT, blurred, blurred:MM, or an image"

Baseline = Callable[[xr.DataArray], xr.DataArray | None]


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
