"""`attrib sequence`: the study of sequences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attrib.cli import show
from attrib.cli.options import (
    BatchSize,
    Classes,
    Context,
    Continued,
    Device,
    Methods,
    Model,
    Seed,
    Settings,
    Target,
    Weights,
)
from attrib.cli.values import assignments, joined, listed, rows

if TYPE_CHECKING:
    from attrib.workflows.sequence import Studied

DEFAULT = ["deep_lift", "integrated_gradients", "saliency", "in_silico_mutagenesis"]
DIMS = ["sample", "nucleotide", "position"]
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".zarr")
ALL = 1 << 30
LISTED = 5  # records that are named on the screen


def sequence(
    model: Model,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Sequences: FASTA (plain or gzip), a table (.csv, .tsv, .txt, .parquet) with a column of them, or SeqData (.zarr); with --bed the genome."
        ),
    ] = None,
    fasta: Annotated[Path | None, typer.Option(help="The same, of FASTA under any name.")] = None,
    table: Annotated[Path | None, typer.Option(help="The same, of a table under any name.")] = None,
    bed: Annotated[Path | None, typer.Option(help="Intervals of the genome --data.")] = None,
    output: Continued = Path("attrib-sequence"),
    weights: Weights = None,
    column: Annotated[str, typer.Option(help="The table's column of sequences.")] = "sequence",
    name: Annotated[
        str | None, typer.Option(help="The table's column of names; default: the rows' numbers.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Bases around the middle of an interval; default: as it is.")
    ] = None,
    summits: Annotated[
        bool, typer.Option("--summits", help="--width around the summits of narrowPeak, not the middles.")
    ] = False,
    motifs: Annotated[
        Path | None, typer.Option(help="Known motifs: MEME (HOCOMOCO), JASPAR, TRANSFAC, HOMER.")
    ] = None,
    insert: Annotated[
        list[str] | None, typer.Option(help="More motifs to test: names in --motifs, or letters.")
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            help="Pairs of motifs put at all distances from each other: CTCF:GATAA, names in --motifs or letters."
        ),
    ] = None,
    evolve: Annotated[
        int, typer.Option(help="Rounds of directed evolution of shuffled records, the best mutation in each.")
    ] = 0,
    variants: Annotated[
        Path | None,
        typer.Option(
            help="Variants to score: .vcf (with --bed), or a table with record, position (from 0), ref, alt."
        ),
    ] = None,
    context: Context = None,
    methods: Methods = None,
    target: Target = None,
    classes: Classes = None,
    baselines: Annotated[
        str, typer.Option(help="What records are compared with: uniform, zeros, shuffle, dinucleotide.")
    ] = "uniform",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Layers whose filters become motifs, deeper ones too; default: the first convolution."
        ),
    ] = None,
    windows: Annotated[
        int | None,
        typer.Option(help="Strongest windows that make a filter's motif; default: all of half its maximum."),
    ] = None,
    dims: Annotated[
        list[str] | None,
        typer.Option(help="Order of the dims as the model takes them; default: sample,nucleotide,position."),
    ] = None,
    one_strand: Annotated[
        bool, typer.Option("--one-strand", help="Motifs lie on the given strand only, as in RNA.")
    ] = False,
    modisco: Annotated[
        bool, typer.Option("--modisco", help="Run TF-MoDISco too (the extra modisco).")
    ] = False,
    max_records: Annotated[
        int | None,
        typer.Option(
            "--max-samples",
            "--max-records",
            help="At most so many records, drawn evenly over a table's column label or class.",
        ),
    ] = None,
    pictures: Annotated[
        str, typer.Option(help="Records that get a picture: a number, all, or none for no pictures at all.")
    ] = "12",
    batch_size: BatchSize = "auto",
    device: Device = None,
    seed: Seed = 0,
    options: Settings = None,
) -> None:
    """Explain a model of DNA or RNA: attributions, mutations, motifs, experiments, a summary page."""
    from attrib.workflows.folder import command_line
    from attrib.workflows.sequence import sequence as work

    sequences, rows_of = _source(data, fasta, table, bed)
    with show.progress() as tell:
        done = work(
            model, output, weights=weights, fasta=sequences, table=rows_of, bed=bed, column=column, name=name, width=width, summits=summits,
            motifs=motifs, insert=listed(insert), space=listed(space), evolve=evolve, variants=variants, context=listed(context), methods=listed(methods) or DEFAULT, target=joined(target), classes=joined(classes),
            baselines=baselines, layer=joined(layer) or "first", windows=windows, dims=listed(dims) or DIMS, both_strands=not one_strand,
            max_records=max_records, pictures=_number(pictures), modisco=modisco, batch_size=rows(batch_size), device=device, seed=seed,
            options=assignments(options), command=command_line(), tell=tell, say=show.say,
        )  # fmt: skip
    _report(done)


def _source(
    data: Path | None, fasta: Path | None, table: Path | None, bed: Path | None
) -> tuple[Path | None, Path | None]:
    """`--data` as FASTA or as a table, by its name."""
    if data is None:
        return fasta, table
    if fasta is not None or table is not None:
        raise ValueError("--data and --fasta or --table name the sequences twice; leave one out")
    is_table = bed is None and Path(data.name.removesuffix(".gz")).suffix.lower() in TABLES
    return (None, data) if is_table else (data, None)


def _number(pictures: str) -> int:
    """How many records are drawn."""
    if pictures in ("all", "none"):
        return ALL if pictures == "all" else 0
    if not pictures.isdecimal():
        raise ValueError(f"--pictures is {pictures}, expected a number, all or none")
    return int(pictures)


def _report(done: Studied) -> None:
    """Print records left out, what could not be done, motifs and files."""
    for bad in done.problems[:LISTED]:
        show.say(f"{'renamed' if bad['kept'] else 'left out'} {bad['record']}: {bad['problem']}")
    if len(done.problems) > LISTED:
        show.say(f"and {len(done.problems) - LISTED} more, see problems.csv")
    discovered = done.discovered
    for what, why in discovered.notes.items():
        show.say(f"{what}: {why}")
    show.say(f"{len(discovered.clusters.seqlets)} seqlets, {len(discovered.clusters.motifs)} motifs of seqlets, {f'{len(discovered.modisco)} of TF-MoDISco, ' if discovered.modisco else ''}{len(discovered.filter_motifs)} of filters")  # fmt: skip
    if discovered.hits is not None:
        for hit in discovered.hits.drop_duplicates("motif").head(LISTED).itertuples():
            show.say(f"  {hit.motif}: {hit.target} {hit.target_name} (p {hit.p:.1g}, q {hit.q:.1g})")
    show.files(done.folder, [f for f in done.files if not f.startswith("records/")])
