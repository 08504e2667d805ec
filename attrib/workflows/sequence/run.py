"""The folder of a study: new, or that of a run with the same settings, which goes on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrib.io import write_json
from attrib.workflows.folder import RECORD, now, versions

PROGRAM = "attrib sequence"


class Run:
    """A folder and its `run.json`.

    Parameters
    ----------
    path : path
        Made when the run is entered.
    settings : mapping
        What a run must share with an earlier one to go on in its folder.
    command : sequence of str
        As typed.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings, or other files.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], command: Sequence[str] = ()) -> None:
        self.path = Path(path)
        self.settings = json.loads(json.dumps(dict(settings), default=str))
        _check(self.path, self.settings)
        self.record: dict[str, Any] = {
            "program": PROGRAM,
            "command": shlex.join(command),
            "state": "running",
            "started": now(),
            "versions": versions(),
            "settings": self.settings,
            "files": [],
        }

    @property
    def parts(self) -> Path:
        """Where the finished chunks are."""
        return self.path / "parts"

    def file(self, name: str) -> Path:
        """The path of an output, which is listed."""
        self.record["files"].append(name)
        return self.path / name

    def __enter__(self) -> Self:
        self.parts.mkdir(parents=True, exist_ok=True)
        write_json(self.record, self.path / RECORD)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.record["state"] = "finished" if kind is None else "interrupted" if stopped else "failed"
        self.record["ended"] = now()
        write_json(self.record, self.path / RECORD)


def _check(path: Path, settings: Mapping[str, Any]) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise ValueError(f"--output is {path}, which is a file; name a folder")
    if not any(path.iterdir()):
        return
    try:
        earlier = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        earlier = {}
    if not isinstance(earlier, dict) or earlier.get("program") != PROGRAM:
        raise ValueError(
            f"--output is {path}, which holds files of something else; name a new or an empty folder"
        )
    other = [k for k in settings if earlier.get("settings", {}).get(k) != settings[k]]
    if other and any((path / "parts").glob("*.nc")):
        raise ValueError(
            f"--output is {path}, which holds a run with other {', '.join(other)}; name another folder"
        )
