"""The summary page of the study, with links to all files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from attrib.workflows.continued import RunFolder
from attrib.workflows.document import document, links, listing, pictures, table
from attrib.workflows.sequence.findings import Findings

NAMED = 12  # outputs named in the first line


def page(
    findings: Findings, run: RunFolder, motifs: pd.DataFrame, drawn: Sequence[str], records: Sequence[str]
) -> str:
    """The page's text.

    Parameters
    ----------
    findings : Findings
    run : RunFolder
        Its `files`, and the `notes` of its record.
    motifs : DataFrame
        A row per motif.
    drawn, records : sequence of str
        Pictures of motifs and experiments, and of records.
    """
    bad = [f"{p['record']}: {p['problem']}" for p in findings.problems if not p["kept"]]
    return document(
        "Sequences",
        [
            f"<p>{escape(_message(findings, len(bad)))}</p>",
            links(f for f in [*run.files, "run.json"] if not f.startswith("records/")),
            _notes(run.record.get("notes", {})),
            listing("Left out", bad, "problems.csv"),
            "<h2>Motifs</h2>",
            pictures(f for f in drawn if f.endswith("motifs.png")),
            table(motifs, "motifs.csv"),
            "<h2>Experiments</h2>",
            pictures(f for f in drawn if not f.endswith("motifs.png")),
            table(findings.experiments.drop(columns="sd"), "experiments.csv"),
            _variants(findings),
            "<h2>Records</h2>",
            pictures(records),
        ],
    )


def _message(findings: Findings, bad: int) -> str:
    done = findings.attributed
    outputs = [str(o) for o in done.outputs]
    named = ", ".join(outputs[:NAMED]) + (", ..." if len(outputs) > NAMED else "")
    parts = [f"{done.x.sizes['sample']} records explained with {', '.join(done.results)}"]
    parts += [f"{len(outputs)} outputs: {named}"] if outputs else []
    parts += [f"{bad} left out"] if bad else []
    return f"{'; '.join(parts)}. Seqlets are those of {findings.lead}."


def _variants(findings: Findings) -> str:
    """The variants of the largest differences."""
    if findings.variation is None:
        return ""
    rows = findings.variation.table
    order = rows.iloc[rows["difference"].abs().argsort(kind="stable")[::-1]] if len(rows) else rows
    return f"<h2>Variants</h2><p>The largest differences first.</p>{table(order, 'variants.csv')}"


def _notes(notes: Mapping[str, str]) -> str:
    return "".join(f'<p class="note">{escape(k)}: {escape(v)}</p>' for k, v in notes.items())
