"""`attrib sequence`: the study of sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    Overwrite,
    Pictures,
    Samples,
    Seed,
    Target,
    Weights,
    assignments,
    divided,
    joined,
    listed,
    names,
    renamed,
    rows,
    workers,
)

SETTINGS = {
    "width": (int, None), "summits": (bool, False), "dims": (list, ["sample", "nucleotide", "position"]), "space": (list, []), "evolve": (int, 0), "windows": (int, None), "one_strand": (bool, False),
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
    variants: Annotated[
        Path | None,
        typer.Option(
            help="Variants to score: .vcf (with --bed), or a table with record, position (from 0), ref, alt."
        ),
    ] = None,
    insert: Annotated[
        list[str] | None, typer.Option(help="More motifs to test: names in --motifs, or letters.")
    ] = None,
    modisco: Annotated[
        bool, typer.Option("--modisco", help="Run TF-MoDISco too (the extra modisco).")
    ] = False,
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
    samples: Samples = None,
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
    overwrite: Overwrite = False,
) -> None:
    """Explain a model of DNA or RNA: attributions, mutations, motifs, experiments, a summary page."""
    from attrib.workflows.sequence import METHODS, Search, Source
    from attrib.workflows.sequence import sequence as work

    chosen, arguments = divided(assignments(options), SETTINGS)
    search = Search(
        motifs, listed(insert), chosen["space"], chosen["evolve"], variants, joined(layer) or "first", chosen["windows"],
        not chosen["one_strand"], modisco,
    )  # fmt: skip
    with show.progress() as tell:
        folder = work(
            Source(data, bed, renamed(columns), chosen["width"], chosen["summits"]), model, output, weights=weights, classes=joined(classes),
            target=joined(target), methods=listed(methods) or METHODS, options=arguments, baselines=baselines, search=search, context=listed(context),
            dims=chosen["dims"], samples=names(samples), max_samples=max_samples, pictures=pictures, batch_size=rows(batch_size), device=device,
            cluster=workers(cluster), seed=seed, overwrite=overwrite, tell=tell, say=show.say,
        )  # fmt: skip
    _report(folder)


def _report(folder: Path) -> None:
    """Print records left out, what could not be done, motifs and files."""
    summary, files = show.run_of(folder)
    problems, motifs = summary["problems"], summary["motifs"]
    for bad in problems[:LISTED]:
        show.say(f"{'renamed' if bad['kept'] else 'left out'} {bad['record']}: {bad['problem']}")
    if len(problems) > LISTED:
        show.say(f"and {len(problems) - LISTED} more, see problems.csv")
    for what, why in summary["notes"].items():
        show.say(f"{what}: {why}")
    modisco = f"{motifs['modisco']} of TF-MoDISco, " if motifs["modisco"] else ""
    show.say(
        f"{summary['seqlets']} seqlets, {motifs['seqlets']} motifs of seqlets, {modisco}{motifs['filters']} of filters"
    )
    for hit in summary["matches"][:LISTED]:
        show.say(
            f"  {hit['motif']}: {hit['target']} {hit['target_name']} (p {hit['p']:.1g}, q {hit['q']:.1g})"
        )
    show.files(folder, [f for f in files if not f.startswith("records/")])
