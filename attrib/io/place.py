"""Files that appear whole or not at all, their names, and folders that one process at a time writes to."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import socket
import threading
import time
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrib._public import public

BYTES = 90  # with what studies add, names stay below 120
DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{k}" for d in ("com", "lpt") for k in range(10))}

PLAIN = r"\w.+-"
LEGAL = r"\w.+\- !#$%&'()@=,;~{}\[\]^`"  # on every system

BEAT = 10.0  # seconds between two signs of life of a run
SILENCE = 90.0  # seconds without one after which a run on another host counts as gone
TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}(\.\w+){0,2}")  # names of `attrib.io.replacing`


@public
@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when the block ends well.

    Parameters
    ----------
    path : str or path
        The file to write. Its folder must exist.

    Yields
    ------
    Path
        Where to write: the same folder and suffix, a hidden name.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.

    Notes
    -----
    An error or Ctrl-C in the block removes the temporary file and leaves what was at `path` as it was. Renaming within
    a folder is atomic, so a reader sees the old file or the new one.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.io import replacing
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with replacing(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("done")
    >>> [p.name for p in folder.iterdir()]
    ['a.txt']
    """
    final = Path(path)
    if not final.parent.is_dir():
        raise FileNotFoundError(f"`path` is {final}, but there is no folder {final.parent}; create it first")
    if final.is_dir():
        raise IsADirectoryError(f"`path` is {final}, which is a folder; name a file in it")
    suffix = "".join(final.suffixes[-2:]) if final.suffix == ".gz" else final.suffix
    temporary = final.with_name(f".{final.name.removesuffix(suffix)}-{uuid.uuid4().hex[:8]}{suffix}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As `replacing`, for a folder: a temporary one takes its place when the block ends well.

    Parameters
    ----------
    path : str or path
        The folder to write. One that is there is moved away first, and removed at last; a file is refused.

    Yields
    ------
    Path
        Where to write: the same place and suffix, a hidden name.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If its place does not exist, or it is a file.
    """
    final = Path(path)
    if not final.parent.is_dir():
        raise FileNotFoundError(f"`path` is {final}, but there is no folder {final.parent}; create it first")
    if final.exists() and not final.is_dir():
        raise NotADirectoryError(f"`path` is {final}, which is a file")
    token = uuid.uuid4().hex[:8]
    temporary, old = (final.with_name(f".{final.stem}-{token}{kind}{final.suffix}") for kind in ("", "-old"))
    try:
        yield temporary
        if final.exists():
            os.replace(final, old)
        os.replace(temporary, final)
    finally:
        if old.exists() and not final.exists():
            os.replace(old, final)
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)


def strict(value: Any) -> Any:
    """The value with null where strict JSON has no number: for NaN and infinities."""
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@public
def write_json(content: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a mapping as readable JSON, whole or not at all.

    Parameters
    ----------
    content : mapping
        Keys are text. Values that JSON lacks, such as a path, become text.
    path : str or path
        The file; its folder must exist.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.io import write_json
    >>> path = write_json({"seed": 0}, pathlib.Path(tempfile.mkdtemp()) / "run.json")
    >>> print(path.read_text().strip())
    {
      "seed": 0
    }
    """
    text = json.dumps(dict(content), indent=2, default=str, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def file_names(names: Iterable[str], reserved: Iterable[str] = (), characters: str = PLAIN) -> dict[str, str]:
    """A beginning of file names for each name: distinct on every system, below 120 bytes with what follows.

    Parameters
    ----------
    names : iterable of str
        Distinct names of samples; any text.
    reserved : iterable of str
        Beginnings that other files of the folder have.
    characters : str
        What is kept, as in the brackets of a regular expression: `PLAIN`, or `LEGAL`.

    Returns
    -------
    dict of str to str
        Letters, digits and ``_ . + -`` of the name. Names that are long, reserved (also by Windows), or equal to another
        but for such characters or capitals end with a digest of the name.

    Examples
    --------
    >>> from attrib.io.place import file_names
    >>> file_names(["P53", "chr1:5-9", "summary"], reserved=["summary"])
    {'P53': 'P53', 'chr1:5-9': 'chr1_5-9', 'summary': 'summary-761b7ad8'}
    """
    plain = {
        name: re.sub(f"[^{characters}]+", "_", unicodedata.normalize("NFC", name)).strip("._ ")
        for name in names
    }
    taken = {r.casefold() for r in reserved}
    count = Counter(map(str.casefold, plain.values()))

    def chosen(name: str) -> str:
        short, first = plain[name], plain[name].casefold().partition(".")[0]
        fits = 0 < len(short.encode()) <= BYTES
        if fits and count[short.casefold()] == 1 and first not in DEVICES and short.casefold() not in taken:
            return short
        apart = f"_{short}" if first in DEVICES else short
        start = apart.encode()[: BYTES - 9].decode(errors="ignore")
        return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")

    return {name: chosen(name) for name in plain}


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
