"""The pictures of a study of sequences: motifs, experiments, records."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io.place import file_names
from attrib.workflows.drawing import name as long_name
from attrib.workflows.folder import Folder, save_picture
from attrib.workflows.runner import FEW, Drawers
from attrib.workflows.sequence.experiments import STARTS
from attrib.workflows.sequence.findings import Findings
from attrib.workflows.sequence.settings import MUTATIONS, importance

WIDEST = 200  # positions of a record's picture
PANELS = 12  # in the picture of the experiments
LEVEL = 0.05  # of q, from which an effect has a star


def draw(run: Folder, findings: Findings) -> list[str]:
    """Draw motifs of seqlets and filters with their best matches, and the experiments; returns the names of the files."""
    motifs = _motif_pictures(run, findings)
    return motifs + _experiment_picture(run, findings.experiments) + _courses(run, findings)


def draw_records(
    run: Folder, findings: Findings, count: int | None, workers: int = 0
) -> list[tuple[str, Any, str]]:
    """Draw the records of the strongest seqlets, then the first ones; several outputs take turns; returns records, outputs and files."""
    (run.path / "records").mkdir(exist_ok=True)
    ranked = [[(output, record) for record in _ranked(output)] for output in findings.by_output()]
    turns = [pair for row in zip_longest(*ranked) for pair in row if pair is not None]
    drawn = []
    with Drawers(workers if len(turns[:count]) > FEW else 0) as drawers:
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
            coords={"motif": [f"{c}{m}" for c, m in zip(clear, rows.motif, strict=True)], "sd": ("motif", rows.sd.to_numpy())},
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

    files = []
    for file, table, name, at, value, label, across in (
        ("spacing.png", findings.spacing, "pair", "distance", "interaction", "interaction (output)", "letters between the motifs"),
        ("evolution.png", findings.evolution, "", "round", "score", f"score of {STARTS} shuffled sequences (output)", "mutations"),
    ):  # fmt: skip
        if table.empty:
            continue
        several = table.target.nunique() > 1
        lines = {}
        for key, rows in table.groupby([name, "target"] if name else ["target"], sort=False):
            words = [*map(str, key[:-1]), *([f"target {key[-1]}"] if several else [])]
            wide = rows.pivot(index="start", columns=at, values=value).ffill(axis=1) if not name else rows.set_index(at)[[value]].T  # fmt: skip
            line = xr.DataArray(wide.to_numpy(), dims=("start", at), coords={at: wide.columns.to_numpy()})
            line[at].attrs["long_name"] = across
            if name:
                line = line[0].assign_coords(se=(at, rows["sd"].to_numpy() / np.sqrt(rows["n"].to_numpy())))
            lines[", ".join(words) or "directed evolution"] = line
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
    return done.x.isel(place), _logos(findings, place), _mutations(findings, place), moved, title


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
    target = f", target {first['target'].item()}" if "target" in first.coords else ""
    return f"score {float(first['prediction']):.3g}{target}"


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
