"""The study: what a two-branch network's scores rest on, pair by pair and over all pairs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.io import load, write_json
from attrib.scale.runners import shares
from attrib.workflows.context import read_context
from attrib.workflows.fcgr.cohort import combined, write_cohort
from attrib.workflows.fcgr.layers import layers_of, write_layers
from attrib.workflows.fcgr.maps import explained
from attrib.workflows.fcgr.network import TwoBranch
from attrib.workflows.fcgr.pairs import background, chosen, drawn_of, file_prefixes, read_pairs
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.samplefiles import EXPORTS, write_sample
from attrib.workflows.fcgr.settings import CORRECTIONS, METHODS, PROGRAM, Settings, checked_methods, logged
from attrib.workflows.folder import Folder, digest, earlier_part, picture_count, refuse_below_one, timed
from attrib.workflows.runner import Job, Outcome, carried_out

CHUNK = 8  # pairs computed together

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Work(Job):
    """A run's network, pairs and settings, and what is done with its pairs.

    Attributes
    ----------
    predictor : Predictor
    x, background : Dataset
        Of `Images.of`: the pairs to explain, and those of the background.
    settings : Settings
    regions : int or None
        Regions per attribution.
    names : dict of str to str
        Prefixes of the file names by pair.
    drawn : list of str
        Pairs with pictures.
    folder : Path
    seconds : dict
        Times by step, filled during the work.
    """

    predictor: Predictor
    x: xr.Dataset
    background: xr.Dataset
    settings: Settings
    regions: int | None
    names: dict[str, str]
    drawn: list[str]
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def part(self, sample: str) -> Path:
        """The file of a pair's results, which is written last and marks the pair as finished."""
        return self.folder / "parts" / f"{self.names[sample]}.nc"

    def do(self, block: Sequence[str]) -> list[Outcome]:
        """Explain some pairs."""
        some = list(block)
        results = explained(
            self.predictor, self.x.sel(sample=some), self.background, self.settings, self.seconds
        )
        return [
            Outcome(s, partial(write_sample, results.sel(sample=[s]), self.names[s], self.folder, self.regions, pictured=s in self.drawn))
            for s in some
        ]  # fmt: skip

    def is_done(self, sample: str) -> bool:
        """Whether a pair's results exist, are complete, and belong to the present sequences."""
        saved, pair = earlier_part(self.part(sample)), self.x.sel(sample=sample)
        if sample in self.drawn and not (self.folder / f"{self.names[sample]}_along.png").exists():
            return False
        same = ("mirna_sequence", "mrna_sequence", "label")
        return saved is not None and all(
            c in saved.coords and str(saved[c].values[0]) == str(pair[c].values) for c in same
        )

    def identity(self) -> dict[str, Any]:
        """What must be equal for a run to be continued."""
        predictor, settings = self.predictor, self.settings
        return predictor.context.identity() | {
            "source": predictor.source, "weights": digest(predictor.model), "images": predictor.images._asdict(), "output_kind": predictor.model.output_kind,
            "methods": settings.methods, "corrections": settings.corrections, "layers": {n: v.last for n, v in settings.layers.items()},
            "interaction": settings.interaction, "options": settings.options, "seed": settings.seed, "regions": self.regions,
            "background": [str(s) for s in self.background["sample"].values],
        }  # fmt: skip


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
    max_samples: int = 6,
    n_background: int = 20,
    context: Sequence[str] = (),
    methods: Sequence[str] = METHODS,
    corrections: Sequence[str] = CORRECTIONS,
    layers: Mapping[str, str] | None = None,
    n_regions: int | None = None,
    with_interaction: bool = True,
    pictures: int | str = "all",
    workers: int = 0,
    cluster: Any = None,
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
    columns : mapping, optional
        Columns of `data` with `mirna`, `target`, `label` and `id`, where they have other names.
    samples : sequence of str, optional
        Names of pairs; default: `max_samples` of both labels, drawn by `seed`.
    max_samples : int, default 6
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
    workers : int, default 0
        Processes that draw, if there are more than a few pairs; 0: this one. Programs that pass more need ``if __name__ == "__main__"``.
    cluster : int, str or Client, optional
        Worker processes, or the address of a Dask scheduler whose workers see the same files; default: this process.
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
    ...     predictor, folder / "pairs.csv", folder / "results", max_samples=2, methods=["saliency"], with_interaction=False,
    ...     pictures="none",
    ... )
    >>> study.summary["samples"]
    ['0', '1']
    """
    known_methods, corrected = checked_methods(methods, corrections)
    refuse_below_one(max_samples=max_samples, n_background=n_background)
    most = picture_count(pictures)
    shares(1, cluster)
    pairs = read_pairs(data, predictor.images.k, columns)
    rows = xr.DataArray(np.zeros(len(pairs.order)), coords={"sample": list(pairs.order)})
    predictor = predictor._replace(context=read_context(context, predictor.model.network).labelled(rows))
    names, bad = chosen(pairs, samples, max_samples, seed)
    others = predictor.images.of(pairs.table.loc[background(pairs, n_background, seed)])
    x = predictor.images.of(pairs.table.loc[names])
    predictor.context.of(x)  # refused before anything is written
    branch_layers = layers_of(predictor, x, layers or {})
    settings = Settings(
        known_methods, corrected, branch_layers, with_interaction, dict(options or {}), seed, batch_size
    )
    drawn = names[:most] if samples is not None else drawn_of(pairs, names, most, seed)
    work = Work(
        predictor,
        x,
        others,
        settings,
        n_regions,
        file_prefixes(names),
        drawn,
        Path(output).absolute(),
    )
    with (
        Folder(output, program=PROGRAM, settings=work.identity(), folders=("logs", EXPORTS)) as run,
        logged(run.path) as log,
    ):
        log.info("%d pairs, %d left out, methods %s", len(names), len(bad), ", ".join(known_methods))

        def told(what: str, done: int, total: int) -> None:
            log.info("%d of %d pairs are done", done, total)
            if tell is not None:
                tell(what, done, total)

        refused = carried_out(
            work, dict(zip(names, names, strict=True)), work.is_done, what="pairs", size=CHUNK, workers=workers, cluster=cluster,
            seconds=work.seconds, tell=told,
        )  # fmt: skip
        if len(refused) == len(names):
            raise ValueError(f"`data`: no pair can be explained; {names[0]}: {refused[names[0]]}")
        summary = _sum_up(work, run, {**bad, **refused}, [s for s in names if s not in refused], log)
        log.info("finished; seconds: %s", json.dumps(summary["seconds"]))
    return Study(run.path, summary, run.files)


def _sum_up(
    work: Work, run: Folder, bad: Mapping[str, str], samples: Sequence[str], log: logging.Logger
) -> dict[str, Any]:
    """Write the files of all pairs together; returns the summary."""
    with timed(work.seconds, "pictures and tables of all pairs"):
        results = combined([load(work.part(s)) for s in samples])
        for s in samples:
            pair = results.sel(sample=s)
            log.info("pair %s: score %.4g, probability %.4f, label %d", s, pair["score"], pair["probability"], pair["label"])  # fmt: skip
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
