"""The folder of a study: a new one, or one of an earlier run with the same settings, which is continued."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrib.io import write_json
from attrib.io.lock import Lock, sweep
from attrib.workflows.folder import RECORD, ended, now, versions

PARTS = "parts"
LOCK = ".lock.json"
CAUSES = ("attrib", "torch")  # packages whose versions results depend on most


class RunFolder:
    """A folder and its `run.json`, in which a later run with the same settings can be continued.

    Parameters
    ----------
    path : path
        Created when the context is entered.
    program : str
        The command, such as `"attrib sequence"`. Folders of another program are refused.
    settings : mapping
        A run continues an earlier one only if these are equal.
    command : sequence of str
        As typed.
    folders : sequence of str
        Created inside, beside `parts`.
    overwrite : bool
        Whether to remove what an earlier run of the same program left, instead of continuing it.

    Raises
    ------
    ValueError
        If the folder holds a run with other settings or versions of attrib or torch, or other files; if another process is
        writing to it, naming the process and its host.

    Notes
    -----
    Temporary files that a killed run left are removed. As a context manager it records how the run ended: `state` is `"running"`, `"finished"`, `"interrupted"` or
    `"failed"`. When a run has finished, files that only the earlier run listed are removed.
    """

    def __init__(
        self,
        path: str | Path,
        program: str,
        settings: Mapping[str, Any],
        command: Sequence[str] = (),
        folders: Sequence[str] = (),
        *,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.settings: dict[str, Any] = json.loads(json.dumps(dict(settings), default=str))
        self._folders = (PARTS, *folders)
        self._program = program
        if overwrite:
            _clear(self.path, program)
        self._earlier = _earlier(self.path, program, self.settings)
        self._lock = Lock(self.path / LOCK, self.path)
        self.files: list[str] = []
        self.record: dict[str, Any] = {
            "program": program,
            "command": shlex.join(command),
            "state": "running",
            "started": now(),
            "versions": versions(),
            "settings": self.settings,
        }

    @property
    def parts(self) -> Path:
        """Where the finished parts are."""
        return self.path / PARTS

    def file(self, name: str) -> Path:
        """The path of an output; it is added to the list of files."""
        if name not in self.files:
            self.files.append(name)
        return self.path / name

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._earlier = _earlier(self.path, self._program, self.settings)  # again: nobody else writes now
            sweep(self.path)
            for folder in self._folders:
                (self.path / folder).mkdir(exist_ok=True)
            self._write([*self._earlier])
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.record["state"] = ended(kind)
        self.record["ended"] = now()
        old = [f for f in self._earlier if f not in self.files]
        if kind is None:
            for name in old:
                (self.path / name).unlink(missing_ok=True)
        try:
            self._write(self.files if kind is None else [*old, *self.files])
        finally:
            self._lock.release()

    def _write(self, files: Sequence[str]) -> None:
        write_json(self.record | {"files": list(files)}, self.path / RECORD)


def _earlier(path: Path, program: str, settings: Mapping[str, Any]) -> list[str]:
    """Files of an earlier run with the same settings."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"`output` is {path}, which is a file; name a folder")
    if not path.exists() or all(p.name == LOCK for p in path.iterdir()):
        return []
    record = _record(path)
    if record.get("program") != program:
        raise ValueError(
            f"`output` is {path}, which holds files of something else; name a new or an empty folder"
        )
    earlier = record.get("settings") or {}
    other = [k for k in settings if earlier.get(k) != settings[k]]
    before, current = record.get("versions") or {}, versions()
    other += [
        f"version of {p} ({before[p]}, now {current[p]})"
        for p in CAUSES
        if before.get(p, current[p]) != current[p]
    ]
    if other and any((path / PARTS).glob("*")):
        raise ValueError(
            f"`output` is {path}, which holds a run with other {', '.join(other)}; name another folder"
        )
    return [f for f in record.get("files", []) if not Path(f).is_absolute() and ".." not in Path(f).parts]


def _clear(path: Path, program: str) -> None:
    """Remove the files and parts of an earlier run of a program; nothing else is touched."""
    record = _record(path)
    if record.get("program") != program:
        return
    for name in record.get("files", []):
        if not Path(name).is_absolute() and ".." not in Path(name).parts:
            (path / name).unlink(missing_ok=True)
    shutil.rmtree(path / PARTS, ignore_errors=True)


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
