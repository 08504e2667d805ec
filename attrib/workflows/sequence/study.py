"""The study of sequences: explain each record, find the motifs, put them to the test, write it all down."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import xarray as xr

from attrib.domains.motifs import Clusters
from attrib.domains.sequences import dinucleotide_shuffle, one_hot, shuffle, uniform
from attrib.functional import METHODS as METHODS_HERE
from attrib.io import load_motifs
from attrib.labels import predict
from attrib.workflows.attribute import Tell
from attrib.workflows.explain import targets
from attrib.workflows.loading import class_names, load_model
from attrib.workflows.plan import Plan, plan
from attrib.workflows.sequence.discovery import Discovered, discover
from attrib.workflows.sequence.experiments import experiments, inserted
from attrib.workflows.sequence.files import Findings, write
from attrib.workflows.sequence.importance import importance, leading
from attrib.workflows.sequence.parts import MUTATIONS, Attributed, attributed
from attrib.workflows.sequence.records import Source, read_records, refused, told
from attrib.workflows.sequence.run import Run

METHODS = ("deep_lift", "integrated_gradients", "saliency", MUTATIONS)
BASELINES = ("uniform", "zeros", "shuffle", "dinucleotide")
DRAWS = 10  # shuffles of a record, for methods that take several baselines
MANY = 20  # outputs that experiments ask, at most
NOTHING = Discovered(None, Clusters({}, {}, pd.DataFrame()), None, {})
NOT_HERE = ("occlusion", "feature_ablation", "noise_tunnel")  # these ask for more: windows, groups, a method


class Studied(NamedTuple):
    """What a run has done.

    Attributes
    ----------
    folder : Path
    files : list of str
    problems : list of dict
        Records that are not in the results, and those whose name was changed: `record`, `line`, `problem`, `kept`.
    discovered : Discovered
        Motifs of filters and seqlets, and their matches.
    experiments : DataFrame
        A row per experiment, motif and target.
    attributed : Attributed
        Sequences and attributions.
    """

    folder: Path
    files: list[str]
    problems: list[dict[str, Any]]
    discovered: Discovered
    experiments: pd.DataFrame
    attributed: Attributed


def sequence(
    model: str | Callable[..., Any],
    output: str | Path,
    *,
    weights: str | Path | None = None,
    fasta: str | Path | None = None,
    table: str | Path | None = None,
    bed: str | Path | None = None,
    column: str = "sequence",
    name: str | None = None,
    width: int | None = None,
    motifs: str | Path | None = None,
    insert: Sequence[str] = (),
    methods: Sequence[str] = METHODS,
    target: str | None = None,
    classes: str | None = None,
    baselines: str = "uniform",
    layer: str = "first",
    dims: Sequence[str] = ("sample", "nucleotide", "position"),
    both_strands: bool = True,
    max_records: int | None = None,
    pictures: int = 12,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    command: Sequence[str] = (),
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Studied:
    """Explain a model of sequences, find its motifs, test them, and write pictures, tables and maps into a folder.

    Parameters
    ----------
    model : str or callable
        As for `attrib.workflows.loading.load_model`, or the model itself: one-hot sequences to one score or several.
    output : path
        Folder for the results. One that holds a run with the same model and settings is continued: records that are
        done are not done again.
    weights : path, optional
        A state dict for `model`.
    fasta, table : path
        One of them: sequences of DNA or RNA.
    bed : path, optional
        Places in `fasta`, which is a genome then.
    column, name : str
        The table's columns of sequences and of names; default `"sequence"` and the rows' numbers.
    width : int, optional
        Bases around the middle of a BED interval; default: as they are.
    motifs : path, optional
        A MEME file of known motifs.
    insert : sequence of str
        Known motifs, by name in `motifs` or as letters, whose effect in backgrounds is asked too.
    methods : sequence of str
        Of `attrib.functional.METHODS`.
    target : str, optional
        An output's number, a class name, or `"predicted"`; None where the model has one output.
    classes : str, optional
        Names with commas, or a file with one per line.
    baselines : {"uniform", "zeros", "shuffle", "dinucleotide"}
        What records are compared with: a quarter of each letter; none; shuffles of the record (ten for methods that
        take several, their mean for the others).
    layer : str, default "first"
        The convolution whose filters become motifs, by dotted name.
    dims : sequence of str
        Order of the dims as the model takes them.
    both_strands : bool, default True
        Whether motifs may lie on the other strand: not for RNA.
    max_records : int, optional
        The first so many.
    pictures : int, default 12
        Records that get a picture: those of the strongest seqlets. 0: no pictures, of motifs neither.
    batch_size, device, seed
        As for every method.
    options : mapping, optional
        More arguments of methods, as for `attrib explain`.
    command : sequence of str
        As typed, for `run.json`.
    tell : callable, optional
        Gets ("records", records done, in all).
    say : callable, optional
        Gets a line for each stage.

    Returns
    -------
    Studied

    Raises
    ------
    ValueError, FileNotFoundError
        For files and arguments that make no sense, before anything is written; if no record can be explained.

    Notes
    -----
    Records that cannot be read, or that the model or a method refuses, are listed and the others finished. All results
    are in memory at the end: 4 numbers per base and method.
    """
    _check(methods, baselines, dims, pictures)
    reading = read_records(Source(fasta, table, bed, column, name, width), max_records)
    names = class_names(classes)
    goal = _goal(target, names)
    known = None if motifs is None else load_motifs(motifs)
    inserted(NOTHING, known, insert)  # names that do not exist are told before the work
    asking = partial(
        _plan, tuple(methods), baselines=baselines, target=goal, classes=names, batch_size=batch_size, device=device,
        seed=seed, options=options,
    )  # fmt: skip
    asking(one_hot(reading.sequences.iloc[:1]))  # so are arguments that no method takes
    f = load_model(model, weights, device) if isinstance(model, str) else model
    settings = {
        "model": model if isinstance(model, str) else type(model).__name__, "parameters": digest(f), "dims": list(dims),
        "methods": list(methods), "target": target, "classes": names, "baselines": baselines, "seed": seed,
        "options": dict(options or {}),
    }  # fmt: skip
    with Run(output, settings, command) as run:
        say(f"Explaining {len(reading.sequences)} records with {', '.join(methods)}.")
        done = attributed(f, reading.sequences, asking, repr(run.settings), run.parts, dims=dims, device=device, tell=tell)  # fmt: skip
        lead = leading(tuple(methods))
        contribution = importance(lead, done.results[lead], done.x)
        say(f"Looking for motifs in the filters and in the seqlets of {lead}.")
        found = discover(f, done.x, contribution, known, layer=layer, both_strands=both_strands, seed=seed)
        scores = partial(_scores, f, wanted=_outputs(goal, done.results[lead]), classes=names, device=device)
        tested = experiments(scores, done.x, found, known, insert, seed=seed)
        problems = told(reading.problems) + refused(done.refused)
        run.record |= {"problems": problems, "notes": found.notes, "seqlets_of": lead}
        write(run, Findings(done, lead, contribution, found, tested, known, problems), pictures)
    return Studied(run.path, [*run.record["files"], "run.json"], problems, found, tested, done)


def _check(methods: Sequence[str], baselines: str, dims: Sequence[str], pictures: int) -> None:
    usable = [m for m in METHODS_HERE if m not in NOT_HERE]
    unknown = [m for m in methods if m not in usable]
    if unknown or not methods:
        raise ValueError(
            f"--methods is {', '.join(unknown) or 'empty'}, expected some of {', '.join(usable)}"
        )
    if baselines not in BASELINES:
        raise ValueError(f"--baselines is {baselines!r}, expected one of {', '.join(BASELINES)}")
    if sorted(dims) != ["nucleotide", "position", "sample"] or dims[0] != "sample":
        raise ValueError(f"--dims is {','.join(dims)}, expected sample, and then nucleotide and position")
    if pictures < 0:
        raise ValueError(f"--pictures is {pictures}, expected at least 0")


def _goal(target: str | None, names: Sequence[str] | None) -> Any:
    found = targets(target, names)
    if "targets" in found:
        raise ValueError(f"--target is {target!r}, expected one output: a number, a class name, or predicted")
    return found["target"]


def _plan(methods: tuple[str, ...], x: xr.DataArray, *, baselines: str, seed: int, **options: Any) -> Plan:
    """Methods and their arguments for an input, on which the baselines depend."""
    drawn: Any = None
    if baselines in ("shuffle", "dinucleotide"):
        drawn = (shuffle if baselines == "shuffle" else dinucleotide_shuffle)(x, n=DRAWS, seed=seed)
    else:
        drawn = uniform(x) if baselines == "uniform" else 0.0
    return plan(methods, baselines=drawn, seed=seed, **options)


def digest(model: Any) -> str:
    """A short digest of a model's parameters and buffers; empty for a function."""
    if not isinstance(model, torch.nn.Module):
        return ""
    made = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor):
            made.update(name.encode())
            made.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return made.hexdigest()[:20]


def _outputs(goal: Any, result: xr.DataArray) -> list[Any] | None:
    """Which outputs experiments ask: the one explained, or those that were predicted."""
    if goal is None:
        return None
    return [goal] if goal != "predicted" else list(pd.unique(result["target"].values))[:MANY]


def _scores(
    model: Callable[..., Any],
    x: xr.DataArray,
    *,
    wanted: list[Any] | None,
    classes: Sequence[str] | None,
    device: str | None,
) -> xr.DataArray:
    """Scores (sample, target) of sequences."""
    y = predict(model, x, classes=classes if wanted is not None else None, device=device)
    y = y if "target" in y.dims else y.expand_dims(target=["score"], axis=1)
    if y.ndim > 2:
        raise ValueError(
            f"the model gives {dict(y.sizes)} for each sequence, expected scores: (N,) or (N, classes)"
        )
    return y if wanted is None else y.sel(target=wanted)
