"""The study: what a two-branch network looked at, pair by pair and over all of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from attrib import filters, layer_activation
from attrib.io import load, replacing, save, write_json
from attrib.workflows.fcgr import overviews, squares
from attrib.workflows.fcgr.branches import Layers, branch_layers
from attrib.workflows.fcgr.cohort import combined, write_cohort
from attrib.workflows.fcgr.maps import CORRECTIONS, METHODS, Todo, checked_methods, explained, timed
from attrib.workflows.fcgr.pairs import BRANCHES, Pairs, file_names, read_pairs
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.runs import is_done, logged, prepared, settings_of
from attrib.workflows.fcgr.samplefiles import write_sample

CHUNK = 8  # pairs computed together

Tell = Callable[[str, int, int], None]


class Study(NamedTuple):
    """What a run has done.

    Attributes
    ----------
    folder : Path
    summary : dict
        The content of `analysis_summary.json`.
    files : list of str
        Of all pairs together.
    """

    folder: Path
    summary: dict[str, Any]
    files: list[str]


def fcgr(
    predictor: Predictor,
    data: str | Path,
    output: str | Path,
    *,
    samples: Sequence[str] | None = None,
    n_samples: int = 5,
    n_background: int = 20,
    methods: Sequence[str] = METHODS,
    corrections: Sequence[str] = CORRECTIONS,
    layers: Mapping[str, str] | None = None,
    n_regions: int | None = None,
    with_interaction: bool = True,
    options: Mapping[str, Any] | None = None,
    batch_size: int | str = "auto",
    seed: int = 0,
    tell: Tell | None = None,
) -> Study:
    """Explain a two-branch network on pairs of miRNA and target, and write arrays, tables and pictures into a folder.

    Parameters
    ----------
    predictor : Predictor
        See `attrib.workflows.fcgr.predictor.load_predictor`.
    data : path
        Pairs, see `attrib.workflows.fcgr.pairs.read_pairs`.
    output : path
        Folder for the results. One that holds a run with the same network and settings is continued.
    samples : sequence of str, optional
        Names of pairs; default: `n_samples` of both labels, drawn by `seed`.
    n_samples : int, default 5
        See `samples`.
    n_background : int, default 20
        Pairs, drawn by `seed`, that stand for "no pair in particular" in GradientSHAP and DeepLIFT/SHAP.
    methods : sequence of str
        Of `attrib.functional.METHODS`.
    corrections : sequence of str
        Of "normalize", "filter", "tangent": further maps made from saliency.
    layers : mapping of str to str, optional
        By branch (mirna, mrna), the layer for Grad-CAM; default: the last convolution that only this branch reaches.
    n_regions : int, optional
        Regions per map; default: by silhouette.
    with_interaction : bool, default True
        Whether the interaction of both sequences is computed.
    options : mapping, optional
        Arguments of methods, ``{"n_steps": 20}`` or ``{"integrated_gradients.n_steps": 20}``.
    batch_size : int or "auto"
        Rows per call of the network.
    seed : int, default 0
        Of all draws.
    tell : callable, optional
        Gets ("pairs", done, in all).

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        For unknown names, a network that does not take the images, and a folder of another run. Pairs that cannot be
        used are listed in the summary, and the others done.
    """
    asked, corrected = checked_methods(methods, corrections)
    if n_samples < 1 or n_background < 1:
        raise ValueError(
            f"--n-samples is {n_samples}, --n-background {n_background}; expected positive numbers"
        )
    pairs = read_pairs(data, predictor.images.k)
    chosen, bad = _chosen(pairs, samples, n_samples, seed)
    background = predictor.images.of(pairs.table.loc[_drawn(pairs, n_background, seed)])
    x = predictor.images.of(pairs.table.loc[chosen])
    found_layers = _layers(predictor, x, layers or {})
    todo = Todo(asked, corrected, found_layers, with_interaction, dict(options or {}), seed, batch_size)
    folder = prepared(Path(output), settings_of(predictor, todo, background, n_regions))
    names = file_names(chosen)
    seconds: dict[str, float] = {}
    with logged(folder) as log:
        log.info("%d pairs, %d left out, methods %s", len(chosen), len(bad), ", ".join(asked))
        _do(predictor, x, background, todo, folder, names, n_regions, seconds, log, tell)
        with timed(seconds, "pictures and tables of all pairs"):
            found = combined([load(folder / "parts" / f"{names[s]}.nc") for s in chosen])
            made = _write_layers(predictor, x, found_layers, folder)
            facts = _facts(predictor, todo, bad, seconds, background)
            summary, files = write_cohort(folder, found, names, facts, seed)
        log.info("finished; seconds: %s", json.dumps({k: round(v, 2) for k, v in seconds.items()}))
    summary["seconds"] = {k: round(v, 3) for k, v in seconds.items()}
    write_json(summary, folder / "analysis_summary.json")
    return Study(folder, summary, [*files, *made])


def _chosen(
    pairs: Pairs, samples: Sequence[str] | None, count: int, seed: int
) -> tuple[list[str], dict[str, str]]:
    """Names of the pairs to explain, and the bad ones among those asked for."""
    table = pairs.table
    if samples is not None:
        asked = list(dict.fromkeys(str(s) for s in samples))
        unknown = [s for s in asked if s not in table.index and s not in pairs.bad]
        good = [s for s in asked if s in table.index]
        if unknown:
            raise ValueError(
                f"--samples: there is no pair {', '.join(unknown[:5])}; names are like {', '.join(map(str, table.index[:3]))}"
            )
        bad = {s: pairs.bad[s] for s in asked if s in pairs.bad}
        if not good:
            raise ValueError(f"--samples: none can be used; {next(iter(bad))}: {next(iter(bad.values()))}")
        return good, bad
    order = np.random.default_rng([seed, 11]).permutation(len(table))
    by_label = [[i for i in order if table["label"].iloc[i] == c] for c in (1, 0)]
    turns = [i for k in range(len(order)) for group in by_label for i in group[k : k + 1]]
    return [str(table.index[i]) for i in turns[:count]], pairs.bad


def _drawn(pairs: Pairs, count: int, seed: int) -> list[str]:
    """Pairs of the background: the same whatever is explained."""
    order = np.random.default_rng([seed, 12]).permutation(len(pairs.table))
    return [str(n) for n in pairs.table.index[order[:count]]]


def _layers(predictor: Predictor, x: xr.Dataset, given: Mapping[str, str]) -> dict[str, Layers]:
    strange = [n for n in given if n not in BRANCHES]
    if strange:
        raise ValueError(f"--layers names {strange[0]!r}, expected {' or '.join(BRANCHES)}")
    found = branch_layers(predictor.model, _rows(predictor, x))
    parts = dict(predictor.model.named_modules())
    for name, layer in given.items():
        full = layer if layer in parts else f"network.{layer}"
        if full not in parts:
            raise ValueError(f"--layers: the model has no layer {layer!r} for {name}")
        found[name] = found[name]._replace(last=full)
    return found


def _rows(predictor: Predictor, x: xr.Dataset) -> dict[str, torch.Tensor]:
    """A pair as the network takes it, after one call that shows whether it does."""
    device = next((p.device for p in predictor.model.parameters()), torch.device("cpu"))
    rows = {n: torch.from_numpy(x[n].values[:1]).to(device) for n in BRANCHES}
    try:
        with torch.no_grad():
            scores = predictor.model(*rows.values())
    except Exception as error:  # the user's code
        shape = tuple(rows["mirna"].shape)
        raise ValueError(f"the model fails on images of shape {shape} ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); was it trained with another --k?") from error  # fmt: skip
    raw = predictor.model.network(*rows.values()).detach()
    if predictor.model.output == "logit" and raw.ndim == 2 and raw.shape[1] == 2 and bool((raw >= 0).all() & ((raw.sum(1) - 1).abs() < 1e-5).all()):  # fmt: skip
        raise ValueError(
            "the model gives two numbers that add up to 1: probabilities; pass --output-kind probability"
        )
    if predictor.model.output == "probability" and not bool(((scores >= 0) & (scores <= 1)).all()):
        raise ValueError(
            "--output-kind is probability, but the model gives numbers outside [0, 1]; leave it out"
        )
    return rows


def _do(
    predictor: Predictor, x: xr.Dataset, background: xr.Dataset, todo: Todo, folder: Path, names: Mapping[str, str],
    n_regions: int | None, seconds: dict[str, float], log: logging.Logger, tell: Tell | None,
) -> None:  # fmt: skip
    """The pairs that are not there yet, some at a time; a pair's part is written last and says that it is done."""
    samples = [str(s) for s in x["sample"].values]
    pending = [s for s in samples if not is_done(folder / "parts" / f"{names[s]}.nc", x.sel(sample=s))]
    done = len(samples) - len(pending)
    log.info("%d of %d pairs are there from an earlier run", done, len(samples))
    for start in range(0, len(pending), CHUNK):
        some = pending[start : start + CHUNK]
        found = explained(predictor, x.sel(sample=some), background, todo, seconds)
        for s in some:
            one = found.sel(sample=s)
            with timed(seconds, "pictures of each pair"):
                write_sample(one, s, names[s], folder, n_regions)
            save(found.sel(sample=[s]), folder / "parts" / f"{names[s]}.nc")
            done += 1
            log.info(
                "pair %s: score %.4g, probability %.4f, label %d",
                s,
                one["score"],
                one["probability"],
                one["label"],
            )
            if tell is not None:
                tell("pairs", done, len(samples))


def _write_layers(
    predictor: Predictor, x: xr.Dataset, layers: Mapping[str, Layers], folder: Path
) -> list[str]:
    """Filters and activations of each branch's first convolution."""
    files = []
    for name, own in layers.items():
        if not own.first:
            continue
        title = f"{squares.TITLES[name]}: first convolutions"
        weights = {n: filters(predictor.model, n) for n in own.first}
        one = x[list(BRANCHES)].isel(sample=[0])
        maps = {
            n: layer_activation(predictor.model, one, layer=n, onto=name)[0].transpose("filter", "y", "x")
            for n in own.first
        }
        shown = {
            f"{name}_conv1_filters.png": overviews.filters_picture(title, weights),
            f"{name}_conv1_activations.png": overviews.activations_picture(
                f"{title} on pair {x['sample'].values[0]}", maps
            ),
        }
        for file, made in shown.items():
            with replacing(folder / file) as temporary:
                made.savefig(temporary)
            files.append(file)
    return files


def _facts(
    predictor: Predictor,
    todo: Todo,
    bad: Mapping[str, str],
    seconds: dict[str, float],
    background: xr.Dataset,
) -> dict[str, Any]:
    return {
        "output_kind": predictor.model.output, "bad_pairs": dict(bad), "source": predictor.source, "images": predictor.images._asdict(),
        "layers": {n: {"first": v.first, "last": v.last} for n, v in todo.layers.items()},
        "background": [str(s) for s in background["sample"].values], "seed": todo.seed,
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
    }  # fmt: skip
