"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attrib.cli import show
from attrib.cli.cells import cells
from attrib.cli.expression import commands as expression
from attrib.cli.fcgr import group as fcgr
from attrib.cli.mri import mri
from attrib.cli.options import (
    Baselines,
    BatchSize,
    Classes,
    Command,
    Context,
    Data,
    Device,
    Dims,
    Group,
    Methods,
    Model,
    OneTarget,
    Output,
    Overwrite,
    Seed,
    Settings,
    SomeSamples,
    Target,
    Variables,
    Weights,
    assignments,
    chosen,
    joined,
    listed,
    method_names,
    names,
    rows,
)
from attrib.cli.sequence import sequence

app = typer.Typer(
    cls=Group, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="What did the network look at?",
)  # fmt: skip
JUDGED = ["saliency", "input_x_gradient", "integrated_gradients", "smooth_grad"]
TIMED = ["saliency", "integrated_gradients", "smooth_grad"]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"attrib {version('attrib')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def attrib(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error comes from; also behind a command.")
    ] = False,
) -> None:
    """What did the network look at?"""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(cls=Command)
def demo(
    output: Annotated[
        Path, typer.Option(help="Folder for the results; an earlier demo there is replaced.")
    ] = Path("attrib-demo"),
    seed: Seed = 0,
) -> None:
    """Train a small network on handwritten digits and explain it with every method."""
    from attrib.workflows.demo import demo as work

    with show.progress() as tell:
        done = work(output, seed=seed, tell=tell, say=show.say)
    show.demo_table(done.table)
    show.files(done.folder, [*done.files, "run.json"])
    show.say(
        f"Next, explain the same model from its files:\n  attrib explain --model attrib.workflows.demo:cnn "
        f"--weights {done.folder / 'model.pt'} \\\n    --data {done.folder / 'digits.nc'} "
        f"--methods saliency,integrated_gradients --target predicted --output my-results"
    )


@app.command(cls=Command)
def explain(
    model: Model,
    data: Data,
    output: Annotated[
        Path,
        typer.Option(
            help="Folder for the results: new, empty, or with --overwrite an earlier run's. Or a store, "
            "NAME.zarr: data of any size, in blocks; one that was begun is continued."
        ),
    ],
    weights: Weights = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="Names with commas (see: attrib methods), or all; some take a pass per pixel. Default: "
            "saliency,integrated_gradients; of a store, which holds one, integrated_gradients.",
            autocompletion=method_names,
        ),
    ] = None,
    target: Target = None,
    dims: Dims = None,
    variables: Variables = None,
    classes: Classes = None,
    baselines: Baselines = None,
    context: Context = None,
    batch_size: BatchSize = "auto",
    device: Device = None,
    seed: Seed = 0,
    options: Settings = None,
    overwrite: Overwrite = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Of a store: a number of worker processes, or the address of a Dask scheduler.",
            metavar="N|tcp://...",
        ),
    ] = None,
    reductions: Annotated[
        list[str] | None,
        typer.Option(
            "--reduce",
            help="Of a store: statistics over the samples: mean,var,abs_mean,min,max,count,quantiles,top:20.",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Of a store: the coord whose labels get a statistic each.")
    ] = None,
    block: Annotated[str, typer.Option(help="Of a store: samples in a block, or auto.")] = "auto",
    keep: Annotated[
        bool,
        typer.Option("--keep/--no-keep", help="Of a store: write the attributions, or the statistics alone."),
    ] = True,
) -> None:
    """Explain your own model on your own data."""
    from attrib.workflows.explain import explain as work
    from attrib.workflows.explain import explain_cohort

    if output.suffix == ".zarr":
        if dims is not None or overwrite:
            raise ValueError(
                f"--dims and --overwrite are for folders, and {output} is a store; leave them out"
            )
        with show.progress() as tell:
            of_cohort = explain_cohort(
                str(model), str(data), output, weights=weights, variables=names(variables), classes=joined(classes), baselines=baselines, context=listed(context),
                methods=chosen(methods or ["integrated_gradients"]), target=joined(target), batch_size=rows(batch_size),
                device=device, seed=seed, options=assignments(options), block=rows(block, "--block"), cluster=cluster,
                reductions=names(reductions) or (), by=by, keep=keep, tell=tell, say=show.say,
            )  # fmt: skip
        show.files(output, of_cohort.lines)
        for problem in of_cohort.problems:
            show.say(f"failed: block {problem}")
        if of_cohort.problems:
            raise typer.Exit(1)
        return
    if cluster or reductions or by or block != "auto" or not keep:
        raise ValueError(
            f"--cluster, --reduce, --by, --block and --no-keep are for stores, and {output} is a folder; name it NAME.zarr"
        )
    with show.progress() as tell:
        done = work(
            model, data, output, weights=weights, dims=names(dims), variables=names(variables), classes=joined(classes),
            baselines=baselines, context=listed(context), methods=chosen(methods or ["saliency,integrated_gradients"]), target=joined(target), batch_size=rows(batch_size), device=device,
            seed=seed, options=assignments(options), overwrite=overwrite, tell=tell,
            say=show.say,
        )  # fmt: skip
    show.study_table(done.table)
    show.files(done.folder, done.files)


@app.command(cls=Command)
def judge(
    model: Model,
    data: Data,
    output: Output,
    weights: Weights = None,
    methods: Methods = None,
    target: OneTarget = None,
    dims: Dims = None,
    variables: Variables = None,
    classes: Classes = None,
    baselines: Annotated[
        str | None, typer.Option(help="A number, or a file like --data: what stands for absent features.")
    ] = None,
    context: Context = None,
    max_samples: SomeSamples = 32,
    steps: Annotated[int, typer.Option(help="Points of the curves of deletion and insertion.")] = 20,
    n_random: Annotated[int, typer.Option(help="Random orders that these are compared with.")] = 10,
    batch_size: BatchSize = "auto",
    device: Device = None,
    seed: Seed = 0,
    options: Settings = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare how far methods can be trusted on your own model: deletion, insertion, infidelity, randomization."""
    from attrib.workflows.judge import judge as work

    with show.progress() as tell:
        done = work(
            model, data, output, weights=weights, dims=names(dims), variables=names(variables), classes=joined(classes),
            baselines=baselines, context=listed(context), methods=chosen(methods or JUDGED), target=target, max_samples=max_samples, steps=steps, n_random=n_random,
            batch_size=rows(batch_size), device=device, seed=seed, options=assignments(options),
            overwrite=overwrite, tell=tell, say=show.say,
        )  # fmt: skip
    show.judged_table(done.table)
    show.files(done.folder, done.files)


@app.command(cls=Command)
def bench(
    model: Model,
    data: Data,
    weights: Weights = None,
    methods: Methods = None,
    target: OneTarget = "predicted",
    dims: Dims = None,
    variables: Variables = None,
    classes: Classes = None,
    max_samples: SomeSamples = 32,
    batch_sizes: Annotated[
        list[str] | None, typer.Option(help="Rows per call of the model, with commas.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Rounds; times are medians over them.")] = 3,
    device: Device = None,
    seed: Seed = 0,
    output: Annotated[Path | None, typer.Option(help="A .csv for the table.")] = None,
) -> None:
    """Find how fast your model can be explained: samples per second, memory, the best batch size."""
    from attrib.workflows.bench import measure

    with show.progress() as tell:
        table = measure(
            model, data, weights=weights, dims=names(dims), variables=names(variables), classes=joined(classes),
            methods=listed(methods) or TIMED, target=target or "predicted", max_samples=max_samples, repeats=repeats, device=device, seed=seed, output=output,
            batch_sizes=None if batch_sizes is None else [rows(b, "--batch-sizes") for b in names(batch_sizes) or []],
            tell=False if tell is None else lambda done, total: tell("bench", done, total),
        )  # fmt: skip
    show.bench_table(table)
    if output is not None:
        show.files(output.parent, [output.name])


app.command(cls=Command)(cells)
app.command(cls=Command)(mri)
app.command(cls=Command)(sequence)
app.add_typer(fcgr, name="fcgr")
app.add_typer(expression, name="expression")


@app.command("methods", cls=Command)
def list_methods() -> None:
    """List the methods: axioms, cost, unit, reference."""
    from attrib.workflows.plan import ALL_METHODS

    show.methods_table([m.about for m in ALL_METHODS.values()])
