"""Everything that is computed of some pairs: attributions of both branches, along the sequences, layers, interaction."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from attrib import grad_cam
from attrib.domains.fcgr import along, divided, smoothed, tangent
from attrib.functional import METHODS as ALL
from attrib.workflows.attribute import Skipped, Tell, attribute
from attrib.workflows.fcgr.interactions import interactions
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.todo import METHODS, Todo
from attrib.workflows.plan import Plan, plan

CORRECTED = "saliency"  # a plain gradient, for which the corrections are made
OWN = {"saliency.absolute": False, "integrated_gradients.n_steps": 32}


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the time that the block takes."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def explained(
    predictor: Predictor,
    x: xr.Dataset,
    background: xr.Dataset,
    todo: Todo,
    seconds: dict[str, float],
    tell: Tell | None = None,
) -> xr.Dataset:
    """All results of some pairs.

    Parameters
    ----------
    predictor : Predictor
    x, background : Dataset
        Of `Images.of`.
    todo : Todo
    seconds : dict
        Times are added to it, by what took them.
    tell : callable, optional
        Gets (method, rows done, rows in all).

    Returns
    -------
    Dataset
        Along `sample`: `mirna` and `mrna` (method, y, x); `mirna_along`, `mrna_along` (method, positions) and their
        coords `..._remainder`, `..._letter`; `mirna_cam`, `mrna_cam` (y, x) and `interaction` (positions of both) where
        there are any; `mirna_image`, `mrna_image`; `delta` (method); coords `score`, `probability`, `label`.
    """
    skipped: dict[str, str] = {}
    results = _attributions(predictor, x, background, todo, seconds, skipped, tell)
    for correction in todo.corrections if CORRECTED in results else ():
        results[f"{CORRECTED}_{correction}"] = _corrected(results[CORRECTED], x, background, correction)
    layers = ", ".join(f"{n}: {own.last}" for n, own in todo.layers.items())
    found = xr.Dataset(attrs={"layers": layers})
    for name in BRANCHES:
        maps = xr.concat([_plain(r[name]) for r in results.values()], "method").assign_coords(
            method=list(results)
        )
        found[name] = maps.transpose("sample", "method", "y", "x").astype(np.float32)
        found[f"{name}_image"] = _plain(x[name])
        along_it = along(maps, x[f"{name}_sequence"], position=f"{name}_position")
        kept = {"remainder": f"{name}_remainder", "letter": f"{name}_letter"}
        found[f"{name}_along"] = along_it.rename(kept).transpose("sample", "method", ...).astype(np.float32)
    with timed(seconds, "grad_cam"):
        found = found.assign(_cams(predictor, x, todo, skipped))
    with timed(seconds, "interaction"):
        found = found.assign(interactions(predictor, x, todo))
    return _with_scores(found, predictor, x, results).assign_attrs(skipped=json.dumps(skipped))


def _attributions(
    predictor: Predictor,
    x: xr.Dataset,
    background: xr.Dataset,
    todo: Todo,
    seconds: dict[str, float],
    skipped: dict[str, str],
    tell: Tell | None,
) -> dict[str, xr.Dataset]:
    made = _plan(todo, background)
    found = {}
    for one in attribute(predictor.model, x[list(BRANCHES)], made, tell):
        if isinstance(one, Skipped):
            skipped[one.method] = one.reason
            continue
        assert isinstance(one.result, xr.Dataset)
        seconds[one.method] = seconds.get(one.method, 0.0) + one.seconds
        found[one.method] = one.result
    return found


def _plan(todo: Todo, background: xr.Dataset) -> Plan:
    """Methods and arguments; those that take a distribution of baselines get the background."""
    own = {k: v for k, v in OWN.items() if k.split(".")[0] in todo.methods} | todo.options
    made = plan(list(todo.methods), seed=todo.seed, batch_size=todo.batch_size, options=own)
    images = background[list(BRANCHES)].rename(sample="baseline")
    baselines = images.drop_vars(["baseline", "label", *_texts(background)])
    for name in todo.methods:
        given = made.own[name].get("baselines", 0.0)
        if ALL[name].about.baselines == "distribution" and isinstance(given, int | float):
            made.own[name]["baselines"] = baselines
    # the usual ones that a network does not allow are skipped
    return replace(made, every=todo.methods == METHODS)


def _texts(x: xr.Dataset) -> list[str]:
    return [str(c) for c in x.coords if str(c).endswith(("_sequence", "_skipped"))]


def _plain(a: xr.DataArray) -> xr.DataArray:
    """Without the channel and what belongs to one method only."""
    kept = {"sample", "y", "x", "kmer"}
    return a.squeeze("channel", drop=True).drop_vars(
        [c for c in a.coords if c not in kept and c != "channel"]
    )


def _corrected(result: xr.Dataset, x: xr.Dataset, background: xr.Dataset, correction: str) -> xr.Dataset:
    found = {}
    for name in BRANCHES:
        a, image = _plain(result[name]), _plain(x[name])
        if correction == "normalize":
            found[name] = divided(a, image)
        elif correction == "filter":
            found[name] = smoothed(a)
        else:
            found[name] = tangent(a, image)
        found[name] = found[name].expand_dims(channel=1, axis=1)
    return xr.Dataset(found)


def _cams(
    predictor: Predictor, x: xr.Dataset, todo: Todo, skipped: dict[str, str]
) -> dict[str, xr.DataArray]:
    """Grad-CAM of the last convolution of each branch, on the branch's own image."""
    found = {}
    for name, layers in todo.layers.items():
        if layers.last is None:
            skipped[f"grad_cam of {name}"] = "no convolution belongs to this branch alone"
            continue
        try:
            a = grad_cam(
                predictor.model, x[list(BRANCHES)], layer=layers.last, onto=name, batch_size=todo.batch_size
            )
        except ValueError as error:
            skipped[f"grad_cam of {name}"] = str(error)
            continue
        others = [c for c in a.coords if c not in ("sample", "y", "x", "kmer")]
        found[f"{name}_cam"] = a.drop_vars(others).drop_attrs()
    return found


def _with_scores(
    found: xr.Dataset, predictor: Predictor, x: xr.Dataset, results: Mapping[str, xr.Dataset]
) -> xr.Dataset:
    first = next(iter(results.values()))
    score = np.asarray(first["prediction"].values, dtype=np.float64)
    chance = predictor.model.probability(torch.from_numpy(score)).numpy()
    deltas = [
        r["delta"].values if "delta" in r.coords else np.full(len(score), np.nan) for r in results.values()
    ]
    found["delta"] = (("sample", "method"), np.stack(deltas, 1).astype(float))
    coords: dict[str, Any] = {
        "score": ("sample", score),
        "probability": ("sample", chance),
        "label": ("sample", x["label"].values),
    }
    coords |= {c: ("sample", x[c].values) for c in _texts(x)}
    return found.assign_coords(coords)
