"""What the page of the study shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from attrib.workflows.folder import Folder
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, table
from attrib.workflows.sequence.findings import Findings

NAMED = 12  # outputs named in the first line


def study_page(
    findings: Findings, run: Folder, tables: tuple[pd.DataFrame, pd.DataFrame], drawn: Sequence[str],
    records: Sequence[tuple[str, Any, str]],
) -> str:  # fmt: skip
    """The page's text.

    Parameters
    ----------
    findings : Findings
    run : Folder
        Its `files`, and the `notes` of its record.
    tables : (DataFrame, DataFrame)
        Of motifs and of records.
    drawn : sequence of str
        Pictures of motifs and experiments.
    records : sequence of (str, object, str)
        Records, outputs and pictures.
    """
    bad = [f"{p['record']}: {p['problem']}" for p in findings.problems if not p["kept"]]
    motifs, rows = tables
    notes = [f"{k}: {v}" for k, v in run.record.get("notes", {}).items()]
    return page(
        "Sequences",
        [
            paragraphs(_message(findings, len(bad))),
            links(f for f in [*run.files, "run.json"] if not f.startswith("records/")),
            paragraphs(*notes, note=True) if notes else None,
            listing("Left out", bad, "problems.csv"),
            browser(
                "Records drawn", [_record(rows, *drawing) for drawing in records],
                [{"kind": "picture", "key": "picture"}], order=["score", "seqlets"],
            ),
            pictures("Motifs", [f for f in drawn if f.endswith("motifs.png")]),
            table("Motifs found", motifs, "motifs.csv"),
            pictures("Experiments", [f for f in drawn if not f.endswith("motifs.png")]),
            table("Figures of the experiments", findings.experiments, "experiments.csv"),
            table("Two motifs at a distance", findings.spacing, "spacing.csv") if len(findings.spacing) else None,
            table("Directed evolution, last round", _last(findings.evolution), "evolution.csv") if len(findings.evolution) else None,
            _variants(findings),
            table("All records", rows, "records.csv"),
        ],
    )  # fmt: skip


def _record(rows: pd.DataFrame, record: str, output: Any, picture: str) -> dict[str, Any]:
    mine = rows[rows["record"].astype(str) == record]
    mine = mine if output is None else mine[mine["target"] == output]
    score, seqlets = float(mine["score"].iloc[0]), int(mine["seqlets"].iloc[0])
    name = record if output is None else f"{record}, {output}"
    return {"name": name, "says": f"score {score:.3g}, {seqlets} seqlets", "score": score, "seqlets": seqlets, "picture": picture}  # fmt: skip


def _message(findings: Findings, bad: int) -> str:
    done = findings.attributed
    outputs = [str(o) for o in done.outputs]
    named = ", ".join(outputs[:NAMED]) + (", ..." if len(outputs) > NAMED else "")
    parts = [f"{done.x.sizes['sample']} records explained with {', '.join(done.results)}"]
    parts += [f"{len(outputs)} outputs: {named}"] if outputs else []
    parts += [f"{bad} left out"] if bad else []
    return f"{'; '.join(parts)}. Seqlets are those of {findings.lead}."


def _last(evolution: pd.DataFrame) -> pd.DataFrame:
    return evolution.groupby(["target", "start"], sort=False).tail(1)


def _variants(findings: Findings) -> dict[str, object] | None:
    """The variants, the largest differences first."""
    if findings.variation is None:
        return None
    rows = findings.variation.table
    order = rows.iloc[rows["difference"].abs().argsort(kind="stable")[::-1]] if len(rows) else rows
    return table("Variants", order, "variants.csv")
