"""The inputs of a run, the settings by which it can be continued, and its log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from attrib.io import load
from attrib.workflows.fcgr.predictor import Predictor
from attrib.workflows.fcgr.todo import Settings
from attrib.workflows.folder import digest

PROGRAM = "attrib fcgr"


class Work(NamedTuple):
    """A run's network, pairs and settings.

    Attributes
    ----------
    predictor : Predictor
    x, background : Dataset
        Of `Images.of`: the pairs to explain, and those of the background.
    settings : Settings
    regions : int or None
        Regions per attribution.
    names : dict of str to str
        Prefixes of the file names by pair.
    seconds : dict
        Times by step, filled during the work.
    drawn : list of str
        Pairs with pictures.
    """

    predictor: Predictor
    x: xr.Dataset
    background: xr.Dataset
    settings: Settings
    regions: int | None
    names: dict[str, str]
    seconds: dict[str, float]
    drawn: list[str]


def settings_of(work: Work) -> dict[str, Any]:
    """The settings that must be equal for a run to be continued."""
    predictor, settings = work.predictor, work.settings
    context = {"context": predictor.context.digest()} if predictor.context.values else {}
    return context | {
        "source": predictor.source, "weights": digest(predictor.model), "images": predictor.images._asdict(), "output_kind": predictor.model.output_kind,
        "methods": settings.methods, "corrections": settings.corrections, "layers": {n: v.last for n, v in settings.layers.items()},
        "interaction": settings.interaction, "options": settings.options, "seed": settings.seed, "regions": work.regions,
        "background": [str(s) for s in work.background["sample"].values],
    }  # fmt: skip


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


def is_done(part: Path, pair: xr.Dataset) -> bool:
    """Whether a pair's results exist, are complete, and belong to the present sequences."""
    if not part.is_file():
        return False
    try:
        saved = load(part)
    except (OSError, ValueError, KeyError):
        return False
    same = ("mirna_sequence", "mrna_sequence", "label")
    return all(c in saved.coords and str(saved[c].values[0]) == str(pair[c].values) for c in same)
