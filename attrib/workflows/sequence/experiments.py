"""Experiments: motifs inserted into backgrounds, by themselves and at a distance, seqlets ablated, sequences evolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import near, whole_seed
from attrib.domains.draws import drawn_evenly
from attrib.domains.motifs.matrix import LETTERS, matrix_of
from attrib.domains.sequences import ablate, dinucleotide_shuffle, evolve, marginalize, space
from attrib.workflows.sequence.convolution import by_length
from attrib.workflows.sequence.discovery import Discovered

BACKGROUNDS, SEQLETS, REPEATS = 100, 100, 10
FURTHEST, STARTS = 60, 10  # letters between two motifs; shuffled sequences that evolve
CLEAR = 0.5  # probability from which a motif's letter is inserted; elsewhere the background keeps its letter
COLUMNS = [
    "experiment",
    "motif",
    "letters",
    "target",
    "n",
    "before",
    "after",
    "difference",
    "sd",
    "control",
    "p",
    "q",
]

Scores = Callable[[xr.DataArray], xr.DataArray]


def experiments(
    scores: Scores,
    x: xr.DataArray,
    discovered: Discovered,
    database: Mapping[str, xr.DataArray] | None,
    insert: Sequence[str] = (),
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Marginal effects of motifs, and effects of ablating seqlets.

    Parameters
    ----------
    scores : callable
        Sequences to scores (sample, target).
    x : DataArray
        Sequences.
    discovered : Discovered
    database : mapping of str to DataArray, optional
        Its best hits are inserted too.
    insert : sequence of str
        More motifs: names in the database, or letters.
    seed : int
        Of the shuffles.

    Returns
    -------
    DataFrame
        A row per experiment, motif and target. `p` is of Wilcoxon's signed-rank test over the sequences (of ablation:
        against an equally long stretch elsewhere in the same sequence, whose mean effect is `control`), `q` Benjamini and
        Hochberg's.
    """
    rows = _marginal(scores, x, inserted(discovered, database, insert), seed)
    rows += _ablated(scores, x, discovered.clusters.seqlets, seed)
    table = pd.DataFrame(rows, columns=COLUMNS[:-1])
    return table.assign(q=_corrected(table.p.to_numpy(float)))


def inserted(
    discovered: Discovered, database: Mapping[str, xr.DataArray] | None, insert: Sequence[str] = ()
) -> dict[str, str]:
    """Letters of the motifs to insert: those discovered, their best hits, and those in `insert`.

    Raises
    ------
    ValueError
        For a name that is neither in the database nor made of letters.
    """
    database = database or {}
    named = {name: letters_of(m) for name, m in discovered.motifs.items()}
    if discovered.hits is not None:
        best = discovered.hits.drop_duplicates("motif")
        named |= {t: letters_of(database[t]) for t in best[best.q <= 0.05].target}
    for name in insert:
        named[name] = _letters_by_name(name, database)
    return {name: text for name, text in named.items() if set(text) - {"N"}}


def pairs_of(pairs: Sequence[str], database: Mapping[str, xr.DataArray] | None) -> dict[str, tuple[str, str]]:
    """Letters of the two motifs of each pair such as ``CTCF:GATA1``.

    Raises
    ------
    ValueError
        For a pair without a colon, and a name that is neither in the database nor made of letters.
    """
    letters = {}
    for pair in pairs:
        first, colon, second = pair.partition(":")
        if not colon:
            raise ValueError(f"`space` is {pair!r}, expected two motifs with a colon, such as CTCF:GATAA")
        letters[pair] = tuple(
            _letters_by_name(name.strip(), database or {}, "space") for name in (first, second)
        )
    return letters  # type: ignore[return-value]


def spaced(
    scores: Scores, x: xr.DataArray, pairs: Mapping[str, tuple[str, str]], *, seed: int = 0
) -> pd.DataFrame:
    """The interaction of two motifs at each distance, in shuffled sequences.

    Parameters
    ----------
    scores, x, seed
        As for `experiments`.
    pairs : mapping of str to (str, str)
        Letters by name.

    Returns
    -------
    DataFrame
        A row per pair, target and distance: `n`, the mean `interaction` (see `attrib.domains.sequences.space`), its `sd`, `p` and `q`.
    """
    rows: list[tuple[Any, ...]] = []
    backgrounds = _backgrounds(x, seed) if pairs else x
    for name, (first, second) in pairs.items():
        room = backgrounds.sizes["position"] - len(first) - len(second)
        if room < 0:
            continue
        effect = space(scores, backgrounds, first, second, distances=range(min(room, FURTHEST) + 1))
        for target in effect.target.values:
            for distance in effect.distance.values.tolist():
                values = effect.interaction.sel(target=target, distance=distance).values
                rows.append((name, target, distance, len(values), float(values.mean()), _spread(values), _signed(values)))  # fmt: skip
    table = pd.DataFrame(rows, columns=["pair", "target", "distance", "n", "interaction", "sd", "p"])
    return table.assign(q=_corrected(table.p.to_numpy(float)))


def evolved(scores: Scores, x: xr.DataArray, rounds: int, *, seed: int = 0) -> pd.DataFrame:
    """Shuffled sequences under directed evolution towards each output.

    Parameters
    ----------
    scores, x, seed
        As for `experiments`.
    rounds : int
        Mutations, at most; 0 for no evolution.

    Returns
    -------
    DataFrame
        A row per target, sequence and round from 0 on: `score`, what was changed (`position`, `before`, `after`), and the `sequence`.
    """
    columns = ["target", "start", "round", "score", "position", "before", "after", "sequence"]
    if not rounds:
        return pd.DataFrame(columns=columns)
    shuffled = _backgrounds(x, seed)
    starts = shuffled.isel(sample=drawn_evenly(shuffled["record"].values.tolist(), STARTS, seed))
    tables = []
    for target in scores(starts).target.values:
        grown = evolve(scores, starts, rounds=rounds, target=target)
        bare = grown.drop_vars([c for c in grown.coords if c not in grown.dims]).assign_coords(
            sample=np.arange(grown.sizes["sample"])
        )
        rows = (
            bare.to_dataframe(dim_order=["sample", "round"]).reset_index().rename(columns={"sample": "start"})
        )
        tables.append(rows.assign(target=target)[columns])
    return pd.concat(tables, ignore_index=True)


def _letters_by_name(name: str, database: Mapping[str, xr.DataArray], argument: str = "insert") -> str:
    by_name = {str(m.attrs.get("alternative", "")): k for k, m in database.items()}
    if name in database or name in by_name:
        return letters_of(database[by_name.get(name, name)])
    text = name.upper().replace("U", "T")
    if text and not set(text) - set("ACGTN"):
        return text
    raise ValueError(
        f"`{argument}` {name}: no motif of `motifs` has this name, and it is no word of A, C, G, T{near(name, [*database, *by_name], 3)}"
    )


def letters_of(motif: xr.DataArray) -> str:
    """A motif as letters, N where no letter is clear; without Ns at the ends."""
    p = matrix_of(motif)
    return "".join(LETTERS[c.argmax()] if c.max() >= CLEAR else "N" for c in p.T).strip("N")


def _marginal(scores: Scores, x: xr.DataArray, motifs: Mapping[str, str], seed: int) -> list[tuple[Any, ...]]:
    """Motifs in shuffled sequences, those of the most frequent length."""
    backgrounds = _backgrounds(x, seed)
    fitting = {k: v for k, v in motifs.items() if len(v) <= backgrounds.sizes["position"]}
    if not fitting:
        return []
    effect = marginalize(scores, backgrounds, fitting)
    rows = []
    for target in effect.target.values:
        effects = effect.sel(target=target)
        for name, letters in fitting.items():
            change = effects.difference.sel(motif=name).values
            rows.append(("marginalize", name, letters, target, len(change), float(effects.before.mean()),
                         float(effects.after.sel(motif=name).mean()), float(change.mean()), _spread(change), np.nan,
                         _signed(change)))  # fmt: skip
    return rows


def usual_length(x: xr.DataArray) -> int:
    """Letters of most records."""
    return _most(x).sizes["position"]


def _most(x: xr.DataArray) -> xr.DataArray:
    return max(by_length(x), key=lambda some: some.sizes["sample"])


def _backgrounds(x: xr.DataArray, seed: int) -> xr.DataArray:
    """Shuffles of some of the records of the most frequent length: the first of each record, then the second ones."""
    records = _most(x)
    most = records.isel(sample=drawn_evenly([""] * records.sizes["sample"], BACKGROUNDS, seed))
    n = -(-BACKGROUNDS // most.sizes["sample"])
    shuffled = dinucleotide_shuffle(most.drop_vars(set(most.coords) - set(most.dims)), n=n, seed=seed)
    flat = shuffled.stack(row=("baseline", "sample"), create_index=False).transpose("row", *x.dims[1:])
    backgrounds = flat.drop_vars([c for c in flat.coords if "row" in flat[c].dims]).rename(row="sample")
    backgrounds = backgrounds.assign_coords(record=("sample", flat["sample"].values))
    return backgrounds.isel(sample=slice(0, BACKGROUNDS))


def _ablated(scores: Scores, x: xr.DataArray, seqlets: pd.DataFrame, seed: int) -> list[tuple[Any, ...]]:
    """The strongest seqlets of each motif replaced by shuffles of themselves, and equally long stretches elsewhere."""
    rows: list[tuple[Any, ...]] = []
    for name, some in seqlets[seqlets.cluster != ""].groupby("cluster"):
        chosen = some.reindex(some.z.abs().sort_values(ascending=False).index[:SEQLETS])
        before, effect, control = _changes(scores, x, chosen, seed)
        for k, target in enumerate(before.target.values):
            change, other = effect[:, k], control[:, k]
            old = float(before[:, k].mean())
            p = _signed(change - np.where(np.isfinite(other), other, 0))
            rows.append(("ablate", name, "", target, len(change), old, old + float(change.mean()), float(change.mean()),
                         _spread(change), float(np.nanmean(other)) if np.isfinite(other).any() else np.nan, p))  # fmt: skip
    return rows


def _changes(
    scores: Scores, x: xr.DataArray, seqlets: pd.DataFrame, seed: int
) -> tuple[xr.DataArray, np.ndarray, np.ndarray]:
    """Scores before, change by ablation, and change by ablating an equally long stretch: (seqlet, target)."""
    before, effect, control = [], [], []
    numbers = pd.Index(x["sample"].values).get_indexer(seqlets.record)
    records = x.isel(sample=numbers).assign_coords(
        start_at=("sample", seqlets.start.to_numpy()), end_at=("sample", seqlets.end.to_numpy())
    )
    for some in by_length(records):
        start, end = some.start_at.values, some.end_at.values
        bare = some.drop_vars(set(some.coords) - set(some.dims)).drop_vars("sample")
        bare = bare.assign_coords(record=("sample", some["sample"].values))
        ablated = ablate(scores, bare, start, end, n=REPEATS, seed=seed)
        before.append(ablated.before)
        effect.append(ablated.difference.mean("repeat").transpose("sample", "target").values)
        away, has_room = _elsewhere(start, end, some.sizes["position"], seed)
        other = ablate(scores, bare, away, away + (end - start), n=REPEATS, seed=seed)
        change = other.difference.mean("repeat").transpose("sample", "target").values
        control.append(np.where(has_room[:, None], change, np.nan))
    return (
        xr.concat(before, "sample").transpose("sample", "target"),
        np.concatenate(effect),
        np.concatenate(control),
    )


def _elsewhere(start: np.ndarray, end: np.ndarray, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts of equally long stretches that do not overlap, and whether there is room for one."""
    width = end - start
    left, right = np.maximum(start - width + 1, 0), np.maximum(size - end - width + 1, 0)
    draw = np.random.default_rng(whole_seed(seed)).random(len(start)) * np.maximum(left + right, 1)
    place = draw.astype(int)
    away = np.where(place < left, place, end + place - left)
    has_room = left + right > 0
    return np.where(has_room, away, start), has_room


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _signed(values: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    moved = values[np.isfinite(values) & (values != 0)]
    return float(wilcoxon(moved).pvalue) if len(moved) else 1.0


def _corrected(p: np.ndarray) -> np.ndarray:
    from scipy.stats import false_discovery_control

    return false_discovery_control(p) if len(p) else p
