"""Mean attributions of every target over the samples of every label, with one block of samples in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attrib._nearest import near
from attrib.workflows.attribute import Tell, finished, told
from attrib.workflows.expression.checkpoint import Classifier
from attrib.workflows.plan import ALL_METHODS, Plan


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
    classifier: Classifier,
    z: xr.DataArray,
    settings: Plan,
    names: Sequence[str],
    folder: Path,
    cluster: Any = None,
    tell: Tell | None = None,
) -> xr.Dataset:
    """Mean attributions (target, label, gene) by method; `label` is the predicted label of the samples."""
    several = replace(settings, shared={**settings.shared, "target": None, "targets": list(names)})
    means = {}
    for m in settings.methods:
        tree = finished(
            ALL_METHODS[m], classifier.model, z, folder / f"{m}_by_target.zarr", reductions=("mean", "count"), by="predicted", keep=False,
            cluster=cluster, progress=told(tell, f"{m}, targets"), **several.passing(z), **several.by_method[m],
        )  # fmt: skip
        mean = tree["reductions/mean"].load().rename(predicted="label").transpose("target", "label", "gene")
        means[m] = mean.astype(np.float32).assign_attrs(units=mean.attrs.get("units", ""))
    count = tree["reductions/count"].load().rename(predicted="label")
    count = count.max([d for d in count.dims if d != "label"])
    table = xr.Dataset({m: a.drop_vars([c for c in a.coords if c not in a.dims]) for m, a in means.items()})
    texts = {str(d): np.asarray(v.values, dtype=object).astype(str) for d, v in table.coords.items()}
    return table.assign_coords({**texts, "count": ("label", count.values.astype(int))})
