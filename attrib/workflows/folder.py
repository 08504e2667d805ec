"""A folder of outputs and the record of the run that made them."""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrib.io import write_json

RECORD = "run.json"
PACKAGES = ("attrib", "torch", "numpy", "xarray", "netCDF4", "matplotlib", "scikit-learn")


class Folder:
    """The folder of a run, and its `run.json`, which is up to date from the first file on.

    Parameters
    ----------
    path : str or path
        Created with the first file, so that a run that fails earlier leaves nothing.
    command : sequence of str
        As typed.
    overwrite : bool
        Whether to replace an earlier run's files. Folders with other content are always refused.

    Raises
    ------
    ValueError
        If the folder holds files that this run must not replace.

    Notes
    -----
    As a context manager it records how the run ended: `state` is `"running"`, `"finished"`, `"interrupted"` or
    `"failed"`. Files of an earlier run stay until this run writes its first file; then the files that `run.json`
    lists are removed, so that all files of the folder belong to one run.
    """

    def __init__(self, path: str | Path, command: Sequence[str] = (), *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self._earlier = _earlier_files(self.path, overwrite)
        self._open = False
        self.record: dict[str, Any] = {
            "program": "attrib",
            "command": shlex.join(command),
            "state": "running",
            "started": now(),
            "versions": versions(),
            "platform": platform.platform(),
            "files": [],
        }
        self._start = time.perf_counter()

    def file(self, name: str) -> Path:
        """The path of an output; it is added to the run's list of files."""
        if not self._open:
            self.path.mkdir(parents=True, exist_ok=True)
            for old in self._earlier:
                old.unlink(missing_ok=True)
            self._open = True
        if name not in self.record["files"]:
            self.record["files"].append(name)
            self.write()
        return self.path / name

    def write(self) -> None:
        """Bring `run.json` up to date, if the folder exists."""
        if self._open:
            self.record["seconds"] = round(time.perf_counter() - self._start, 3)
            write_json(self.record, self.path / RECORD)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.record["state"] = ended(kind)
        self.record["files"] = [f for f in self.record["files"] if (self.path / f).exists()]
        self.record["ended"] = now()
        self.write()


def ended(kind: type[BaseException] | None) -> str:
    """The state of a run that ended with this error, or with none."""
    if kind is None:
        return "finished"
    return "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    return {p: version(p) for p in PACKAGES} | {"python": platform.python_version()}


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _earlier_files(path: Path, overwrite: bool) -> list[Path]:
    """Files of an earlier run in the folder."""
    if not path.exists():
        return []
    if not path.is_dir():
        raise ValueError(f"`output` is {path}, which is a file; name a folder")
    if not any(path.iterdir()):
        return []
    record = _record(path)
    if record is None:
        raise ValueError(
            f"`output` is {path}, which holds files that are not attrib's; name a new or an empty folder"
        )
    if not overwrite:
        raise ValueError(
            f"`output` is {path}, which holds a run of {record.get('started', 'an unknown time')} "
            f"({record.get('state', 'unknown')}); name another folder, or add `overwrite=True` to replace it"
        )
    return [path / name for name in record.get("files", []) if Path(name).name == name]


def _record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("program") == "attrib" else None


def command_line() -> list[str]:
    """What was typed, without the path of the program."""
    return ["attrib", *sys.argv[1:]]
