"""The study: what a two-branch network's scores rest on, pair by pair and over all pairs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.io import load, save, write_json
from attrib.workflows.context import read_context
from attrib.workflows.fcgr.cohort import combined, write_cohort
from attrib.workflows.fcgr.layers import layers_of, write_layers
from attrib.workflows.fcgr.maps import explained
from attrib.workflows.fcgr.network import TwoBranch
from attrib.workflows.fcgr.pairs import background, chosen, file_prefixes, read_pairs
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.samplefiles import EXPORTS, write_sample
from attrib.workflows.fcgr.settings import (
    CORRECTIONS,
    METHODS,
    PROGRAM,
    Settings,
    Work,
    checked_methods,
    is_done,
    logged,
    settings_of,
)
from attrib.workflows.folder import Folder, picture_count, timed

CHUNK = 8  # pairs computed together

Tell = Callable[[str, int, int], None]


class Study(NamedTuple):
    """Results of a run.

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
    columns: Mapping[str, str] | None = None,
    samples: Sequence[str] | None = None,
    n_samples: int = 6,
    n_background: int = 20,
    context: Sequence[str] = (),
    methods: Sequence[str] = METHODS,
    corrections: Sequence[str] = CORRECTIONS,
    layers: Mapping[str, str] | None = None,
    n_regions: int | None = None,
    with_interaction: bool = True,
    pictures: int | str = "all",
    options: Mapping[str, Any] | None = None,
    batch_size: int | str = "auto",
    seed: int = 0,
    command: Sequence[str] = (),
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
    columns : mapping, optional
        Columns of `data` with `mirna`, `target`, `label` and `id`, where they have other names.
    samples : sequence of str, optional
        Names of pairs; default: `n_samples` of both labels, drawn by `seed`.
    n_samples : int, default 6
        See `samples`. With three of each label or more, positives are compared with negatives.
    n_background : int, default 20
        Pairs of the background, drawn by `seed`: the baselines of GradientSHAP and DeepLIFT/SHAP.
    context : sequence of str
        Tables or files with what the network takes beside the images, matched by the pairs' names; rows without names are those of
        `data`, in their order. See `attrib.workflows.explain.explain`.
    methods : sequence of str
        Of `attrib.functional.METHODS`.
    corrections : sequence of str
        Of "normalize", "filter", "tangent", as further attributions: of saliency, or of another method as "integrated_gradients:filter",
        or of all as "all:filter".
    layers : mapping of str to str, optional
        By branch (mirna, mrna), the layer for Grad-CAM; default: the last convolution that only this branch reaches.
    n_regions : int, optional
        Regions per attribution; default: by silhouette.
    with_interaction : bool, default True
        Whether the interaction of both sequences is computed.
    pictures : int, "all" or "none"
        Of how many pairs pictures are drawn, which takes most of the time.
    options : mapping, optional
        Arguments of methods, ``{"n_steps": 20}`` or ``{"integrated_gradients.n_steps": 20}``.
    batch_size : int or "auto"
        Rows per call of the network.
    seed : int, default 0
        Of all draws.
    command : sequence of str
        As typed, for `run.json`.
    tell : callable, optional
        Gets ("pairs", done, in all).

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        For unknown names, a network that does not take the images, and a folder of another run. Pairs that cannot be
        used are listed in the summary, and the others are explained.

    Examples
    --------
    Two pairs and a network with random weights:

    >>> import pathlib, tempfile
    >>> from attrib.io import load
    >>> from attrib.workflows.fcgr import fcgr, load_predictor
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> pairs = "UGAGGUAGUAGGUUGUAUAGUU,AAAACUAUACAACCUACUACCUCAAAA,1\\nUGAGGUAGUAGGUUGUAUAGUU,GAGAGAGAGAGAGAGAGAGAGAGAGA,0\\n"
    >>> _ = (folder / "pairs.csv").write_text("mirna,target,label\\n" + pairs)
    >>> predictor = load_predictor(None, model="attrib.workflows.fcgr.network:TwoBranch", k=6)
    >>> study = fcgr(
    ...     predictor, folder / "pairs.csv", folder / "results", n_samples=2, methods=["saliency"], with_interaction=False,
    ...     pictures="none",
    ... )
    >>> study.summary["samples"]
    ['0', '1']
    """
    known_methods, corrected = checked_methods(methods, corrections)
    if n_samples < 1 or n_background < 1:
        raise ValueError(
            f"`n_samples` is {n_samples}, `n_background` {n_background}; expected positive numbers"
        )
    most = picture_count(pictures)
    pairs = read_pairs(data, predictor.images.k, columns)
    rows = xr.DataArray(np.zeros(len(pairs.order)), coords={"sample": list(pairs.order)})
    predictor = predictor._replace(context=read_context(context, predictor.model.network).labelled(rows))
    names, bad = chosen(pairs, samples, n_samples, seed)
    others = predictor.images.of(pairs.table.loc[background(pairs, n_background, seed)])
    x = predictor.images.of(pairs.table.loc[names])
    predictor.context.of(x)  # refused before anything is written
    branch_layers = layers_of(predictor, x, layers or {})
    settings = Settings(
        known_methods, corrected, branch_layers, with_interaction, dict(options or {}), seed, batch_size
    )
    work = Work(predictor, x, others, settings, n_regions, file_prefixes(names), {}, names[:most])
    with (
        Folder(
            output, command, program=PROGRAM, settings=settings_of(work), folders=("logs", EXPORTS)
        ) as run,
        logged(run.path) as log,
    ):
        log.info("%d pairs, %d left out, methods %s", len(names), len(bad), ", ".join(known_methods))
        _do(work, run, log, tell)
        summary = _sum_up(work, run, bad)
        log.info("finished; seconds: %s", json.dumps(summary["seconds"]))
    return Study(run.path, summary, run.files)


def _do(work: Work, run: Folder, log: logging.Logger, tell: Tell | None) -> None:
    """Explain the unfinished pairs, some at a time; a pair's part is written last and marks the pair as finished."""
    parts = {s: run.parts / f"{name}.nc" for s, name in work.names.items()}
    pending = [
        s
        for s, part in parts.items()
        if not is_done(part, work.x.sel(sample=s))
        or (s in work.drawn and not (run.path / f"{work.names[s]}_along.png").exists())
    ]
    done = len(parts) - len(pending)
    log.info("%d of %d pairs are there from an earlier run", done, len(parts))
    for start in range(0, len(pending), CHUNK):
        some = pending[start : start + CHUNK]
        results = explained(
            work.predictor, work.x.sel(sample=some), work.background, work.settings, work.seconds
        )
        for k, s in enumerate(some):
            pair = results.sel(sample=s)
            with timed(work.seconds, "pictures of each pair"):
                write_sample(pair, s, work.names[s], run.path, work.regions, pictured=s in work.drawn)
            save(results.sel(sample=[s]), parts[s])
            log.info("pair %s: score %.4g, probability %.4f, label %d", s, pair["score"], pair["probability"], pair["label"])  # fmt: skip
            if tell is not None:
                tell("pairs", done + start + k + 1, len(parts))


def _sum_up(work: Work, run: Folder, bad: Mapping[str, str]) -> dict[str, Any]:
    """Write the files of all pairs together; returns the summary."""
    with timed(work.seconds, "pictures and tables of all pairs"):
        results = combined([load(run.parts / f"{name}.nc") for name in work.names.values()])
        write_layers(run, work.predictor, work.x, work.settings.layers)
        summary = write_cohort(run, results, work.names, _facts(work, bad), work.settings.seed, work.drawn)
    summary["seconds"] = _rounded(work.seconds)
    write_json(summary, run.path / "analysis_summary.json")
    return summary


def _facts(work: Work, bad: Mapping[str, str]) -> dict[str, Any]:
    """Entries of the summary that describe the run."""
    predictor, settings = work.predictor, work.settings
    return {
        "output_kind": predictor.model.output_kind, "bad_pairs": dict(bad), "source": predictor.source,
        "images": predictor.images._asdict(), "own_network": not isinstance(predictor.model.network, TwoBranch),
        "layers": {n: {"first": v.first, "last": v.last} for n, v in settings.layers.items()},
        "background": [str(s) for s in work.background["sample"].values], "seed": settings.seed,
        "seconds": _rounded(work.seconds),
    }  # fmt: skip


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {k: round(v, 3) for k, v in seconds.items()}
