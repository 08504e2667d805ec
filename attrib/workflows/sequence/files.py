"""The files of a study of sequences: arrays, tables, motifs, pictures and the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.motifs import consensus, information_content
from attrib.io import replacing, save, save_motifs
from attrib.stats import agreement
from attrib.workflows.folder import Folder
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, table
from attrib.workflows.sequence.findings import Findings
from attrib.workflows.sequence.parts import Attributed
from attrib.workflows.sequence.pictures import draw, draw_records
from attrib.workflows.sequence.settings import MUTATIONS, importance
from attrib.workflows.study import agreement_frame

NAMED = 12  # outputs named in the first line


def study_page(
    findings: Findings, run: Folder, tables: tuple[pd.DataFrame, pd.DataFrame], drawn: Sequence[str],
    records: Sequence[tuple[str, Any, str]],
) -> str:  # fmt: skip
    """The page's text: tables of motifs and records, pictures of motifs and experiments, and records with their outputs and pictures."""
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


def write(run: Folder, findings: Findings, pictures: int | None, workers: int = 0) -> None:
    """Write results, tables, motifs, pictures and the page, each file completely or not at all."""
    _arrays(run, findings.attributed)
    _tables(run, findings)
    motifs = {
        **findings.discovered.clusters.motifs,
        **findings.discovered.modisco,
        **(findings.discovered.filters.motifs if findings.discovered.filters else {}),
    }
    if motifs:
        save_motifs(motifs, run.file("motifs.meme"))
    drawn = draw(run, findings) if pictures != 0 else []
    records = draw_records(run, findings, pictures, workers)
    with replacing(run.file("index.html")) as temporary:
        tables = motifs_table(findings), records_table(findings)
        temporary.write_text(study_page(findings, run, tables, drawn, records), encoding="utf-8")


def _arrays(run: Folder, done: Attributed) -> None:
    maps = {m: a for m, a in done.results.items() if m != MUTATIONS}
    if maps:
        save({"sequence": done.x, **maps}, run.file("attributions.nc"))
    if MUTATIONS in done.results:
        save(done.results[MUTATIONS], run.file("ism.nc"))


def _tables(run: Folder, findings: Findings) -> None:
    d = findings.discovered
    save(records_table(findings), run.file("records.csv"))
    save(seqlets_table(findings.seqlets, findings.attributed.x), run.file("seqlets.csv"))
    save(findings.experiments, run.file("experiments.csv"))
    if len(findings.attributed.results) > 1:
        save(agreement_table(findings), run.file("method_agreement.csv"))
    if d.filters is not None:
        save(d.filters.table, run.file("filters.csv"))
    if d.motifs:
        save(motifs_table(findings), run.file("motifs.csv"))
    if d.hits is not None:
        save(d.hits, run.file("tomtom.csv"))
    if findings.variation is not None:
        save(findings.variation.table, run.file("variants.csv"))
        if len(findings.variation.problems):
            save(findings.variation.problems, run.file("variant_problems.csv"))
    for name, rows in (("spacing.csv", findings.spacing), ("evolution.csv", findings.evolution)):
        if len(rows):
            save(rows, run.file(name))
    if findings.problems:
        save(pd.DataFrame(findings.problems), run.file("problems.csv"))


def records_table(findings: Findings) -> pd.DataFrame:
    """A row per record, or per record and output for several outputs."""
    return pd.concat([_records(output) for output in findings.by_output()], ignore_index=True)


def _records(findings: Findings) -> pd.DataFrame:
    """Each record's coordinates, score, strongest position, completeness error and deletion against random orders by method, and number of seqlets."""
    done, x = findings.attributed, findings.attributed.x
    columns_of_records = [str(c) for c in x.coords if x[c].dims == ("sample",) and c != "sample"]
    columns: dict[str, Any] = {"record": x["sample"].values} | {c: x[c].values for c in columns_of_records}
    first = next(iter(done.results.values()))
    if "target" in first.coords:
        columns["target"] = np.broadcast_to(first["target"].values, x.sizes["sample"])
    columns["score"] = first["prediction"].values
    for method, a in done.results.items():
        columns[f"{method}_top_position"] = _top(importance(method, a, x))
        for figure in ("delta", "deletion_z"):
            if figure in a.coords:
                columns[f"{method}_{figure}"] = a[figure].values
    counts = findings.seqlets.record.value_counts()
    columns["seqlets"] = [int(counts.get(r, 0)) for r in x["sample"].values]
    return pd.DataFrame(columns)


def _top(size: xr.DataArray) -> np.ndarray:
    """Each record's strongest position."""
    return np.nan_to_num(np.abs(size.transpose("sample", "position").values), nan=-1).argmax(1)


def agreement_table(findings: Findings) -> pd.DataFrame:
    """Mean rank correlation of each pair of methods over the records, for each output."""
    tables = []
    for output in findings.by_output():
        done = output.attributed
        by_position = {m: importance(m, a, done.x) for m, a in done.results.items()}
        plain = {m: a.drop_vars([c for c in a.coords if c != "sample"]) for m, a in by_position.items()}
        table = agreement_frame(agreement(plain))
        tables.append(table if output.output is None else table.assign(target=output.output))
    return pd.concat(tables, ignore_index=True)


def motifs_table(findings: Findings) -> pd.DataFrame:
    """A row per motif of seqlets or a filter: sites, mean attribution of the seqlets, information, best match."""
    seqlets = findings.seqlets
    mean = seqlets[seqlets.cluster != ""].groupby("cluster").attribution.mean()
    rows = [
        (
            name,
            int(m.sites) if float(m.sites).is_integer() else m.sites,
            mean.get(name, np.nan),
            float(information_content(m).sum()),
            consensus(m),
        )
        for name, m in findings.discovered.motifs.items()
    ]
    table = pd.DataFrame(rows, columns=["motif", "sites", "attribution", "information", "consensus"])
    hits = findings.discovered.hits
    if hits is None:
        return table
    best = hits.drop_duplicates("motif").rename(columns={"target": "match", "target_name": "match_name"})
    return table.merge(best[["motif", "match", "match_name", "strand", "p", "q"]], how="left")


def seqlets_table(seqlets: pd.DataFrame, x: xr.DataArray) -> pd.DataFrame:
    """Seqlets with their letters and, if known, their coordinates on the chromosome."""
    from attrib.domains.sequences import decode

    numbers = pd.Index(x["sample"].values).get_indexer(seqlets.record)
    texts: list[str] = decode(x.isel(sample=numbers)).values.tolist() if len(seqlets) else []
    letters = [t[s:e] for t, s, e in zip(texts, seqlets.start, seqlets.end, strict=True)]
    table = seqlets.assign(letters=letters)
    if "locus" in x.coords and "chrom" in x.coords and len(seqlets):
        places = x["locus"].values[numbers]
        ends = np.array(
            [[p[s], p[e - 1]] for p, s, e in zip(places, seqlets.start, seqlets.end, strict=True)]
        )
        table = table.assign(
            chrom=x["chrom"].values[numbers], chrom_start=ends.min(1), chrom_end=ends.max(1) + 1
        )
    return table
