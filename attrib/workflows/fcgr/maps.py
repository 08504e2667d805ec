"""The results of some pairs: attributions of both branches, along the sequences, of layers, and the interaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib import deletion, grad_cam, interaction
from attrib.domains.fcgr import along, divided, smoothed, tangent
from attrib.domains.fcgr import shares as shares_along
from attrib.functional import METHODS as ALL
from attrib.workflows.attribute import Skipped, Tell, attribute
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.settings import METHODS, Settings
from attrib.workflows.folder import timed
from attrib.workflows.plan import Plan, plan
from attrib.workflows.study import CONTROLS, STEPS

PATH_STEPS = 4  # on each path
SOFTPLUS = 10.0
CLOSE = 1e-4  # of the score
DEFAULTS = {"saliency.absolute": False}


def interactions(predictor: Predictor, x: xr.Dataset, settings: Settings) -> dict[str, xr.DataArray]:
    """The interaction and its completeness error; empty if the settings exclude it."""
    if not settings.interaction:
        return {}
    groups = {
        n: shares_along(x[n].isel(channel=0, drop=True), x[f"{n}_sequence"], position=f"{n}_position").expand_dims(channel=x[n].channel, axis=2)
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
            a = interaction(predictor.model, inputs, n_steps=PATH_STEPS, **options)
    except ValueError as error:
        if "piecewise" not in str(error):
            raise
        return interaction(
            predictor.model, inputs, softplus=SOFTPLUS, n_steps=PATH_STEPS, **options
        ), f"{SOFTPLUS:g}"
    return a, "none"


def explained(
    predictor: Predictor,
    x: xr.Dataset,
    background: xr.Dataset,
    settings: Settings,
    seconds: dict[str, float],
    tell: Tell | None = None,
) -> xr.Dataset:
    """All results of some pairs.

    Parameters
    ----------
    predictor : Predictor
    x, background : Dataset
        Of `Images.of`.
    settings : Settings
    seconds : dict
        Times by step; the times of this call are added.
    tell : callable, optional
        Gets (method, rows done, rows in all).

    Returns
    -------
    Dataset
        Along `sample`: `mirna` and `mrna` (method, y, x); `mirna_along`, `mrna_along` (method, positions) and their
        coords `..._remainder`, `..._letter`; `mirna_cam`, `mrna_cam` (y, x) and `interaction` (positions of both) where
        there are any; `mirna_image`, `mrna_image`; `delta` and
        `deletion_z` (method); coords `score`, `probability`, `label`.
    """
    skipped: dict[str, str] = {}
    results = _attributions(predictor, x, background, settings, seconds, skipped, tell)
    for method, _, correction in (c.partition(":") for c in settings.corrections):
        if method in results:
            results[f"{method}_{correction}"] = _corrected(results[method], x, correction)
    layers = ", ".join(f"{n}: {convolutions.last}" for n, convolutions in settings.layers.items())
    pairs = xr.Dataset(attrs={"layers": layers})
    for name in BRANCHES:
        plain = [_plain(r[name]) for r in results.values()]
        units = ("method", [str(a.attrs.get("units", "")) for a in plain])
        maps = xr.concat([a.drop_attrs() for a in plain], "method").assign_coords(method=list(results), units=units)  # fmt: skip
        pairs[name] = maps.transpose("sample", "method", "y", "x").astype(np.float32)
        pairs[f"{name}_image"] = _plain(x[name])
        along_it = along(maps, x[f"{name}_sequence"], position=f"{name}_position")
        coords = {"remainder": f"{name}_remainder", "letter": f"{name}_letter"}
        pairs[f"{name}_along"] = along_it.rename(coords).transpose("sample", "method", ...).astype(np.float32)
    with timed(seconds, "grad_cam"):
        pairs = pairs.assign(_cams(predictor, x, settings, skipped))
    with timed(seconds, "interaction"):
        pairs = pairs.assign(interactions(predictor, x, settings))
    with timed(seconds, "deletion"):
        pairs["deletion_z"] = _deletion(predictor, x, background, results, settings)
    return _with_scores(pairs, predictor, x, results).assign_attrs(skipped=json.dumps(skipped))


def _attributions(
    predictor: Predictor,
    x: xr.Dataset,
    background: xr.Dataset,
    settings: Settings,
    seconds: dict[str, float],
    skipped: dict[str, str],
    tell: Tell | None,
) -> dict[str, xr.Dataset]:
    method_plan = replace(_plan(settings, background), context=predictor.context)
    results = {}
    for outcome in attribute(predictor.model, x[list(BRANCHES)], method_plan, tell):
        if isinstance(outcome, Skipped):
            skipped[outcome.method] = outcome.reason
            continue
        assert isinstance(outcome.result, xr.Dataset)
        seconds[outcome.method] = seconds.get(outcome.method, 0.0) + outcome.seconds
        results[outcome.method] = outcome.result
    return results


def _plan(settings: Settings, background: xr.Dataset) -> Plan:
    """Methods and arguments; those that take a distribution of baselines get the background."""
    options = {k: v for k, v in DEFAULTS.items() if k.split(".")[0] in settings.methods} | settings.options
    method_plan = plan(
        list(settings.methods), seed=settings.seed, batch_size=settings.batch_size, options=options
    )
    images = background[list(BRANCHES)].rename(sample="baseline")
    baselines = images.drop_vars(["baseline", "label", *_texts(background)])
    for name in settings.methods:
        baseline = method_plan.by_method[name].get("baselines", 0.0)
        if ALL[name].about.baselines == "distribution" and isinstance(baseline, int | float):
            method_plan.by_method[name]["baselines"] = baselines
    # of the default methods, those that a network does not allow are skipped
    return replace(method_plan, every=settings.methods == METHODS)


def _texts(x: xr.Dataset) -> list[str]:
    return [str(c) for c in x.coords if str(c).endswith(("_sequence", "_skipped"))]


def _plain(a: xr.DataArray) -> xr.DataArray:
    """The array without the channel and the coords of a single method."""
    coords = {"sample", "y", "x", "kmer"}
    return a.squeeze("channel", drop=True).drop_vars(
        [c for c in a.coords if c not in coords and c != "channel"]
    )


def _corrected(result: xr.Dataset, x: xr.Dataset, correction: str) -> xr.Dataset:
    corrected = {}
    for name in BRANCHES:
        a, image = _plain(result[name]), _plain(x[name])
        if correction == "normalize":
            corrected[name] = divided(a, image)
        elif correction == "filter":
            corrected[name] = smoothed(a)
        else:
            corrected[name] = tangent(a, image)
        corrected[name] = corrected[name].expand_dims(channel=1, axis=1)
    return xr.Dataset(corrected)


def _cams(
    predictor: Predictor, x: xr.Dataset, settings: Settings, skipped: dict[str, str]
) -> dict[str, xr.DataArray]:
    """Grad-CAM of the last convolution of each branch, on the branch's own image."""
    cams = {}
    for name, layers in settings.layers.items():
        if layers.last is None:
            skipped[f"grad_cam of {name}"] = "no convolution belongs to this branch alone"
            continue
        try:
            a = grad_cam(
                predictor.model,
                x[list(BRANCHES)],
                layer=layers.last,
                onto=name,
                additional_forward_args=predictor.context.of(x),
                batch_size=settings.batch_size,
            )
        except ValueError as error:
            skipped[f"grad_cam of {name}"] = str(error)
            continue
        others = [c for c in a.coords if c not in ("sample", "y", "x", "kmer")]
        cams[f"{name}_cam"] = a.drop_vars(others).drop_attrs()
    return cams


def _deletion(
    predictor: Predictor,
    x: xr.Dataset,
    background: xr.Dataset,
    results: Mapping[str, xr.Dataset],
    settings: Settings,
) -> xr.DataArray:
    """z (sample, method) of deletion against random orders, the same for all methods; NaN for attributions that are not finite."""
    finite = [m for m, r in results.items() if all(np.isfinite(r[b].values).all() for b in BRANCHES)]
    z = xr.DataArray(np.full((x.sizes["sample"], len(results)), np.nan), dims=("sample", "method"))
    if finite:
        bare = [
            results[m][list(BRANCHES)].drop_vars([c for c in results[m].coords if c not in x.dims])
            for m in finite
        ]
        curve = deletion(
            predictor.model, x[list(BRANCHES)], xr.concat(bare, "target", coords="minimal", compat="override", combine_attrs="drop"),
            baselines=background[list(BRANCHES)].mean("sample"), steps=STEPS, n_random=CONTROLS, targets=[[0] * len(z)] * len(finite),
            additional_forward_args=predictor.context.of(x), seed=settings.seed, batch_size=settings.batch_size,
        )  # fmt: skip
        z[:, [m in finite for m in results]] = curve["z"].transpose("sample", "target").values
    return z


def _with_scores(
    pairs: xr.Dataset, predictor: Predictor, x: xr.Dataset, results: Mapping[str, xr.Dataset]
) -> xr.Dataset:
    first = next(iter(results.values()))
    score = np.asarray(first["prediction"].values, dtype=np.float64)
    chance = predictor.model.probability(torch.from_numpy(score)).numpy()
    deltas = [
        r["delta"].values if "delta" in r.coords else np.full(len(score), np.nan) for r in results.values()
    ]
    pairs["delta"] = (("sample", "method"), np.stack(deltas, 1).astype(float))
    coords: dict[str, Any] = {
        "score": ("sample", score),
        "probability": ("sample", chance),
        "label": ("sample", x["label"].values),
    }
    coords |= {c: ("sample", x[c].values) for c in _texts(x)}
    return pairs.assign_coords(coords)
