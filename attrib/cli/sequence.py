"""`attrib sequence`: the study of sequences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attrib.cli import show
from attrib.cli.options import (
    BatchSize,
    Classes,
    Cluster,
    Context,
    Continued,
    Device,
    Methods,
    Model,
    Pictures,
    Seed,
    Target,
    Weights,
    assignments,
    divided,
    drawers,
    joined,
    listed,
    renamed,
    rows,
    workers,
)

if TYPE_CHECKING:
    from attrib.workflows.sequence import Studied

DEFAULT = ["deep_lift", "integrated_gradients", "saliency", "in_silico_mutagenesis"]
SETTINGS = {
    "width": (int, None), "summits": (bool, False), "dims": (list, ["sample", "nucleotide", "position"]), "space": (list, []),
    "evolve": (int, 0), "windows": (int, None), "one_strand": (bool, False),
}  # fmt: skip
LISTED = 5  # records that are named on the screen


def sequence(
    model: Model,
    data: Annotated[
        Path,
        typer.Option(
            help="Sequences: FASTA (plain or gzip), a table (.csv, .tsv, .txt, .parquet) with a column of them, or SeqData (.zarr); with --bed the genome."
        ),
    ],
    bed: Annotated[Path | None, typer.Option(help="Intervals of the genome --data.")] = None,
    output: Continued = Path("attrib-sequence"),
    weights: Weights = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="A table's columns that have other names: sequence=utr,name=id."),
    ] = None,
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
    modisco: Annotated[
        bool, typer.Option("--modisco", help="Run TF-MoDISco too (the extra modisco).")
    ] = False,
    max_samples: Annotated[
        int | None,
        typer.Option(
            "--max-samples",
            "--max-records",
            help="At most so many records, drawn evenly over a table's column label or class.",
        ),
    ] = None,
    pictures: Pictures = "12",
    cluster: Cluster = None,
    batch_size: BatchSize = "auto",
    device: Device = None,
    seed: Seed = 0,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="An argument of a method, n_steps=20; or of the study: width=2114 (bases around the middle of an interval), summits=true "
            "(of narrowPeak, not the middle), dims=sample,position,nucleotide (as the model takes them), space=CTCF:GATAA (pairs of motifs at "
            "all distances), evolve=10 (rounds of directed evolution), windows=100 (the strongest that make a filter's motif; default: all of "
            "half its maximum), one_strand=true (motifs lie on the given strand only: RNA).",
        ),
    ] = None,
) -> None:
    """Explain a model of DNA or RNA: attributions, mutations, motifs, experiments, a summary page."""
    from attrib.workflows.sequence import Search, Source
    from attrib.workflows.sequence import sequence as work

    chosen, arguments = divided(assignments(options), SETTINGS)
    search = Search(
        motifs, listed(insert), chosen["space"], chosen["evolve"], variants, joined(layer) or "first", chosen["windows"],
        not chosen["one_strand"], modisco,
    )  # fmt: skip
    with show.progress() as tell:
        done = work(
            Source(data, bed, renamed(columns), chosen["width"], chosen["summits"]), model, output, weights=weights, search=search, context=listed(context),
            methods=listed(methods) or DEFAULT, target=joined(target), classes=joined(classes), baselines=baselines,
            dims=chosen["dims"], max_samples=max_samples, pictures=pictures, workers=drawers(), cluster=workers(cluster), batch_size=rows(batch_size), device=device, seed=seed,
            options=arguments, tell=tell, say=show.say,
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
