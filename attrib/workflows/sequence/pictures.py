"""The pictures of a study of sequences: motifs, experiments, records."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io import replacing
from attrib.workflows.continued import Continued
from attrib.workflows.drawing import name as long_name
from attrib.workflows.sequence.asked import MUTATIONS
from attrib.workflows.sequence.findings import Findings
from attrib.workflows.sequence.importance import importance
from attrib.workflows.sequence.records import safe

WIDEST = 200  # positions of a record's picture
PANELS = 12  # outputs in the picture of the experiments


def draw(run: Continued, found: Findings) -> list[str]:
    """Motifs of seqlets and filters with their best matches, and the experiments; the names of the files."""
    return _motif_pictures(run, found) + _experiment_picture(run, found.experiments)


def draw_records(run: Continued, found: Findings, count: int) -> list[str]:
    """The records of the strongest seqlets, then the first ones; of several outputs in turn."""
    (run.path / "records").mkdir(exist_ok=True)
    ranked = [[(one, record) for record in _ranked(one)] for one in found.by_output()]
    turns = [pair for row in zip_longest(*ranked) for pair in row if pair is not None]
    return [_picture(run, one, record, k) for k, (one, record) in enumerate(turns[:count])]


def _ranked(found: Findings) -> list[str]:
    order = found.seqlets.sort_values("p", kind="stable").record
    return list(dict.fromkeys(map(str, [*order, *found.attributed.x["sample"].values])))


def _save(run: Continued, name: str, made: Any) -> str:
    with replacing(run.file(name)) as temporary:
        made.savefig(temporary)
    return name


def _motif_pictures(run: Continued, found: Findings) -> list[str]:
    from attrib.plots import motif_cards

    d = found.discovered
    kinds = {"seqlet_motifs.png": d.clusters.motifs, "filter_motifs.png": d.filter_motifs}
    return [
        _save(run, file, motif_cards(motifs, d.hits, database=found.database))
        for file, motifs in kinds.items()
        if motifs
    ]


def _experiment_picture(run: Continued, experiments: pd.DataFrame) -> list[str]:
    """Mean effects of motifs in backgrounds, per target."""
    from attrib.plots import bar_panels

    some = experiments[experiments.experiment == "marginalize"]
    if some.empty:
        return []
    panels = {}
    for target, rows in list(some.groupby("target", sort=False))[:PANELS]:
        n = int(rows.n.iloc[0])
        title = f"motifs in {n} shuffled sequences" + ("" if target == "score" else f", target {target}")
        panels[title] = xr.DataArray(
            rows.difference.to_numpy(), dims="motif", coords={"motif": rows.motif.to_numpy(str)},
            attrs={"long_name": "mean change of the score", "units": "output"},
        )  # fmt: skip
    return [_save(run, "experiments.png", bar_panels(panels, label="mean change of the score"))]


def _picture(run: Continued, found: Findings, record: str, number: int) -> str:
    """A record's logos and mutations, the windows of its seqlets shaded."""
    from attrib.plots import sequence_tracks

    done = found.attributed
    k = int(np.flatnonzero(done.x["sample"].values == record)[0])
    own = found.seqlets[found.seqlets.record == record]
    window = shown(int(done.x["length"].values[k]), own, found.contribution.isel(sample=k).values)
    inside = own[(own.end > window.start) & (own.start < window.stop)]
    moved = inside.assign(start=inside.start - window.start, end=inside.end - window.start)
    place: Any = {"sample": k, "position": window}
    made = sequence_tracks(
        done.x.isel(place), _logos(found, place), _mutations(found, place), seqlets=moved,
        title=f"{record}: {_score(found, k)}",
    )  # fmt: skip
    output = f"_{safe(str(found.output))}" if found.output is not None else ""
    return _save(run, f"records/{number:03d}_{safe(record)}{output}.png", made)


def _logos(found: Findings, place: Any) -> dict[str, xr.DataArray]:
    done = found.attributed
    some = {m: a for m, a in done.results.items() if m != MUTATIONS}
    return {long_name(a, m): importance(m, a, done.x).isel(place) for m, a in some.items()}


def _mutations(found: Findings, place: Any) -> xr.DataArray | None:
    made = found.attributed.results.get(MUTATIONS)
    return None if made is None else made.isel(place)


def _score(found: Findings, k: int) -> str:
    first = next(iter(found.attributed.results.values())).isel(sample=k)
    said = f", target {first['target'].item()}" if "target" in first.coords else ""
    return f"score {float(first['prediction']):.3g}{said}"


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
