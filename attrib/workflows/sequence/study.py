"""The study: attributions of all records, motifs in filters and seqlets, experiments with them, and the files of all this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.motifs import Clusters
from attrib.domains.sequences import Reading, one_hot
from attrib.io import motif_reading
from attrib.scale.loading import load_model
from attrib.workflows.attribute import Tell
from attrib.workflows.context import read_context
from attrib.workflows.folder import RECORD, Folder
from attrib.workflows.sequence.convolution import TRIED, check_layers
from attrib.workflows.sequence.discovery import Discovered, discover
from attrib.workflows.sequence.experiments import (
    evolved,
    experiments,
    inserted,
    pairs_of,
    spaced,
    usual_length,
)
from attrib.workflows.sequence.files import write
from attrib.workflows.sequence.findings import Findings
from attrib.workflows.sequence.modisco import modisco, program
from attrib.workflows.sequence.parts import Attributed, attributed
from attrib.workflows.sequence.records import Problem, Source, problem_entries, read_records, refusal_entries
from attrib.workflows.sequence.settings import (
    METHODS,
    Settings,
    check,
    explained_outputs,
    importance,
    leading,
    scores,
)
from attrib.workflows.sequence.variation import Variation, effects_of_variants, read_variants
from attrib.workflows.targets import class_names, headed, with_heads

PROGRAM = "attrib sequence"
NOTHING = Discovered(None, Clusters({}, {}, pd.DataFrame()), None, {})


class Search(NamedTuple):
    """Settings of the search for motifs.

    Attributes
    ----------
    database : mapping of str to DataArray or None
        Known motifs.
    insert : tuple of str
    layer : str
    windows : int or None
    both_strands : bool
    variants : Variation or None
        Read from a file.
    modisco : bool
        Whether to run TF-MoDISco.
    pairs : mapping of str to (str, str)
        Letters of two motifs that are put into backgrounds at all distances.
    rounds : int
        Of directed evolution; 0 for none.
    """

    database: Mapping[str, xr.DataArray] | None
    insert: tuple[str, ...]
    layer: str
    windows: int | None
    both_strands: bool
    variants: Variation | None
    modisco: bool = False
    pairs: Mapping[str, tuple[str, str]] = {}
    rounds: int = 0


def searched(
    f: Callable[..., Any], done: Attributed, settings: Settings, search: Search, problems: list[Problem],
    say: Callable[[str], None], run: Folder,
) -> Findings:  # fmt: skip
    """Find motifs in the attributions and the filters, and run the experiments with them.

    Parameters
    ----------
    f : callable
        The model.
    done : Attributed
    settings : Settings
    search : Search
    problems : list of dict
        Records that are not in the results.
    say : callable
        Gets a line.
    run : Folder
        For the files of TF-MoDISco.
    """
    lead = leading(settings.methods)
    contribution = importance(lead, done.results[lead], done.x)
    say(f"Looking for motifs in the filters and in the seqlets of {lead}.")
    patterns, failed = modisco(run, f, done.x, settings, say) if search.modisco else ({}, {})
    discovered = discover(
        f, done.x, contribution, search.database, layer=search.layer, top=search.windows,
        both_strands=search.both_strands, seed=settings.seed, modisco=patterns,
        context=settings.context,
    )  # fmt: skip
    score = partial(scores, f, settings=settings, wanted=explained_outputs(settings, done.results[lead]))
    tested = experiments(score, done.x, discovered, search.database, search.insert, seed=settings.seed)
    varied = None if search.variants is None else effects_of_variants(score, done.x, search.variants)
    discovered = discovered._replace(
        notes=discovered.notes | failed | _left_out(done.x, discovered, search, varied)
    )
    if search.pairs or search.rounds:
        say("Putting pairs of motifs at all distances, and evolving shuffled sequences.")
    pairs = spaced(score, done.x, search.pairs, seed=settings.seed)
    grown = evolved(score, done.x, search.rounds, seed=settings.seed)
    return Findings(
        done, lead, contribution, discovered, tested, search.database, problems, varied, pairs, grown
    )


def _left_out(
    x: xr.DataArray, discovered: Discovered, search: Search, varied: Variation | None
) -> dict[str, str]:
    """Motifs and variants without an experiment, and why."""
    notes = {}
    words = inserted(discovered, search.database, search.insert)
    long = [name for name, letters in words.items() if len(letters) > usual_length(x)]
    if long:
        notes["experiments"] = (
            f"{', '.join(long)} not inserted: longer than most records, {usual_length(x)} letters"
        )
    apart = [pair for pair, two in search.pairs.items() if sum(map(len, two)) > usual_length(x)]
    if apart:
        notes["spacing"] = f"{', '.join(apart)} left out: longer than most records, {usual_length(x)} letters"
    if varied is not None and len(varied.problems):
        first = varied.problems.problem.iloc[0]
        notes["variants"] = f"{len(varied.problems)} left out, see variant_problems.csv; the first: {first}"
    return notes


class Studied(NamedTuple):
    """Results of a run.

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
    summits: bool = False,
    motifs: str | Path | None = None,
    insert: Sequence[str] = (),
    space: Sequence[str] = (),
    evolve: int = 0,
    variants: str | Path | None = None,
    context: Sequence[str] = (),
    methods: Sequence[str] = METHODS,
    target: str | None = None,
    classes: str | None = None,
    baselines: str = "uniform",
    layer: str = "first",
    windows: int | None = None,
    dims: Sequence[str] = ("sample", "nucleotide", "position"),
    both_strands: bool = True,
    max_records: int | None = None,
    pictures: int = 12,
    modisco: bool = False,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    command: Sequence[str] = (),
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Studied:
    """Explain a model of sequences, find its motifs, test them, and write pictures, tables and attributions into a folder.

    Parameters
    ----------
    model : str or callable
        As for `attrib.scale.loading.load_model`, or the model itself: one-hot sequences to one score or several.
    output : path
        Folder for the results. One that holds a run with the same model and settings is continued: records that are
        done are not done again.
    weights : path, optional
        A state dict for `model`.
    fasta, table : path
        Sequences of DNA or RNA; pass one of the two. SeqData (`.zarr`) counts as a table.
    bed : path, optional
        Intervals in `fasta`, which is then a genome.
    column, name : str
        The table's columns of sequences and of names; default `"sequence"` and the rows' numbers.
    width : int, optional
        Bases around the middle of a BED interval; default: the interval as it is.
    summits : bool, default False
        Whether `width` goes around the summit of a narrowPeak file.
    motifs : path, optional
        Known motifs: MEME, JASPAR, TRANSFAC or HOMER.
    insert : sequence of str
        More motifs to insert into backgrounds, by name in `motifs` or as letters.
    space : sequence of str
        Pairs of such motifs, as ``"CTCF:GATAA"``: their interaction at each distance, in shuffled records (`spacing.csv`).
    evolve : int, default 0
        Rounds of directed evolution of shuffled records towards each output (`evolution.csv`): in each the best single mutation.
    variants : path, optional
        A VCF file (with `bed`), or a table with `record`, `position` (from 0), `ref` and `alt`: what each changes in the
        scores of the records that cover it.
    context : sequence of str
        Tables or files with what the model takes beside a sequence, matched by the records' names; copies of a record (mutations,
        shuffles, motifs put in) keep its values. See `attrib.workflows.explain.explain`.
    methods : sequence of str
        Of `attrib.functional.METHODS`.
    target : str, optional
        An output's number, a class name, several with commas, `"predicted"` or `"all"`; None where the model has one
        output. Each of several outputs has its own attributions, seqlets and motifs; experiments score all motifs on all outputs.
        Of a model that returns several heads `"1:0"` or `"human:3"`, a head and its output, and `"0:profile"`, the score of a
        profile (`attrib.functional.profile_score`).
    classes : str, optional
        Names with commas, or a file with one per line.
    baselines : {"uniform", "zeros", "shuffle", "dinucleotide"}
        What records are compared with: a quarter of each letter; zeros; shuffles of the record (ten for methods that
        take several, their mean for the others).
    layer : str, default "first"
        The layers whose filters become motifs, by dotted name, several with commas. Of a layer behind the first convolution the motif
        is as wide as the letters that one of its positions reads, which is found by changing letters one by one.
    windows : int, optional
        Number of each filter's strongest windows that form its motif; default: all windows whose activation is at least
        half of the filter's maximum.
    dims : sequence of str
        Order of the dims as the model takes them.
    both_strands : bool, default True
        Whether motifs may lie on the other strand; False for RNA.
    max_records : int, optional
        At most so many, drawn evenly over the labels of a table with a column `label` or `class`, else over all records.
    pictures : int, default 12
        Number of records with a picture, those of the strongest seqlets. With 0 motifs have no pictures either.
    modisco : bool, default False
        Whether to run TF-MoDISco (the extra `modisco`) on hypothetical contributions of DeepLIFT/SHAP; its motifs are
        matched and put to the test beside the others.
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
        For files and arguments that do not fit, before anything is written, and if no record can be explained.
    ImportError
        If `modisco` is True and tfmodisco-lite is missing.

    Notes
    -----
    Records that cannot be read, or that the model or a method refuses, are listed, and the others are finished. All
    results are in memory at the end: 4 numbers per base, method and output.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import torch
    >>> from attrib.workflows.sequence import sequence
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "peaks.fa").write_text(">peak1\\nTTTTGATAAGTTTTTTTTTT\\n>peak2\\nTTTTTTTTTTGATAAGTTTT\\n")
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Conv1d(4, 3, 6), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(45, 1)).eval()
    >>> study = sequence(network, folder / "results", fasta=folder / "peaks.fa", methods=["deep_lift"], pictures=0)
    >>> study.attributed.x.sample.values.tolist()
    ['peak1', 'peak2']
    """
    names = class_names(classes)
    goal, outputs = headed(target, names)
    settings = Settings(
        tuple(methods), goal, outputs, baselines, tuple(dims), batch_size, device, seed, options or {},
    )  # fmt: skip
    patterns = None if motifs is None else motif_reading(motifs)
    for problem in [] if patterns is None else patterns.problems.itertuples():
        say(f"{motifs}, line {problem.line}, {problem.record}: {problem.problem}")
    search = Search(
        None if patterns is None else patterns.motifs,
        tuple(insert),
        layer,
        windows,
        both_strands,
        None if variants is None else read_variants(variants, bed is not None),
        modisco,
        pairs_of(space, None if patterns is None else patterns.motifs),
        evolve,
    )
    source = Source(fasta, table, bed, column, name, width, summits)
    reading = _read(source, max_records, settings, search, pictures)
    loaded = load_model(model, weights, device) if isinstance(model, str) else model
    f = with_heads(loaded, target, names)
    if context:
        records = [str(n) for n in reading.sequences.index]
        of_records = xr.DataArray(np.zeros(len(records)), coords={"sample": records})
        beside = read_context(context, loaded).labelled(of_records)
        beside.of(of_records)
        settings = settings._replace(context=beside)
    check_layers(loaded, layer, _some(reading.sequences, dims), settings.context)
    with Folder(output, command, program=PROGRAM, settings=settings.as_record(model, f)) as run:
        run.record |= {"source": _texts(source), "motifs": str(motifs or ""), "variants": str(variants or ""), "search": _texts(search._replace(database=None, variants=None))}  # fmt: skip
        if max_records == len(reading.sequences):
            say(f"At most {max_records} records, drawn evenly with seed {seed}.")
        say(f"Explaining {len(reading.sequences)} records with {', '.join(settings.methods)}.")
        done = attributed(f, reading.sequences, settings, run.parts, repr(run.settings), tell=tell)
        problems = problem_entries(reading.problems) + refusal_entries(done.refused)
        findings = searched(f, done, settings, search, problems, say, run)
        run.record |= {"problems": problems, "notes": findings.discovered.notes, "seqlets_of": findings.lead}
        write(run, findings, pictures)
    return Studied(run.path, [*run.files, RECORD], problems, findings.discovered, findings.experiments, done)


def _read(
    source: Source, max_records: int | None, settings: Settings, search: Search, pictures: int
) -> Reading:
    """Read the records, and check names and arguments before the work."""
    check(settings)
    if pictures < 0:
        raise ValueError(f"`pictures` is {pictures}, expected at least 0")
    if search.rounds < 0:
        raise ValueError(f"`evolve` is {search.rounds}, expected a number of rounds, or 0 for none")
    if search.windows is not None and search.windows < 1:
        raise ValueError(f"`windows` is {search.windows}, expected a positive number")
    if search.modisco and not search.both_strands:
        raise ValueError("`modisco` is True, but motifs are to lie on one strand; TF-MoDISco reads both")
    if search.modisco:
        program()
    inserted(NOTHING, search.database, search.insert)
    reading = read_records(source, max_records, settings.seed)
    settings.plan(one_hot(reading.sequences.iloc[:1]))
    return reading


def _some(records: pd.DataFrame, dims: Sequence[str]) -> xr.DataArray:
    """A few records of the most frequent length, as the model takes them."""
    lengths = records["sequence"].str.len()
    return one_hot(records[lengths == lengths.mode().iloc[0]].iloc[:TRIED]).transpose(*dims)


def _texts(values: NamedTuple) -> dict[str, Any]:
    """Arguments for `run.json`, without those that are None."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in values._asdict().items() if v is not None}
