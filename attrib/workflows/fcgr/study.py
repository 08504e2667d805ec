"""The study: what a two-branch network's scores rest on, pair by pair and over all pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from attrib.io import load, write_json
from attrib.scale.runners import shares
from attrib.workflows.attribute import Tell
from attrib.workflows.context import context_of
from attrib.workflows.fcgr.cohort import combined, write_cohort
from attrib.workflows.fcgr.layers import layers_of, write_layers
from attrib.workflows.fcgr.maps import explained
from attrib.workflows.fcgr.network import TwoBranch
from attrib.workflows.fcgr.pairs import background, chosen, drawn_of, file_prefixes, read_pairs
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.samplefiles import EXPORTS, write_sample
from attrib.workflows.fcgr.settings import CORRECTIONS, METHODS, Settings, checked_methods
from attrib.workflows.folder import Folder, digest, earlier_part, picture_count, refuse_below_one, timed
from attrib.workflows.runner import Outcome, Studied, Study, studied

CHUNK = 8  # pairs computed together


@dataclass(frozen=True)
class Fcgr(Study):
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

    program, what = "attrib fcgr", "pairs"
    folders, log = ("logs", EXPORTS), "logs/interpretability.log"

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
) -> Studied:
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
    workers, cluster
        As for `attrib.workflows.cells.cells`.
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
    Studied

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
    names, bad = chosen(pairs, samples, max_samples, seed)
    beside = context_of(context, predictor.model.network, pairs.order, names)
    predictor = predictor._replace(context=beside)
    others = predictor.images.of(pairs.table.loc[background(pairs, n_background, seed)])
    x = predictor.images.of(pairs.table.loc[names])
    branch_layers = layers_of(predictor, x, layers or {})
    settings = Settings(
        known_methods, corrected, branch_layers, with_interaction, dict(options or {}), seed, batch_size
    )
    drawn = names[:most] if samples is not None else drawn_of(pairs, names, most, seed)
    prefixes, place = file_prefixes(names), Path(output).absolute()
    study = Fcgr(predictor, x, others, settings, n_regions, prefixes, drawn, place)

    def finish(run: Folder, done: list[str], refused: dict[str, str]) -> dict[str, Any]:
        with timed(study.seconds, "pictures and tables of all pairs"):
            results = combined([load(study.part(s)) for s in done])
            write_layers(run, predictor, x, branch_layers)
            for s in done:
                pair = results.sel(sample=s)
                run.note(f"pair {s}: score {float(pair['score']):.4g}, probability {float(pair['probability']):.4f}, label {int(pair['label'])}")  # fmt: skip
            facts = _facts(study, {**bad, **refused})
            summary = write_cohort(run, results, study.names, facts, seed, drawn)
        summary["seconds"] = {k: round(v, 3) for k, v in study.seconds.items()}
        write_json(summary, run.file("analysis_summary.json"))
        return summary

    return studied(
        study, dict(zip(names, names, strict=True)), output, finish, size=CHUNK, workers=workers, cluster=cluster,
        seconds=study.seconds, tell=tell,
    )  # fmt: skip


def _facts(study: Fcgr, bad: Mapping[str, str]) -> dict[str, Any]:
    """Entries of the summary that describe the run."""
    predictor, settings = study.predictor, study.settings
    return {
        "output_kind": predictor.model.output_kind, "bad_pairs": dict(bad), "source": predictor.source,
        "images": predictor.images._asdict(), "own_network": not isinstance(predictor.model.network, TwoBranch),
        "layers": {n: {"first": v.first, "last": v.last} for n, v in settings.layers.items()},
        "background": [str(s) for s in study.background["sample"].values], "seed": settings.seed,
    }  # fmt: skip
