"""The study: attributions of all records, motifs in filters and seqlets, experiments with them, and the files of all this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib._arguments import whole_seed
from attrib.domains.motifs import Clusters
from attrib.domains.sequences import Reading, one_hot
from attrib.io import motif_reading
from attrib.scale.loading import model_of
from attrib.scale.runners import shares
from attrib.workflows.data import class_names, headed, with_heads
from attrib.workflows.folder import PARTS, Folder, picture_count, plain_settings
from attrib.workflows.plan import Context, context_of
from attrib.workflows.runner import studied
from attrib.workflows.sequence.convolution import TRIED, Kernel, kernels
from attrib.workflows.sequence.discovery import Discovered, discover, modisco, program
from attrib.workflows.sequence.experiments import (
    evolved,
    experiments,
    inserted,
    pairs_of,
    spaced,
    usual_length,
)
from attrib.workflows.sequence.files import Findings, write
from attrib.workflows.sequence.parts import (
    ROWS,
    Attributed,
    Sequences,
    Variation,
    attributed,
    effects_of_variants,
    read_variants,
)
from attrib.workflows.sequence.settings import (
    METHODS,
    Problem,
    Settings,
    Source,
    check,
    chunks,
    explained_outputs,
    importance,
    leading,
    problem_entries,
    read_records,
    refusal_entries,
    scores,
)
from attrib.workflows.study import Tell

NOTHING = Discovered(None, Clusters({}, {}, pd.DataFrame()), None, {})


class Search(NamedTuple):
    """What is looked for in the attributions and the filters, and which experiments are made.

    Attributes
    ----------
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
    layer : str, default "first"
        The layers whose filters become motifs, by dotted name, several with commas. Of a layer behind the first convolution the motif
        is as wide as the letters that one of its positions reads, which is found by changing letters one by one.
    windows : int, optional
        Number of each filter's strongest windows that form its motif; default: all windows whose activation is at least
        half of the filter's maximum.
    both_strands : bool, default True
        Whether motifs may lie on the other strand; False for RNA.
    modisco : bool, default False
        Whether to run TF-MoDISco (the extra `modisco`) on hypothetical contributions of DeepLIFT/SHAP; its motifs are
        matched and put to the test beside the others.
    """

    motifs: str | Path | None = None
    insert: Sequence[str] = ()
    space: Sequence[str] = ()
    evolve: int = 0
    variants: str | Path | None = None
    layer: str = "first"
    windows: int | None = None
    both_strands: bool = True
    modisco: bool = False


class Material(NamedTuple):
    """What the files of a search hold, and the layers that it names.

    Attributes
    ----------
    database : mapping of str to DataArray or None
        Known motifs.
    variants : Variation or None
    kernels : sequence of Kernel
    no_filters : str
        Why there are no kernels.
    """

    database: Mapping[str, xr.DataArray] | None
    variants: Variation | None
    kernels: Sequence[Kernel] = ()
    no_filters: str = ""

    def pairs(self, search: Search) -> dict[str, tuple[str, str]]:
        """Letters of the motifs that are put at all distances."""
        return pairs_of(search.space, self.database)


def searched(
    f: Callable[..., Any], done: Attributed, settings: Settings, search: Search, material: Material, problems: list[Problem],
    say: Callable[[str], None], run: Folder,
) -> Findings:  # fmt: skip
    """Find motifs in the attributions and the filters, and run the experiments with them; the files of TF-MoDISco go into `run`."""
    lead = leading(settings.methods)
    contribution = importance(lead, done.results[lead], done.x)
    say(f"Looking for motifs in the filters and in the seqlets of {lead}.")
    patterns, failed = modisco(run, f, done.x, settings, say) if search.modisco else ({}, {})
    discovered = discover(
        f, done.x, contribution, material.database, material.kernels, top=search.windows,
        both_strands=search.both_strands, seed=settings.seed, modisco=patterns,
        context=settings.context,
    )  # fmt: skip
    score = partial(scores, f, settings=settings, wanted=explained_outputs(settings, done.results[lead]))
    tested = experiments(score, done.x, discovered, material.database, search.insert, seed=settings.seed)
    varied = None if material.variants is None else effects_of_variants(score, done.x, material.variants)
    notes = {"filters": material.no_filters} if material.no_filters else {}
    notes |= discovered.notes | failed | _left_out(done.x, discovered, search, material, varied)
    discovered = discovered._replace(notes=notes)
    if search.space or search.evolve:
        say("Putting pairs of motifs at all distances, and evolving shuffled sequences.")
    pairs = spaced(score, done.x, material.pairs(search), seed=settings.seed)
    grown = evolved(score, done.x, search.evolve, seed=settings.seed)
    return Findings(
        done, lead, contribution, discovered, tested, material.database, problems, varied, pairs, grown
    )


def _left_out(
    x: xr.DataArray, discovered: Discovered, search: Search, material: Material, varied: Variation | None
) -> dict[str, str]:
    """Motifs and variants without an experiment, and why."""
    notes = {}
    words = inserted(discovered, material.database, search.insert)
    long = [name for name, letters in words.items() if len(letters) > usual_length(x)]
    if long:
        notes["experiments"] = (
            f"{', '.join(long)} not inserted: longer than most records, {usual_length(x)} letters"
        )
    apart = [pair for pair, two in material.pairs(search).items() if sum(map(len, two)) > usual_length(x)]
    if apart:
        notes["spacing"] = f"{', '.join(apart)} left out: longer than most records, {usual_length(x)} letters"
    if varied is not None and len(varied.problems):
        first = varied.problems.problem.iloc[0]
        notes["variants"] = f"{len(varied.problems)} left out, see variant_problems.csv; the first: {first}"
    return notes


def sequence(
    data: str | Path | Source,
    model: str | Callable[..., Any],
    output: str | Path,
    *,
    weights: str | Path | None = None,
    classes: str | Sequence[str] | None = None,
    target: str | None = None,
    methods: Sequence[str] = METHODS,
    options: Mapping[str, Any] | None = None,
    baselines: str = "uniform",
    search: Search | None = None,
    context: Sequence[str] = (),
    dims: Sequence[str] = ("sample", "nucleotide", "position"),
    samples: Sequence[str] | None = None,
    max_samples: int | None = None,
    pictures: int | str = 12,
    batch_size: int | str = "auto",
    device: str | None = None,
    cluster: Any = None,
    seed: int = 0,
    overwrite: bool = False,
    tell: Tell | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Explain a model of sequences, find its motifs, test them, and write pictures, tables and attributions into a folder.

    Parameters
    ----------
    data : path or Source
        Sequences of DNA or RNA: FASTA, a table, SeqData (`.zarr`), or a genome with intervals, ``Source("hg38.fa", bed="peaks.bed")``.
    model : str or callable
        As for `attrib.scale.loading.load_model`, or the model itself: one-hot sequences to one score or several.
    output : path
        Folder for the results. One that holds a run with the same model and settings is continued: records that are
        done are not done again.
    weights : path, optional
        A state dict for `model`.
    classes : str or sequence of str, optional
        Names of the outputs: a sequence, a text with commas, or a file with one per line.
    target : str, optional
        An output's number, a class name, several with commas, `"predicted"` or `"all"`; None where the model has one
        output. Each of several outputs has its own attributions, seqlets and motifs; experiments score all motifs on all outputs.
        Of a model that returns several heads `"1:0"` or `"human:3"`, a head and its output, and `"0:profile"`, the score of a
        profile (`attrib.functional.profile_score`).
    methods : sequence of str
        Of `attrib.functional.METHODS`.
    options : mapping, optional
        More arguments of methods, as for `attrib explain`.
    baselines : {"uniform", "zeros", "shuffle", "dinucleotide"}
        What records are compared with: a quarter of each letter; zeros; shuffles of the record (ten for methods that
        take several, their mean for the others).
    search : Search, optional
        Motifs that are looked for, and experiments with them.
    context : sequence of str
        Tables or files with what the model takes beside a sequence, matched by the records' names; copies of a record (mutations,
        shuffles, motifs put in) keep its values. See `attrib.workflows.explain.explain`.
    dims : sequence of str
        Order of the dims as the model takes them.
    samples : sequence of str, optional
        Records by name; default: all.
    max_samples : int, optional
        At most so many, drawn evenly over the labels of a table with a column `label` or `class`, else over all records.
    pictures : int, "all" or "none"
        Number of records with a picture, those of the strongest seqlets. Without any, motifs have no pictures either.
    batch_size, device
        As for every method.
    cluster
        As for `attrib.workflows.cells.cells`.
    seed : int, default 0
        Of all draws.
    overwrite : bool, default False
        Whether to begin anew in a folder of an earlier run.
    tell : callable, optional
        Gets ("records", records done, in all).
    say : callable, optional
        Gets a line for each stage.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError, FileNotFoundError
        For files and arguments that do not fit, before anything is written, and if no record can be explained.
    ImportError
        If TF-MoDISco is wanted and tfmodisco-lite is missing.

    Notes
    -----
    Records that cannot be read, or that the model or a method refuses, are listed, and the others are finished. All
    results are in memory at the end: 4 numbers per base, method and output.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import torch
    >>> import attrib
    >>> from attrib.workflows.sequence import sequence
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "peaks.fa").write_text(">peak1\\nTTTTGATAAGTTTTTTTTTT\\n>peak2\\nTTTTTTTTTTGATAAGTTTT\\n")
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Conv1d(4, 3, 6), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(45, 1)).eval()
    >>> results = sequence(folder / "peaks.fa", network, folder / "results", methods=["deep_lift"], pictures=0)
    >>> attrib.load(results / "attributions.nc", "deep_lift").sample.values.tolist()
    ['peak1', 'peak2']
    """
    names = class_names(classes)
    goal, outputs = headed(target, names)
    settings = Settings(
        tuple(methods), goal, outputs, baselines, tuple(dims), batch_size, device, seed, options or {},
    )  # fmt: skip
    search = search or Search()
    source = data if isinstance(data, Source) else Source(data)
    most = picture_count(pictures)
    whole_seed(seed)
    shares(1, cluster)
    reading, material = _read(source, samples, max_samples, settings, search, say)
    loaded = model_of(model, weights, device)
    f = with_heads(loaded, target, names)
    beside = context_of(context, loaded, [str(n) for n in reading.sequences.index])
    settings = settings._replace(context=beside)
    material = material._replace(**_layers(f, search.layer, _some(reading.sequences, dims), settings.context))
    records, record = reading.sequences, plain_settings(settings.as_record(model, f))
    study = Sequences(f, settings, Path(output).absolute() / PARTS, record)
    pieces = {chunk.key: chunk for chunk in chunks(records, ROWS, repr(record))}
    if max_samples == len(records):
        say(f"At most {max_samples} records, drawn evenly with seed {seed}.")
    say(f"Explaining {len(records)} records with {', '.join(settings.methods)}.")

    def finish(run: Folder, done: list[str], refused: dict[str, str]) -> None:
        run.record |= {"source": _texts(source), "search": _texts(search)}
        explained = attributed(study, pieces, records, refused)
        problems = problem_entries(reading.problems) + refusal_entries(explained.refused)
        findings = searched(f, explained, settings, search, material, problems, say, run)
        run.record |= {"problems": problems, "notes": findings.discovered.notes, "seqlets_of": findings.lead}
        write(run, findings, most)

    return studied(study, pieces, output, finish, overwrite=overwrite, cluster=cluster, tell=tell)


def _read(
    source: Source, samples: Sequence[str] | None, max_samples: int | None, settings: Settings, search: Search,
    say: Callable[[str], None],
) -> tuple[Reading, Material]:  # fmt: skip
    """Read the records and the files of the search, and check names and arguments before the work."""
    check(settings)
    if search.evolve < 0:
        raise ValueError(f"`evolve` is {search.evolve}, expected a number of rounds, or 0 for none")
    if search.windows is not None and search.windows < 1:
        raise ValueError(f"`windows` is {search.windows}, expected a positive number")
    if search.modisco and not search.both_strands:
        raise ValueError("`modisco` is True, but motifs are to lie on one strand; TF-MoDISco reads both")
    if search.modisco:
        program()
    patterns = None if search.motifs is None else motif_reading(search.motifs)
    for problem in [] if patterns is None else patterns.problems.itertuples():
        say(f"{search.motifs}, line {problem.line}, {problem.record}: {problem.problem}")
    variants = None if search.variants is None else read_variants(search.variants, source.bed is not None)
    material = Material(None if patterns is None else patterns.motifs, variants)
    material.pairs(search)
    inserted(NOTHING, material.database, search.insert)
    reading = read_records(source, samples, max_samples, settings.seed)
    settings.plan(one_hot(reading.sequences.iloc[:1]))
    return reading, material


def _layers(f: Callable[..., Any], layer: str, x: xr.DataArray, context: Context) -> dict[str, Any]:
    """The layers of the search, or why there is no first convolution where none was named."""
    try:
        return {"kernels": kernels(f, layer, x, context)}
    except ValueError as error:
        if layer != "first":
            raise
        return {"no_filters": str(error)}


def _some(records: pd.DataFrame, dims: Sequence[str]) -> xr.DataArray:
    """A few records of the most frequent length, as the model takes them."""
    lengths = records["sequence"].str.len()
    return one_hot(records[lengths == lengths.mode().iloc[0]].iloc[:TRIED]).transpose(*dims)


def _texts(values: NamedTuple) -> dict[str, Any]:
    """Arguments for `run.json`, without those that are None."""
    return {
        k: str(v) if isinstance(v, Path) else v for k, v in values._asdict().items() if v not in (None, ())
    }
