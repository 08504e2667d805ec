"""What the commands print: lines, tables, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from attrib.functional import About

Tell = Callable[[str, int, int], None]
WIDE = 110  # columns that the table of methods needs
PIPED = 140  # columns where the output is no terminal


def console() -> Console:
    """Standard output; as wide as the terminal, or wide enough for a table in a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPED, highlight=False, markup=False)


def say(text: str) -> None:
    """Print a line."""
    console().print(text, soft_wrap=True)


@contextmanager
def progress() -> Iterator[Tell | None]:
    """A bar per method on standard error, removed at the end; None if standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            for other, task in tasks.items():
                bars.update(task, visible=other == what)
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total, visible=True)

        yield tell


def run_of(folder: Path, summary: str = "summary.json") -> tuple[dict[str, Any], list[str]]:
    """The summary that a study wrote, and the files of all samples together."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return json.loads((folder / summary).read_text(encoding="utf-8")), [*record["files"], "run.json"]


def _table(*columns: str, left: int = 1) -> Table:
    """An empty table; columns after the first `left` are flush right, and names are never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k < left else "right", no_wrap=k == 0 or k >= left)
    return table


def demo_table(table: pd.DataFrame) -> None:
    """Print the demonstration's table: errors and evaluations for the predicted class, seconds also for all ten."""
    printed = _table(
        "method", "error\nmedian", "\nmax", "model\nevaluations", "seconds\n1 class", "\n10 classes"
    )
    for row in table[table["skipped"].isna()].itertuples():
        printed.add_row(*_cells(row), f"{row.all_seconds:.2f}")
    _study(printed, table)


def study_table(table: pd.DataFrame) -> None:
    """Print a run's table."""
    printed = _table("method", "error\nmedian", "\nmax", "model\nevaluations", "\nseconds")
    for row in table[table["skipped"].isna()].itertuples():
        printed.add_row(*_cells(row))
    _study(printed, table)


def _cells(row: Any) -> list[str]:
    return [
        row.method,
        _error(row.error_median),
        _error(row.error_max),
        f"{row.evaluations:,.0f}",
        f"{row.seconds:.2f}",
    ]


def _study(printed: Table, table: pd.DataFrame) -> None:
    console().print(printed)
    say(
        "error: completeness error |sum(attribution) - (f(x) - f(baseline))| over the samples, in units of the output;"
    )
    say(
        "model evaluations: rows that the model was called with (DeepLIFT, occlusion and the like replay its graph)."
    )
    for row in table[table["skipped"].notna()].itertuples():
        say(f"{row.method} does not apply: {row.skipped}")


def _error(value: float) -> str:
    return "–" if value != value else f"{value:.2g}"


def judged_table(table: pd.DataFrame) -> None:
    """Print the table of `judge`."""
    heads = {
        "completeness_error": "completeness\nerror", "deletion_z": "deletion\nz", "insertion_z": "insertion\nz",
        "infidelity": "\ninfidelity", "sensitivity": "\nsensitivity", "randomization": "\nrandomization",
        "seconds": "\nseconds",
    }  # fmt: skip
    printed = _table("method", *heads.values())
    for row in table[table["seconds"].notna()].to_dict("records"):
        printed.add_row(row["method"], *(_error(row[name]) for name in heads))
    console().print(printed)
    say(
        "deletion and insertion: standard deviations by which the area is better than those of random orders (median over samples);"
    )
    say(
        "infidelity: error in predicting small changes, sensitivity: largest relative change under such; both low is good;"
    )
    say(
        "randomization: rank correlation with the attribution of a model whose weights were drawn anew; near 1 is bad."
    )
    for row in table.to_dict("records"):
        if row["remarks"]:
            say(f"{row['method']}: {row['remarks']}")


def bench_table(table: pd.DataFrame) -> None:
    """Print `bench`'s table, the best batch size of each method marked."""
    printed = _table(
        "method", "batch size", "samples\nper second", "share of\nmodel's speed", "peak\nMiB", ""
    )
    for row in table.itertuples():
        memory = "–" if row.peak_mib != row.peak_mib else f"{row.peak_mib:,.0f}"
        printed.add_row(row.method, str(row.batch_size), f"{row.samples_per_second:,.4g}", f"{row.share:.2f}", memory,
                     "best" if row.best else "")  # fmt: skip
    console().print(printed)


def methods_table(abouts: Sequence[About]) -> None:
    """Print the methods: a table, or lines if the terminal is narrow."""
    units = {"gradient": "output / input", "output": "output", "method": "the method's"}
    printed = _table("method", "axioms", "cost per sample", "unit", "reference", left=4)
    wide = console().width >= WIDE
    for a in abouts:
        axioms = ", ".join(x.replace("_", " ") for x in a.axioms) or "–"
        cells = (axioms, a.cost, units.get(a.units, a.units), a.reference)
        if wide:
            printed.add_row(a.name, *cells)
        else:
            heads = ("axioms", "cost", "unit", "reference")
            say("\n".join([a.name, *(f"  {h:10} {c}" for h, c in zip(heads, cells, strict=True))]))
    if wide:
        console().print(printed)


def files(folder: Path, names: Sequence[str]) -> None:
    """Print the names of the files written."""
    say(f"Wrote to {folder}: {', '.join(names)}")
