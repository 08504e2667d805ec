"""The interaction of both sequences, position by position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from attrib import interaction
from attrib.domains.fcgr import shares
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.todo import Settings

STEPS = 4  # on each path
SOFTPLUS = 10.0
CLOSE = 1e-4  # of the score


def interactions(predictor: Predictor, x: xr.Dataset, settings: Settings) -> dict[str, xr.DataArray]:
    """The interaction and its completeness error; empty if the settings exclude it.

    Parameters
    ----------
    predictor : Predictor
    x : Dataset
        Of `Images.of`.
    settings : Settings
    """
    if not settings.interaction:
        return {}
    groups = {
        n: shares(x[n].isel(channel=0, drop=True), x[f"{n}_sequence"], position=f"{n}_position").expand_dims(channel=x[n].channel, axis=2)
        for n in BRANCHES
    }  # fmt: skip
    inputs = {n: x[n].drop_vars([c for c in x[n].coords if c not in ("sample", "channel")]) for n in BRANCHES}
    bare = {n: g.drop_vars(["y", "x", "kmer"]) for n, g in groups.items()}
    options = {
        "groups": bare,
        "batch_size": settings.batch_size,
        "additional_forward_args": predictor.context.of(x),
    }
    a, note = _interaction_and_sharpness(predictor, inputs, options)
    dims = ("sample", "mirna_position", "mrna_position")
    values = xr.DataArray(a.transpose(*dims).values, dims=dims, attrs={"softplus": note, "units": "output"})
    return {"interaction": values, "interaction_delta": xr.DataArray(a["delta"].values, dims="sample")}


def _interaction_and_sharpness(
    predictor: Predictor, inputs: dict[str, xr.DataArray], options: Mapping[str, Any]
) -> tuple[xr.DataArray, str]:
    """The interaction, and the sharpness of the smooth copy if one was needed.

    A network that is a product of branches without biases, such as `TwoBranch`, needs one step, others need more.
    """
    try:
        a = interaction(predictor.model, inputs, n_steps=1, **options)
        if float(abs(a["delta"]).max()) > CLOSE * float(abs(a["prediction"]).max()):
            a = interaction(predictor.model, inputs, n_steps=STEPS, **options)
    except ValueError as error:
        if "piecewise" not in str(error):
            raise
        return interaction(
            predictor.model, inputs, softplus=SOFTPLUS, n_steps=STEPS, **options
        ), f"{SOFTPLUS:g}"
    return a, "none"
