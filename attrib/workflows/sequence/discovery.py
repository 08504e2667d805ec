"""Motifs that the model has learned, from filters, seqlets and TF-MoDISco, and the known motifs that match them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._install import install_hint
from attrib.domains.motifs import Clusters, FilterMotifs, cluster_seqlets, find_seqlets, tomtom
from attrib.domains.sequences import dinucleotide_shuffle, shuffle
from attrib.io import load_modisco, replacing, save_modisco
from attrib.io.place import file_names
from attrib.labelled import deep_lift_shap
from attrib.workflows.folder import Folder
from attrib.workflows.plan import Context
from attrib.workflows.sequence.convolution import Kernel, by_length, filters_of
from attrib.workflows.sequence.settings import DRAWS, Settings

Motifs = Mapping[str, xr.DataArray]
TELLING = 3.0  # bits that a filter's motif must have to be matched and inserted

SEQLETS = 2000  # of each sign, the most that TF-MoDISco clusters
SECONDS = 3600  # tfmodisco-lite 3.0 may merge patterns of short records for ever
ROWS = 32  # records of a call


class Discovered(NamedTuple):
    """Motifs and their matches.

    Attributes
    ----------
    filters : FilterMotifs or None
    clusters : Clusters
    hits : DataFrame or None
        Of TOMTOM, with a database.
    notes : dict of str to str
        Steps that failed, and why.
    modisco : mapping of str to DataArray
        Motifs of TF-MoDISco, if it was run.
    """

    filters: FilterMotifs | None
    clusters: Clusters
    hits: pd.DataFrame | None
    notes: dict[str, str]
    modisco: Motifs = {}  # noqa: RUF012  (never changed)

    @property
    def motifs(self) -> dict[str, xr.DataArray]:
        """Motifs of seqlets, of TF-MoDISco, then of informative filters."""
        return {**self.clusters.motifs, **self.modisco, **self.filter_motifs}

    @property
    def filter_motifs(self) -> dict[str, xr.DataArray]:
        """Motifs of the informative filters."""
        if self.filters is None:
            return {}
        rows = self.filters.table[self.filters.table.information >= TELLING]
        return {n: self.filters.motifs[n] for n in rows.sort_values("information", ascending=False)["motif"]}


def discover(
    model: Callable[..., Any],
    x: xr.DataArray,
    contribution: xr.DataArray,
    database: Motifs | None,
    kernels: Sequence[Kernel],
    *,
    top: int | None = None,
    both_strands: bool = True,
    seed: int = 0,
    modisco: Motifs | None = None,
    context: Context | None = None,
) -> Discovered:
    """Motifs of filters and seqlets, matched to a database.

    Parameters
    ----------
    model : callable
    x, contribution : DataArray
        Sequences, and an attribution of each position, with a leading dim `target` for several outputs.
    database : mapping of str to DataArray, optional
        Known motifs.
    kernels : sequence of Kernel
        Of the layers whose filters become motifs.
    top : int, optional
        Number of a filter's strongest windows; default: all windows of at least half of its maximum.
    both_strands : bool
        Whether motifs may lie on the other strand; False for RNA.
    seed : int
        Of the seqlets' null distribution.
    modisco : mapping of str to DataArray, optional
        Motifs of TF-MoDISco, to be matched too.
    context : Context, optional
        What goes into the model beside the sequences.
    """
    filters, notes = _filters(model, x, kernels, top, context) if kernels else (None, {})
    clusters = seqlet_motifs(contribution, x, both_strands=both_strands, seed=seed)
    discovered = Discovered(filters, clusters, None, notes, modisco or {})
    if not database or not discovered.motifs:
        return discovered
    hits, warning = _matched(discovered.motifs, database, both_strands)
    return discovered._replace(hits=hits, notes=notes | warning)


def _filters(
    model: Callable[..., Any], x: xr.DataArray, kernels: Sequence[Kernel], top: int | None, context: Context | None
) -> tuple[FilterMotifs | None, dict[str, str]]:  # fmt: skip
    """Motifs of the filters of all layers, or why there are none; for a layer that was named the error is raised."""
    parts: list[FilterMotifs] = []
    try:
        for kernel in kernels:
            motifs, table = filters_of(model, x, kernel, top=top, context=context)
            begin = "" if len(kernels) == 1 else f"{kernel.layer}_"
            named = {
                f"{begin}{name}": m.assign_attrs(m.attrs | {"name": f"{begin}{name}"})
                for name, m in motifs.items()
            }
            names = [f"{begin}filter_{k}" for k in table["filter"]]
            letters = [kernel.width] * len(table)
            parts.append(FilterMotifs(named, table.assign(layer=kernel.layer, letters=letters, motif=names)))
    except (ValueError, TypeError) as error:
        if any(kernel.named for kernel in kernels):
            raise
        return None, {"filters": str(error)}
    tables = pd.concat([p.table for p in parts], ignore_index=True)
    return FilterMotifs({n: m for p in parts for n, m in p.motifs.items()}, tables), {}


def seqlet_motifs(
    contribution: xr.DataArray, x: xr.DataArray, *, both_strands: bool = True, seed: int = 0
) -> Clusters:
    """Seqlets and their motifs, for each of several outputs separately, with the output in the motifs' names.

    Parameters
    ----------
    contribution, x, both_strands, seed
        As for `discover`.

    Returns
    -------
    Clusters
        Seqlets of several outputs have the column `target`.
    """
    if "target" not in contribution.dims:
        seqlets = find_seqlets(contribution, seed=seed)
        return cluster_seqlets(seqlets, contribution, x, both_strands=both_strands)
    targets = contribution["target"].values.tolist()
    parts = [
        _named(
            seqlet_motifs(contribution.sel(target=t, drop=True), x, both_strands=both_strands, seed=seed),
            t,
            name,
        )
        for t, name in zip(targets, file_names(map(str, targets)).values(), strict=True)
    ]
    motifs = {name: m for part in parts for name, m in part.motifs.items()}
    means = {name: m for part in parts for name, m in part.contributions.items()}
    return Clusters(motifs, means, pd.concat([part.seqlets for part in parts], ignore_index=True))


def _named(clusters: Clusters, target: Any, prefix: str) -> Clusters:
    """One output's motifs with a prefix in their names, its seqlets with the column `target`."""
    names = {"": ""} | {name: f"{prefix}_{name}" for name in clusters.motifs}
    table = clusters.seqlets.assign(cluster=clusters.seqlets.cluster.map(names))
    table.insert(1, "target", target)
    motifs = {names[n]: m.rename(names[n]) for n, m in clusters.motifs.items()}
    return Clusters(motifs, {names[n]: m for n, m in clusters.contributions.items()}, table)


def _matched(motifs: Motifs, database: Motifs, both_strands: bool) -> tuple[pd.DataFrame, dict[str, str]]:
    """TOMTOM's five best matches of each motif, and its warning."""
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always", UserWarning)
        hits = tomtom(motifs, database, top=5, both_strands=both_strands)
    messages = [str(w.message) for w in raised if issubclass(w.category, UserWarning)]
    return hits, {"tomtom": messages[0]} if messages else {}


def program() -> str:
    """The program `modisco`: of this Python's environment, else of the shell's path.

    Raises
    ------
    ImportError
        If there is none.
    """
    program = shutil.which("modisco", path=str(Path(sys.executable).parent)) or shutil.which("modisco")
    if program is None:
        raise ImportError(f"TF-MoDISco needs tfmodisco-lite: {install_hint('modisco')}")
    return program


def modisco(
    run: Folder,
    model: Callable[..., Any],
    x: xr.DataArray,
    settings: Settings,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, xr.DataArray], dict[str, str]]:
    """Run TF-MoDISco on the records, for each output by itself.

    Parameters
    ----------
    run : Folder
        Gets `modisco/sequences.npz`, `modisco/hypothetical.npz` and `modisco/results.h5`; of several outputs each has a folder
        inside.
    model : callable
    x : DataArray
        The records, padded to the longest.
    settings : Settings
    say : callable
        Gets a line.

    Returns
    -------
    (dict of str to DataArray, dict of str to str)
        Motifs by name (`modisco_pos_0`, with the output's label behind modisco where there are several), and why
        there are none.

    Notes
    -----
    Contributions are those of DeepLIFT/SHAP from ten shuffles of each record: of pairs of letters, or of letters with
    ``baselines="shuffle"``. The program gets whole records, not 400 letters around their middles.
    """
    motifs: dict[str, xr.DataArray] = {}
    notes: dict[str, str] = {}
    for label, contributions in _by_output(hypothetical_of(model, x, settings)):
        folder = f"modisco/{label}" if label else "modisco"
        (run.path / folder).mkdir(parents=True, exist_ok=True)
        say(f"Running TF-MoDISco{f' on output {label}' if label else ''}.")
        for path in save_modisco(contributions, x, run.path / folder):
            run.file(f"{folder}/{path.name}")
        name = f"modisco_{label}" if label else "modisco"
        try:
            with replacing(run.path / folder / "results.h5") as results:
                _run_program(run.path / folder, results, x.sizes["position"])
                discovered = load_modisco(results)
        except (_Failed, ValueError) as error:
            notes[name] = str(error)
            continue
        run.file(f"{folder}/results.h5")
        motifs |= {f"{name}_{k}": m.rename(f"{name}_{k}") for k, m in discovered.items()}
        notes |= {} if discovered else {name: "TF-MoDISco found no motif"}
    return motifs, notes


class _Failed(RuntimeError):
    """Why the program gave no results."""


def _run_program(folder: Path, results: Path, width: int) -> None:
    words = [program(), "motifs", "-s", folder / "sequences.npz", "-a", folder / "hypothetical.npz"]
    try:
        done = subprocess.run(
            [*map(str, words), "-n", str(SEQLETS), "-w", str(width), "-o", str(results)],
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        why = (
            f"modisco was stopped after {SECONDS} s; records of less than 100 letters may be too short for it"
        )
        raise _Failed(why) from None
    if done.returncode != 0 or not results.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise _Failed(f"modisco ended with {done.returncode}: {lines[-1].strip() if lines else 'no message'}")


def hypothetical_of(model: Callable[..., Any], x: xr.DataArray, settings: Settings) -> xr.DataArray:
    """Hypothetical contributions of records of any lengths, zeros where they are padded, with the dim `target` of several outputs."""
    draw = shuffle if settings.baselines == "shuffle" else dinucleotide_shuffle
    parts = []
    for some in by_length(x):
        for start in range(0, some.sizes["sample"], ROWS):
            part = some.isel(sample=slice(start, start + ROWS))
            a = deep_lift_shap(
                model, part, baselines=draw(part, n=DRAWS, seed=settings.seed), hypothetical=True, **settings.goal,
                classes=settings.classes, batch_size=settings.batch_size, device=settings.device,
                additional_forward_args=settings.context.of(part),
            )  # fmt: skip
            bare = a.drop_vars([c for c in a.coords if c not in a.dims])
            parts.append(bare.reindex(position=np.arange(x.sizes["position"]), fill_value=0.0))
    contributions = xr.concat(parts, "sample")
    return contributions.isel(sample=contributions.indexes["sample"].get_indexer(x["sample"].values))


def _by_output(a: xr.DataArray) -> Iterator[tuple[str, xr.DataArray]]:
    """Contributions of each output with its label; of the only output without one."""
    if "target" not in a.dims:
        yield "", a
        return
    labels = a["target"].values.tolist()
    for label, name in zip(labels, file_names(map(str, labels)).values(), strict=True):
        yield name, a.sel(target=label, drop=True)
