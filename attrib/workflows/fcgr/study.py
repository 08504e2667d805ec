"""The study: what a two-branch network's scores rest on, pair by pair and over all pairs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from attrib import deletion, grad_cam
from attrib import interaction as interaction_of
from attrib._arguments import refuse_unnamed
from attrib.domains.fcgr import along, divided, smoothed, tangent
from attrib.domains.fcgr import shares as shares_along
from attrib.functional import METHODS as ALL
from attrib.io import load, write_json
from attrib.scale.runners import shares
from attrib.scale.samples import digest_of
from attrib.workflows.data import loaded
from attrib.workflows.fcgr.cohort import combined, write_cohort
from attrib.workflows.fcgr.layers import Layers, layers_of, write_layers
from attrib.workflows.fcgr.network import TwoBranch
from attrib.workflows.fcgr.pairs import BRANCHES, background, chosen, drawn_of, file_prefixes, read_pairs
from attrib.workflows.fcgr.predictor import Predictor, load_predictor
from attrib.workflows.fcgr.samplefiles import EXPORTS, write_sample
from attrib.workflows.folder import Folder, digest, earlier_part, picture_count, refuse_below_one, timed
from attrib.workflows.plan import Plan, context_of, plan
from attrib.workflows.runner import Outcome, Study, studied
from attrib.workflows.study import CONTROLS, STEPS, Skipped, Tell, attribute

CHUNK = 8  # pairs computed together

METHODS = ("integrated_gradients", "saliency", "deep_lift", "gradient_shap", "smooth_grad", "deep_lift_shap")
CORRECTIONS = ("normalize", "filter", "tangent")
CORRECTED = "saliency"  # the plain gradient, which corrections are of where no method is named

PATH_STEPS = 4  # on each path
SOFTPLUS = 10.0
CLOSE = 1e-4  # of the score
DEFAULTS = {"saliency.absolute": False}


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
            "background": digest_of(self.background[list(BRANCHES)]),
        }  # fmt: skip


def fcgr(
    data: str | Path,
    model: str | Path | Predictor | Callable[..., Any],
    output: str | Path,
    *,
    weights: str | Path | None = None,
    methods: Sequence[str] = METHODS,
    options: Mapping[str, Any] | None = None,
    corrections: Sequence[str] = CORRECTIONS,
    interaction: bool = True,
    layer: Mapping[str, str] | None = None,
    context: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    samples: Sequence[str] | None = None,
    max_samples: int = 6,
    n_background: int = 20,
    n_regions: int | None = None,
    pictures: int | str = "all",
    batch_size: int | str = "auto",
    device: str | None = None,
    cluster: Any = None,
    seed: int = 0,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Path:
    """Explain a two-branch network on pairs of miRNA and target, and write arrays, tables and pictures into a folder.

    Parameters
    ----------
    data : path
        Pairs, see `attrib.workflows.fcgr.pairs.read_pairs`.
    model : path, str, Predictor or callable
        The file of a checkpoint; ``"package.module:factory"`` or a network, whose images are of 6-mers unless settings beside the
        weights say otherwise; or a predictor, see `attrib.workflows.fcgr.load_predictor`.
    output : path
        Folder for the results. One that holds a run with the same network and settings is continued.
    weights : path, optional
        A state dict for the factory.
    methods : sequence of str
        Of `attrib.functional.METHODS`.
    options : mapping, optional
        Arguments of methods, ``{"n_steps": 20}`` or ``{"integrated_gradients.n_steps": 20}``.
    corrections : sequence of str
        Of "normalize", "filter", "tangent", as further attributions: of saliency, or of another method as "integrated_gradients:filter",
        or of all as "all:filter".
    interaction : bool, default True
        Whether the interaction of both sequences is computed.
    layer : mapping of str to str, optional
        By branch (mirna, mrna), the layer for Grad-CAM; default: the last convolution that only this branch reaches.
    context : sequence of str
        Tables or files with what the network takes beside the images, matched by the pairs' names; rows without names are those of
        `data`, in their order. See `attrib.workflows.explain.explain`.
    columns : mapping, optional
        Columns of `data` with `mirna`, `target`, `label` and `id`, where they have other names.
    samples : sequence of str, optional
        Pairs by name, or by row from 0; default: `max_samples` of both labels, drawn by `seed`.
    max_samples : int, default 6
        See `samples`. With three of each label or more, positives are compared with negatives.
    n_background : int, default 20
        Pairs of the background, drawn by `seed`: the baselines of GradientSHAP and DeepLIFT/SHAP.
    n_regions : int, optional
        Regions per attribution; default: by silhouette.
    pictures : int, "all" or "none"
        Of how many pairs pictures are drawn, which takes most of the time.
    batch_size : int or "auto"
        Rows per call of the network.
    device, cluster
        As for `attrib.workflows.cells.cells`.
    seed : int, default 0
        Of all draws.
    overwrite : bool, default False
        Whether to begin anew in a folder of an earlier run.
    tell : callable, optional
        Gets ("pairs", done, in all).

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError
        For unknown names, a network that does not take the images, and a folder of another run. Pairs that cannot be
        used are listed in the summary, and the others are explained.

    Examples
    --------
    Two pairs and a network with random weights:

    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from attrib.workflows.fcgr import fcgr
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> pairs = "UGAGGUAGUAGGUUGUAUAGUU,AAAACUAUACAACCUACUACCUCAAAA,1\\nUGAGGUAGUAGGUUGUAUAGUU,GAGAGAGAGAGAGAGAGAGAGAGAGA,0\\n"
    >>> _ = (folder / "pairs.csv").write_text("mirna,target,label\\n" + pairs)
    >>> network = "attrib.workflows.fcgr.network:TwoBranch"
    >>> results = fcgr(folder / "pairs.csv", network, folder / "results", methods=["saliency"], interaction=False, pictures="none")
    >>> pd.read_csv(results / "attribution_statistics.csv")["sample"].unique().tolist()
    [0, 1]
    """
    predictor = loaded(model, Predictor, load_predictor, weights=weights, device=device)
    known_methods, corrected = checked_methods(methods, corrections)
    refuse_below_one(max_samples=max_samples, n_background=n_background, n_regions=n_regions)
    most = picture_count(pictures)
    shares(1, cluster)
    pairs = read_pairs(data, predictor.images.k, columns)
    names, bad = chosen(pairs, samples, max_samples, seed)
    beside = context_of(context, predictor.model.network, pairs.order, names)
    predictor = predictor._replace(context=beside)
    others = predictor.images.of(pairs.table.loc[background(pairs, n_background, seed)])
    x = predictor.images.of(pairs.table.loc[names])
    branch_layers = layers_of(predictor, x, layer or {})
    settings = Settings(
        known_methods, corrected, branch_layers, interaction, dict(options or {}), seed, batch_size
    )
    drawn = names[:most] if samples is not None else drawn_of(pairs, names, most, seed)
    prefixes, place = file_prefixes(names), Path(output).absolute()
    study = Fcgr(predictor, x, others, settings, n_regions, prefixes, drawn, place)

    def finish(run: Folder, done: list[str], refused: dict[str, str]) -> None:
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

    return studied(
        study, dict(zip(names, names, strict=True)), output, finish, overwrite=overwrite, size=CHUNK, cluster=cluster,
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


class Settings(NamedTuple):
    """The settings for every pair.

    Attributes
    ----------
    methods, corrections : tuple of str
        Corrections as "METHOD:CORRECTION".
    layers : dict of str to Layers
    interaction : bool
    options : dict
        Arguments of methods.
    seed : int
    batch_size : int or "auto"
        Rows per call of the model.
    """

    methods: tuple[str, ...]
    corrections: tuple[str, ...]
    layers: dict[str, Layers]
    interaction: bool
    options: dict[str, Any]
    seed: int
    batch_size: int | str


def checked_methods(
    methods: Sequence[str], corrections: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The methods, and the corrections as "METHOD:CORRECTION", without repetitions.

    A correction alone is one of saliency, if saliency is among the methods; `all:CORRECTION` of all methods.

    Raises
    ------
    ValueError
        For names that do not exist.
    """
    refuse_unnamed(
        "methods", methods, [n for n, m in ALL.items() if m.about.result == "input" and not m.about.layer]
    )
    if corrections:
        refuse_unnamed("corrections", [c.rpartition(":")[2] for c in corrections], CORRECTIONS)
    chosen = list(dict.fromkeys(methods))
    pairs: list[str] = []
    for correction in corrections:
        of, _, name = correction.rpartition(":")
        if of not in ("", "all", *chosen):
            raise ValueError(
                f"`corrections` is {correction}, but {of} is none of the methods {', '.join(chosen)}"
            )
        several = chosen if of == "all" else [of or CORRECTED]
        pairs += [f"{m}:{name}" for m in several if m in chosen]
    return tuple(chosen), tuple(dict.fromkeys(pairs))


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
        a = interaction_of(predictor.model, inputs, n_steps=1, **options)
        if float(abs(a["delta"]).max()) > CLOSE * float(abs(a["prediction"]).max()):
            a = interaction_of(predictor.model, inputs, n_steps=PATH_STEPS, **options)
    except ValueError as error:
        if "piecewise" not in str(error):
            raise
        return interaction_of(
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
