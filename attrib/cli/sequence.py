"""`attrib sequence`: the study of sequences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attrib.cli import show
from attrib.cli.cells import listed
from attrib.cli.values import assignments, rows

if TYPE_CHECKING:
    from attrib.workflows.sequence import Studied

DEFAULT = "deep_lift,integrated_gradients,saliency,in_silico_mutagenesis"
LISTED = 5  # records that are named on the screen


def sequence(
    model: Annotated[
        str, typer.Option(help="package.module:factory (a function that returns the model), or FILE.pt2.")
    ],
    fasta: Annotated[
        Path | None, typer.Option(help="Sequences, or with --bed the genome; plain or gzip.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Sequences in a column: .csv, .tsv, .txt, .parquet.")
    ] = None,
    bed: Annotated[Path | None, typer.Option(help="Intervals of the genome --fasta.")] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for the results; a run with the same settings there is continued.")
    ] = Path("attrib-sequence"),
    weights: Annotated[
        Path | None, typer.Option(help="State dict: .safetensors, or .pt/.pth read as weights only.")
    ] = None,
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
    variants: Annotated[
        Path | None,
        typer.Option(
            help="Variants to score: .vcf (with --bed), or a table with record, position (from 0), ref, alt."
        ),
    ] = None,
    methods: Annotated[str, typer.Option(help="Names with commas (see: attrib methods).")] = DEFAULT,
    target: Annotated[
        str | None,
        typer.Option(
            help="Which outputs: a number, a class name, several with commas, predicted, all; of several heads HEAD:OUTPUT or HEAD:profile."
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of the outputs: a,b,c, or a file with one per line.")
    ] = None,
    baselines: Annotated[
        str, typer.Option(help="What records are compared with: uniform, zeros, shuffle, dinucleotide.")
    ] = "uniform",
    layer: Annotated[str, typer.Option(help="The convolution whose filters become motifs.")] = "first",
    windows: Annotated[
        int | None,
        typer.Option(help="Strongest windows that make a filter's motif; default: all of half its maximum."),
    ] = None,
    dims: Annotated[
        str, typer.Option(help="Order of the dims as the model takes them.")
    ] = "sample,nucleotide,position",
    one_strand: Annotated[
        bool, typer.Option("--one-strand", help="Motifs lie on the given strand only, as in RNA.")
    ] = False,
    modisco: Annotated[
        bool, typer.Option("--modisco", help="Run TF-MoDISco too (the extra modisco).")
    ] = False,
    max_records: Annotated[int | None, typer.Option(help="Use the first so many records.")] = None,
    pictures: Annotated[int, typer.Option(help="Records that get a picture; 0: no pictures at all.")] = 12,
    batch_size: Annotated[str, typer.Option(help="Rows per call of the model, or auto.")] = "auto",
    device: Annotated[str | None, typer.Option(help="Where to run, such as cuda; default: the CPU.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of shuffles and draws.")] = 0,
    options: Annotated[
        list[str] | None, typer.Option("--set", help="An argument of a method: n_steps=20.")
    ] = None,
) -> None:
    """Explain a model of DNA or RNA: attributions, mutations, motifs, experiments, a summary page."""
    from attrib.workflows.folder import command_line
    from attrib.workflows.sequence import sequence as work

    with show.progress() as tell:
        done = work(
            model, output, weights=weights, fasta=fasta, table=table, bed=bed, column=column, name=name, width=width, summits=summits,
            motifs=motifs, insert=listed(insert), variants=variants, methods=listed([methods]), target=target, classes=classes,
            baselines=baselines, layer=layer, windows=windows, dims=listed([dims]), both_strands=not one_strand,
            max_records=max_records, pictures=pictures, modisco=modisco, batch_size=rows(batch_size), device=device, seed=seed,
            options=assignments(options or []), command=command_line(), tell=tell, say=show.say,
        )  # fmt: skip
    _report(done)


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
