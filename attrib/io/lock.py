"""Folders that one process at a time writes to."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEAT = 10.0  # seconds between two signs of life of a run
SILENCE = 90.0  # seconds without one after which a run on another host counts as gone
TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}(\.\w+){0,2}")  # names of `attrib.io.replacing`


class Lock:
    """A folder in use by one process.

    Parameters
    ----------
    file : path
        The lock; its folder has to exist when it is taken.
    folder : path
        What it locks, for messages.

    Raises
    ------
    ValueError
        If another process has it, naming the process and its host.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self.file, self._folder = file, folder
        self.held = False
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._beats, name="attrib lock", daemon=True)

    def take(self) -> None:
        """Take the lock."""
        write_lock(self.file.with_name(f"{self.file.name}.{uuid.uuid4().hex}"), then=self._link)

    def _link(self, temporary: Path) -> None:
        for _ in range(3):
            try:
                os.link(temporary, self.file)
            except FileExistsError:
                self._remove_if_left()
            else:
                self.keep()
                return
        raise ValueError(f"`output` is {self._folder}, whose lock {self.file} changes hands; try again")

    def refuse(self) -> dict[str, Any]:
        """Raise if another process has it; returns who had it last, if it was not released."""
        holder = read_json(self.file)
        if holder and in_use(holder, self.file):
            raise ValueError(
                f"`output` is {self._folder}, which process {holder.get('process')} on {holder.get('host')} is "
                f"writing since {holder.get('since')}; wait for it, or name another folder"
            )
        return holder

    def _remove_if_left(self) -> None:
        holder = self.refuse()
        apart = self.file.with_name(f"{self.file.name}.{uuid.uuid4().hex}")
        try:
            os.rename(self.file, apart)
        except FileNotFoundError:
            return
        if read_json(apart) != holder and not self.file.exists():  # another process took it in between
            os.rename(apart, self.file)
        apart.unlink(missing_ok=True)

    def keep(self) -> None:
        """Give signs of life until `release`."""
        self.held = True
        self._beat.start()

    def _beats(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                os.utime(self.file)
            except OSError:
                return

    def release(self) -> None:
        """Let others have it, if this process has it."""
        if self.held:
            self._stop.set()
            self._beat.join()
            holder = read_json(self.file)
            if (holder.get("process"), holder.get("host")) == (os.getpid(), socket.gethostname()):
                self.file.unlink(missing_ok=True)
            self.held = False


def write_lock(file: Path, then: Any = None) -> None:
    """Write who has a lock."""
    holder = {
        "process": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }  # fmt: skip
    file.write_text(json.dumps(holder), encoding="utf-8")
    if then is not None:
        try:
            then(file)
        finally:
            file.unlink(missing_ok=True)


def in_use(holder: Mapping[str, Any], file: Path) -> bool:
    """Whether the process that a lock names is at work."""
    if holder.get("host") != socket.gethostname():
        probe = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
        try:
            probe.touch()  # the clock of the file system, not of this host
            return probe.stat().st_mtime - file.stat().st_mtime < SILENCE
        except FileNotFoundError:
            return False
        finally:
            probe.unlink(missing_ok=True)
    try:
        os.kill(int(holder.get("process", 0)), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return holder.get("started") == _started(int(holder["process"]))


def _started(process: int) -> str:
    """When a process began, so that a new one with its number is not taken for it; empty where the system does not say."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def read_json(file: Path) -> dict[str, Any]:
    """A mapping that `write_json` wrote; empty if the file is not there."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def sweep(folder: Path) -> None:
    """Remove temporary files that a killed process left in a folder, and in those inside."""
    for place, _, files in os.walk(folder):
        for name in files:
            if TEMPORARY.fullmatch(name):
                (Path(place) / name).unlink(missing_ok=True)
