"""TF-MoDISco on the study's records: hypothetical contributions written for tfmodisco-lite, its program run, its motifs read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attrib._install import install_hint
from attrib.domains.sequences import dinucleotide_shuffle, shuffle
from attrib.io import load_modisco, replacing, save_modisco
from attrib.io.place import file_names
from attrib.labelled import deep_lift_shap
from attrib.workflows.folder import Folder
from attrib.workflows.sequence.convolution import by_length
from attrib.workflows.sequence.settings import DRAWS, Settings

SEQLETS = 2000  # of each sign, the most that TF-MoDISco clusters
SECONDS = 3600  # tfmodisco-lite 3.0 may merge patterns of short records for ever
ROWS = 32  # records of a call


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
