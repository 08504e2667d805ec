"""The files of a study of sequences: arrays, tables, motifs, pictures and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.motifs import consensus, information_content
from attrib.io import replacing, save, save_motifs, write_json
from attrib.io.place import file_names
from attrib.workflows.drawing import name as long_name
from attrib.workflows.folder import Folder, save_picture
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, table
from attrib.workflows.runner import Drawers
from attrib.workflows.sequence.discovery import Discovered
from attrib.workflows.sequence.experiments import STARTS
from attrib.workflows.sequence.parts import Attributed, Variation
from attrib.workflows.sequence.settings import MUTATIONS, Problem, importance
from attrib.workflows.study import agreement_frame, comparable_agreement

NAMED = 12  # outputs named in the first line

WIDEST = 200  # positions of a record's picture
PANELS = 12  # in the picture of the experiments
LEVEL = 0.05  # of q, from which an effect has a star


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


def write(run: Folder, findings: Findings, pictures: int | None) -> None:
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
    records = draw_records(run, findings, pictures)
    write_json(_summary(run, findings), run.file("summary.json"))
    with replacing(run.file("index.html")) as temporary:
        tables = motifs_table(findings), records_table(findings)
        temporary.write_text(study_page(findings, run, tables, drawn, records), encoding="utf-8")


def _summary(run: Folder, findings: Findings) -> dict[str, Any]:
    d = findings.discovered
    best = [] if d.hits is None else d.hits.drop_duplicates("motif").to_dict("records")
    return {
        "records": findings.attributed.x.sizes["sample"], "outputs": [str(o) for o in findings.attributed.outputs],
        "methods": list(findings.attributed.results), "seqlets_of": findings.lead, "seqlets": len(d.clusters.seqlets),
        "motifs": {"seqlets": len(d.clusters.motifs), "modisco": len(d.modisco), "filters": len(d.filter_motifs)},
        "matches": [{k: hit[k] for k in ("motif", "target", "target_name", "p", "q")} for hit in best],
        "problems": findings.problems, "notes": run.record.get("notes", {}),
    }  # fmt: skip


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
        table = agreement_frame(comparable_agreement(plain, "sample"))
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


def draw(run: Folder, findings: Findings) -> list[str]:
    """Draw motifs of seqlets and filters with their best matches, and the experiments; returns the names of the files."""
    motifs = _motif_pictures(run, findings)
    return motifs + _experiment_picture(run, findings.experiments) + _courses(run, findings)


def draw_records(run: Folder, findings: Findings, count: int | None) -> list[tuple[str, Any, str]]:
    """Draw the records of the strongest seqlets, then the first ones; several outputs take turns; returns records, outputs and files."""
    (run.path / "records").mkdir(exist_ok=True)
    ranked = [[(output, record) for record in _ranked(output)] for output in findings.by_output()]
    turns = [pair for row in zip_longest(*ranked) for pair in row if pair is not None]
    drawn = []
    with Drawers(len(turns[:count])) as drawers:
        for k, (output, record) in enumerate(turns[:count]):
            name = record if output.output is None else f"{record}_{output.output}"
            file = f"records/{k:03d}_{file_names([name])[name]}.png"
            drawers.submit(partial(_draw_record, run.file(file), *_tracks(output, record)))
            drawn.append((record, output.output, file))
    return drawn


def _ranked(findings: Findings) -> list[str]:
    order = findings.seqlets.sort_values("p", kind="stable").record
    return list(dict.fromkeys(map(str, [*order, *findings.attributed.x["sample"].values])))


def _motif_pictures(run: Folder, findings: Findings) -> list[str]:
    from attrib.plots import motif_cards

    d = findings.discovered
    kinds = {
        "seqlet_motifs.png": d.clusters.motifs,
        "modisco_motifs.png": d.modisco,
        "filter_motifs.png": d.filter_motifs,
    }
    return [
        run.picture(file, motif_cards(motifs, d.hits, database=findings.database))
        for file, motifs in kinds.items()
        if motifs
    ]


def _experiment_picture(run: Folder, experiments: pd.DataFrame) -> list[str]:
    """Draw the mean effects of motifs put into backgrounds, and of seqlets taken out of their records, per target."""
    from attrib.plots import bar_panels
    from attrib.plots.scale import shortened

    if experiments.empty:
        return []
    panels = {}
    kinds = list(experiments.groupby(["target", "experiment"], sort=False))
    for (target, kind), rows in kinds[:PANELS]:
        n = f"{rows.n.min()}" if rows.n.min() == rows.n.max() else f"{rows.n.min()} to {rows.n.max()}"
        what = (
            f"put into {n} shuffled sequences"
            if kind == "marginalize"
            else f"{n} seqlets of a motif shuffled"
        )
        clear = np.where(rows.q.to_numpy() <= LEVEL, "* ", "")
        panels[what if target == "score" else f"{what}, target {target}"] = xr.DataArray(
            rows.difference.to_numpy(), dims="motif",
            coords={"motif": [f"{c}{shortened(str(m), 26)}" for c, m in zip(clear, rows.motif, strict=True)], "sd": ("motif", rows.sd.to_numpy())},
            attrs={"units": f"output; *: q ≤ {LEVEL}"},
        )  # fmt: skip
    _say_cut(run, "experiments", len(kinds))
    return [run.picture("experiments.png", bar_panels(panels, label="mean change of the score"))]


def _say_cut(run: Folder, name: str, count: int) -> None:
    """Note that a picture shows some of many, for the page and `run.json`."""
    if count > PANELS:
        notes = run.record.setdefault("notes", {})
        notes[f"{name}.png"] = f"the first {PANELS} of {count}; {name}.csv has all"


def _courses(run: Folder, findings: Findings) -> list[str]:
    """Draw the interaction of two motifs over their distance, and the score over the rounds of evolution."""
    from attrib.plots import curves
    from attrib.plots.scale import wrapped

    files = []
    for file, figures, name, at, value, label, across in (
        ("spacing.png", findings.spacing, "pair", "distance", "interaction", "interaction (output)", "letters between the motifs"),
        ("evolution.png", findings.evolution, "", "round", "score", f"score of {STARTS} shuffled sequences (output)", "mutations"),
    ):  # fmt: skip
        if figures.empty:
            continue
        several = figures.target.nunique() > 1
        lines = {}
        for key, rows in figures.groupby([name, "target"] if name else ["target"], sort=False):
            words = [*map(str, key[:-1]), *([f"target {key[-1]}"] if several else [])]
            wide = rows.pivot(index="start", columns=at, values=value).ffill(axis=1) if not name else rows.set_index(at)[[value]].T  # fmt: skip
            line = xr.DataArray(wide.to_numpy(), dims=("start", at), coords={at: wide.columns.to_numpy()})
            line[at].attrs["long_name"] = across
            if name:
                line = line[0].assign_coords(se=(at, rows["sd"].to_numpy() / np.sqrt(rows["n"].to_numpy())))
            lines[wrapped(", ".join(words), 44) or "directed evolution"] = line
        _say_cut(run, file.removesuffix(".png"), len(lines))
        ax = curves(dict(list(lines.items())[:PANELS]), at, label=label, legend=len(lines) > 1)
        ax.set_title("" if len(lines) > 1 else next(iter(lines)), fontsize=9)
        files.append(run.picture(file, ax.figure))
    return files


def _tracks(
    findings: Findings, record: str
) -> tuple[xr.DataArray, dict[str, xr.DataArray], xr.DataArray | None, pd.DataFrame, str]:
    """A record's letters, logos and mutations in a window, its seqlets there, and the title of its picture."""
    done = findings.attributed
    k = int(np.flatnonzero(done.x["sample"].values == record)[0])
    seqlets = findings.seqlets[findings.seqlets.record == record]
    window = visible_window(
        int(done.x["length"].values[k]), seqlets, findings.contribution.isel(sample=k).values
    )
    inside = seqlets[(seqlets.end > window.start) & (seqlets.start < window.stop)]
    moved = inside.assign(start=inside.start - window.start, end=inside.end - window.start)
    place: Any = {"sample": k, "position": window}
    title = f"{record}: {_score(findings, k)}" + ("; shaded: seqlets" if len(moved) else "")
    x = done.x.isel(place)
    numbered = x["position"].assign_attrs(units="from 0, as in seqlets.csv")
    logos = {m: a.assign_coords(position=numbered) for m, a in _logos(findings, place).items()}
    mutations = _mutations(findings, place)
    return x, logos, None if mutations is None else mutations.assign_coords(position=numbered), moved, title


def _draw_record(
    path: Path, x: xr.DataArray, logos: dict[str, xr.DataArray], mutations: xr.DataArray | None, seqlets: pd.DataFrame, title: str
) -> None:  # fmt: skip
    """Draw a record's logos and mutations, with the windows of its seqlets shaded."""
    from attrib.plots import sequence_tracks

    save_picture(sequence_tracks(x, logos, mutations, seqlets=seqlets, title=title), path)


def _logos(findings: Findings, place: Any) -> dict[str, xr.DataArray]:
    done = findings.attributed
    some = {m: a for m, a in done.results.items() if m != MUTATIONS}
    return {long_name(a, m): importance(m, a, done.x).isel(place) for m, a in some.items()}


def _mutations(findings: Findings, place: Any) -> xr.DataArray | None:
    mutations = findings.attributed.results.get(MUTATIONS)
    return None if mutations is None else mutations.isel(place)


def _score(findings: Findings, k: int) -> str:
    first = next(iter(findings.attributed.results.values())).isel(sample=k)
    of_all = json.loads(first.attrs.get("params", "{}")).get("target")
    target = first["target"].item() if "target" in first.coords else of_all
    return f"score {float(first['prediction']):.3g}" + (f", target {target}" if target is not None else "")


def visible_window(length: int, seqlets: pd.DataFrame, contribution: np.ndarray) -> slice:
    """The positions of a record's picture: all of them, or a window around its strongest seqlet."""
    if length <= WIDEST:
        return slice(0, length)
    if len(seqlets):
        best = seqlets.loc[seqlets.z.abs().idxmax()]
        centre = int(best.start + best.end) // 2
    else:
        centre = int(np.nan_to_num(np.abs(contribution)).argmax())
    start = min(max(0, centre - WIDEST // 2), length - WIDEST)
    return slice(start, start + WIDEST)


class Findings(NamedTuple):
    """All results of a study.

    Attributes
    ----------
    attributed : Attributed
    lead : str
        The method that the seqlets are taken from.
    contribution : DataArray
        Its attribution of each position.
    discovered : Discovered
    experiments : DataFrame
    database : mapping of str to DataArray or None
    problems : list of dict
    variation : Variation or None
        Effects of variants, if there are any.
    spacing, evolution : DataFrame
        Of `spaced` and `evolved`; without rows where none was asked for.
    """

    attributed: Attributed
    lead: str
    contribution: xr.DataArray
    discovered: Discovered
    experiments: pd.DataFrame
    database: Mapping[str, xr.DataArray] | None
    problems: list[Problem]
    variation: Variation | None
    spacing: pd.DataFrame
    evolution: pd.DataFrame

    @property
    def output(self) -> Any:
        """The output's label, if this is one of several."""
        at = self.contribution.coords.get("target")
        return at.item() if at is not None and at.ndim == 0 else None

    @property
    def seqlets(self) -> pd.DataFrame:
        """The table of seqlets."""
        return self.discovered.clusters.seqlets

    def by_output(self) -> list[Findings]:
        """The results of each output separately."""
        outputs = self.attributed.outputs
        return [self._of(output) for output in outputs] if outputs else [self]

    def _of(self, output: Any) -> Findings:
        clusters = self.discovered.clusters
        of_output = clusters._replace(seqlets=clusters.seqlets[clusters.seqlets.target == output])
        return self._replace(
            attributed=self.attributed.of(output),
            contribution=self.contribution.sel(target=output),
            discovered=self.discovered._replace(clusters=of_output),
        )
