"""The folder of a run that can be continued, and its log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr

from attrib.io import load, write_json
from attrib.workflows.fcgr.maps import Todo
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.samplefiles import EXPORTS
from attrib.workflows.folder import now

RECORD = "run.json"
PROGRAM = "attrib fcgr"


def settings_of(
    predictor: Predictor, todo: Todo, background: xr.Dataset, n_regions: int | None
) -> dict[str, Any]:
    """What must be the same for a run to be continued."""
    made = {
        "source": predictor.source, "images": predictor.images._asdict(), "output_kind": predictor.model.output,
        "methods": todo.methods, "corrections": todo.corrections, "layers": {n: v.last for n, v in todo.layers.items()},
        "interaction": todo.interaction, "options": todo.options, "seed": todo.seed, "regions": n_regions,
        "background": [str(s) for s in background["sample"].values],
    }  # fmt: skip
    return json.loads(json.dumps(made, default=str))


def prepared(path: Path, settings: dict[str, Any]) -> Path:
    """The folder, new or of a run with the same settings."""
    record = path / RECORD
    if record.is_file():
        earlier = json.loads(record.read_text()).get("settings") or {}
        other = [k for k in settings if earlier.get(k) != settings[k]]
        if other:
            raise ValueError(
                f"--output is {path}, which holds a run with other {', '.join(other)}; name another folder"
            )
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(
            f"--output is {path}, which holds files of something else; name a new or an empty folder"
        )
    for part in ("parts", "logs", EXPORTS):
        (path / part).mkdir(parents=True, exist_ok=True)
    write_json({"program": PROGRAM, "started": now(), "settings": settings}, record)
    return path


@contextmanager
def logged(folder: Path) -> Iterator[logging.Logger]:
    """A logger of this run alone, which writes to `logs/interpretability.log`."""
    log = logging.Logger(PROGRAM)
    handler = logging.FileHandler(folder / "logs" / "interpretability.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    except BaseException as error:
        log.error("stopped: %s: %s", type(error).__name__, error)
        raise
    finally:
        handler.close()


def is_done(part: Path, one: xr.Dataset) -> bool:
    """Whether a pair's results are there, whole, and of the sequences as they are now."""
    if not part.is_file():
        return False
    try:
        found = load(part)
    except (OSError, ValueError, KeyError):
        return False
    same = ("mirna_sequence", "mrna_sequence", "label")
    return all(c in found.coords and str(found[c].values[0]) == str(one[c].values) for c in same)
