"""Mean attributions of every target over the samples of every label, with one block of samples in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from attrib._nearest import near
from attrib.workflows.attribute import Done, Tell, attribute
from attrib.workflows.expression.checkpoint import Classifier
from attrib.workflows.plan import Plan

BLOCK_BYTES = 256 << 20  # of attributions of a block of samples for all targets


def target_names(target: str | Sequence[str], classes: Sequence[str]) -> list[str]:
    """Names of the targets beside the predicted label; none for `"predicted"`.

    Raises
    ------
    ValueError
        For names that are no class.
    """
    if target == "predicted" or list(target) == ["predicted"]:
        return []
    if target == "all" or list(target) == ["all"]:
        return list(classes)
    names = [target] if isinstance(target, str) else list(target)
    strange = [n for n in names if n not in classes]
    if strange or not names:
        raise ValueError(
            f"`target` is {', '.join(strange) or 'empty'}, expected predicted, all, or labels: {', '.join(classes[:20])}{near(strange[0] if strange else '', [*classes, 'predicted', 'all'])}"
        )
    return list(dict.fromkeys(names))


def means_of_targets(
    classifier: Classifier, z: xr.DataArray, settings: Plan, names: Sequence[str], tell: Tell | None = None
) -> xr.Dataset:
    """Mean attributions (target, label, gene) by method; `label` is the predicted label of the samples."""
    labels, place = np.unique(z["predicted"].values, return_inverse=True)
    sums = {m: np.zeros((len(names), len(labels), z.sizes["gene"])) for m in settings.methods}
    several = replace(settings, shared={**settings.shared, "target": None, "targets": list(names)})
    step = max(1, BLOCK_BYTES // max(1, len(names) * z.sizes["gene"] * 4))
    units = {}
    for start in range(0, len(z), step):
        rows = slice(start, min(len(z), start + step))
        member = (place[rows] == np.arange(len(labels))[:, None]).astype(np.float64)
        for outcome in attribute(classifier.model, z[rows], several):
            if isinstance(outcome, Done):
                a = outcome.result
                assert isinstance(a, xr.DataArray)
                sums[outcome.method] += np.einsum(
                    "ln,tng->tlg", member, a.transpose("target", "sample", "gene").values
                )
                units[outcome.method] = a.attrs.get("units", "")
        if tell is not None:
            tell("all targets", rows.stop, len(z))
    count = np.bincount(place, minlength=len(labels))
    coords = {"target": list(names), "label": labels, "gene": z["gene"].values, "count": ("label", count)}
    means = {
        m: xr.DataArray(
            (s / count[:, None]).astype(np.float32),
            dims=("target", "label", "gene"),
            attrs={"units": units.get(m, "")},
        )
        for m, s in sums.items()
        if m in units
    }
    return xr.Dataset(means, coords=coords)
