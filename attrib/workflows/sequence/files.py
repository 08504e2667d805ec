"""The files of a study of sequences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io import replacing, save, save_motifs
from attrib.workflows.drawing import name as long_name
from attrib.workflows.sequence.discovery import Discovered
from attrib.workflows.sequence.importance import importance
from attrib.workflows.sequence.page import page
from attrib.workflows.sequence.parts import MUTATIONS, Attributed
from attrib.workflows.sequence.records import Problem
from attrib.workflows.sequence.run import Run

WIDEST = 200  # positions of a record's picture


class Findings(NamedTuple):
    """Everything a study has found.

    Attributes
    ----------
    attributed : Attributed
    lead : str
        The method whose seqlets were looked for.
    contribution : DataArray
        Its attribution of each position.
    discovered : Discovered
    experiments : DataFrame
    database : mapping of str to DataArray or None
    problems : list of dict
    """

    attributed: Attributed
    lead: str
    contribution: xr.DataArray
    discovered: Discovered
    experiments: pd.DataFrame
    database: Mapping[str, xr.DataArray] | None
    problems: list[Problem]


def write(run: Run, found: Findings, pictures: int) -> None:
    """Results, tables, motifs, pictures and the page, each whole or not at all."""
    _arrays(run, found.attributed)
    _tables(run, found)
    motifs = {
        **found.discovered.clusters.motifs,
        **(found.discovered.filters.motifs if found.discovered.filters else {}),
    }
    if motifs:
        save_motifs(motifs, run.file("motifs.meme"))
    drawn = _motif_pictures(run, found) + _experiment_picture(run, found.experiments) if pictures else []
    records = _record_pictures(run, found, pictures)
    with replacing(run.file("index.html")) as temporary:
        temporary.write_text(page(found, run.record, drawn, records), encoding="utf-8")


def _arrays(run: Run, done: Attributed) -> None:
    maps = {m: a for m, a in done.results.items() if m != MUTATIONS}
    if maps:
        save({"sequence": done.x, **maps}, run.file("attributions.nc"))
    if MUTATIONS in done.results:
        save(done.results[MUTATIONS], run.file("ism.nc"))


def _tables(run: Run, found: Findings) -> None:
    d = found.discovered
    save(records_table(found), run.file("records.csv"))
    save(seqlets_table(d.clusters.seqlets, found.attributed.x), run.file("seqlets.csv"))
    save(found.experiments, run.file("experiments.csv"))
    if d.filters is not None:
        save(d.filters.table, run.file("filters.csv"))
    if d.hits is not None:
        save(d.hits, run.file("tomtom.csv"))
    if found.problems:
        save(pd.DataFrame(found.problems), run.file("problems.csv"))


def records_table(found: Findings) -> pd.DataFrame:
    """A row per record: its place, score, the strongest position of each method, completeness errors, seqlets."""
    done = found.attributed
    x = done.x
    known = [str(c) for c in x.coords if x[c].dims == ("sample",) and c != "sample"]
    columns: dict[str, Any] = {"record": x["sample"].values} | {c: x[c].values for c in known}
    first = next(iter(done.results.values()))
    if "target" in first.coords:
        columns["target"] = np.broadcast_to(first["target"].values, x.sizes["sample"])
    columns["score"] = first["prediction"].values
    for method, a in done.results.items():
        size = importance(method, a, x).transpose("sample", "position").values
        columns[f"{method}_top_position"] = np.nan_to_num(np.abs(size), nan=-1).argmax(1)
        if "delta" in a.coords:
            columns[f"{method}_delta"] = a["delta"].values
    counts = found.discovered.clusters.seqlets.record.value_counts()
    columns["seqlets"] = [int(counts.get(r, 0)) for r in x["sample"].values]
    return pd.DataFrame(columns)


def seqlets_table(seqlets: pd.DataFrame, x: xr.DataArray) -> pd.DataFrame:
    """Seqlets with their letters and, where known, their places on the chromosome."""
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


def _save(run: Run, name: str, made: Any) -> str:
    with replacing(run.file(name)) as temporary:
        made.savefig(temporary)
    return name


def _motif_pictures(run: Run, found: Findings) -> list[str]:
    from attrib.plots import motif_cards

    d = found.discovered
    kinds = {"seqlet_motifs.png": d.clusters.motifs, "filter_motifs.png": d.filter_motifs}
    return [
        _save(run, file, motif_cards(motifs, d.hits, database=found.database))
        for file, motifs in kinds.items()
        if motifs
    ]


def _experiment_picture(run: Run, experiments: pd.DataFrame) -> list[str]:
    """Mean effects of motifs in backgrounds, per target."""
    from attrib.plots import bar_panels

    some = experiments[experiments.experiment == "marginalize"]
    if some.empty:
        return []
    panels = {}
    for target, rows in some.groupby("target", sort=False):
        n = int(rows.n.iloc[0])
        title = f"motifs in {n} shuffled sequences" + ("" if target == "score" else f", target {target}")
        panels[title] = xr.DataArray(
            rows.difference.to_numpy(), dims="motif", coords={"motif": rows.motif.to_numpy(str)},
            attrs={"long_name": "mean change of the score", "units": "output"},
        )  # fmt: skip
    return [_save(run, "experiments.png", bar_panels(panels, label="mean change of the score"))]


def _record_pictures(run: Run, found: Findings, pictures: int) -> list[str]:
    """The records of the strongest seqlets, then the first ones."""
    (run.path / "records").mkdir(exist_ok=True)
    names = found.attributed.x["sample"].values
    order = found.discovered.clusters.seqlets.sort_values("p", kind="stable").record
    chosen = list(dict.fromkeys([*order, *names]))[:pictures]
    return [_picture(run, found, str(n), k) for k, n in enumerate(chosen)]


def _picture(run: Run, found: Findings, record: str, number: int) -> str:
    from attrib.plots import sequence_tracks

    done = found.attributed
    k = int(np.flatnonzero(done.x["sample"].values == record)[0])
    seqlets = found.discovered.clusters.seqlets
    own = seqlets[seqlets.record == record]
    window = shown(int(done.x["length"].values[k]), own, found.contribution.isel(sample=k).values)
    x = done.x.isel(sample=k, position=window)
    logos = {
        long_name(a, m): importance(m, a, done.x).isel(sample=k, position=window)
        for m, a in done.results.items()
        if m != MUTATIONS
    }
    map_of = done.results[MUTATIONS].isel(sample=k, position=window) if MUTATIONS in done.results else None
    first = next(iter(done.results.values())).isel(sample=k)
    inside = own[(own.end > window.start) & (own.start < window.stop)]
    moved = inside.assign(start=inside.start - window.start, end=inside.end - window.start)
    said = f", target {first['target'].item()}" if "target" in first.coords else ""
    made = sequence_tracks(
        x, logos, map_of, seqlets=moved, title=f"{record}: score {float(first['prediction']):.3g}{said}"
    )
    return _save(run, f"records/{number:03d}_{safe(record)}.png", made)


def shown(length: int, seqlets: pd.DataFrame, contribution: np.ndarray) -> slice:
    """The positions of a record's picture: all, or those around its strongest seqlet."""
    if length <= WIDEST:
        return slice(0, length)
    if len(seqlets):
        best = seqlets.loc[seqlets.z.abs().idxmax()]
        centre = int(best.start + best.end) // 2
    else:
        centre = int(np.nan_to_num(np.abs(contribution)).argmax())
    start = min(max(0, centre - WIDEST // 2), length - WIDEST)
    return slice(start, start + WIDEST)


def safe(name: str) -> str:
    """A record's name as part of a file's."""
    return re.sub(r"[^\w.+-]+", "_", name)[:60].strip("_") or "record"
