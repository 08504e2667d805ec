"""A folder of outputs, the record of the run that made them, and whether a later run may replace or continue it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from attrib._typed import command
from attrib.engine.model.parameters import weights
from attrib.io import load, replacing, write_json
from attrib.io.place import Lock, read_json, sweep

RECORD, PARTS, LOCK = "run.json", "parts", ".lock.json"
PACKAGES = ("attrib", "torch", "numpy", "xarray", "netCDF4", "matplotlib", "scikit-learn")
OF_SAMPLES = (".png", ".json", ".npy")  # files of one sample
CAUSES = ("attrib", "torch")  # packages whose versions results depend on most
REFUSALS = (
    ValueError,
    TypeError,
    NotImplementedError,
    ImportError,
    OSError,
)  # what arguments, files and models raise


class Folder:
    """The folder of a run and its `run.json`; one process at a time writes to it.

    Parameters
    ----------
    path : str or path
    program : str
        The command's name, such as `"attrib sequence"`. Folders of another program are refused.
    settings : mapping, optional
        With settings an earlier run in the folder is continued if these are equal, and its parts are kept. Without, it is replaced.
    overwrite : bool
        Whether to replace an earlier run, or to begin anew with other settings.
    folders : sequence of str
        Created inside.
    log : str, optional
        A file inside, for the lines of `note`.

    Raises
    ------
    ValueError
        If the folder holds other files, a run that must not be replaced, or one with other settings or versions of attrib or torch; if
        another process is writing to it, naming the process and its host.

    Notes
    -----
    As a context manager it records how the run ended: `state` is `"running"`, `"finished"`, `"interrupted"` or `"failed"`. Without
    settings the folder is made with the first file, so that a run that fails earlier leaves nothing and takes nothing away; with
    settings it is made when the context is entered, and removed where the run is refused before it wrote anything. Temporary files that a killed run left are removed. Of an earlier run that is
    continued, files that the new one does not write are removed when it has finished.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        program: str = "attrib",
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        folders: Sequence[str] = (),
        log: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.settings = None if settings is None else plain_settings(settings)
        self._overwrite, self._folders, self._log, self._open = overwrite, folders, log, False
        self._is_new = False
        self._lock = Lock(self.path / LOCK, self.path)
        self.files: list[str] = []
        self.record: dict[str, Any] = {
            "program": program,
            "command": shlex.join(command.get()),
            "state": "running",
            "started": now(),
            "versions": versions(),
            "platform": platform.platform(),
        }
        if self.settings is not None:
            self.record["settings"] = self.settings
        self._earlier = self._of_earlier()
        self._start = time.perf_counter()

    @property
    def parts(self) -> Path:
        """Where the finished parts of a run with settings are."""
        return self.path / PARTS

    def file(self, name: str) -> Path:
        """The path of an output; it is added to the list of files."""
        self._begin()
        if name not in self.files:
            self.files.append(name)
            if self.settings is None:
                self.write()
        return self.path / name

    def picture(self, name: str, figure: Any) -> str:
        """Write a figure whole or not at all; returns the name."""
        save_picture(figure, self.file(name))
        return name

    def text(self, name: str, content: str) -> str:
        """Write a text whole or not at all; returns the name."""
        with replacing(self.file(name)) as temporary:
            temporary.write_text(content, encoding="utf-8")
        return name

    def note(self, line: str, level: str = "INFO") -> None:
        """Add a line to the log, if there is one."""
        if self._log is not None:
            with (self.path / self._log).open("a", encoding="utf-8") as stream:
                stream.write(f"{now()} {level} {line}\n")

    def write(self) -> None:
        """Bring `run.json` up to date, if the folder exists."""
        if self._open:
            seconds = round(time.perf_counter() - self._start, 3)
            old = [f for f in self._earlier if f not in self.files]
            content = {"seconds": seconds} | self.record | {"files": [*old, *self.files]}
            write_json(content, self.path / RECORD)

    def __enter__(self) -> Self:
        self._lock.refuse()
        if self.settings is not None:
            self._begin()
        return self

    def _begin(self) -> None:
        if self._open:
            return
        self._is_new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._earlier = self._of_earlier()  # again: nobody else writes now
            sweep(self.path)
            if self.settings is None or self._overwrite:
                for name in self._earlier:
                    (self.path / name).unlink(missing_ok=True)
                if self.settings is not None:
                    self._remove_samples()
                self._earlier = []
            for folder in (*((PARTS,) if self.settings is not None else ()), *self._folders):
                (self.path / folder).mkdir(exist_ok=True)
            self._open = True
            self.write()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if not self._open:
            return
        if self._is_new and kind is not None and issubclass(kind, REFUSALS) and self._holds_nothing():
            self._lock.release()
            shutil.rmtree(self.path)
            return
        self.record["state"] = _ended(kind)
        self.record["ended"] = now()
        self.note(*(("finished",) if kind is None else (f"stopped: {kind.__name__}: {error}", "ERROR")))
        if kind is None:
            for name in set(self._earlier) - set(self.files):
                (self.path / name).unlink(missing_ok=True)
        self._earlier = [f for f in self._earlier if (self.path / f).exists()]
        self.files[:] = [f for f in self.files if (self.path / f).exists()]
        try:
            self.write()
        finally:
            self._lock.release()

    def _remove_samples(self) -> None:
        """Remove the parts of an earlier run, and the files that are called as a part and go on with an underscore."""
        names = {p.stem for p in self.parts.glob("*")}
        for file in self.path.rglob("*_*") if names else ():
            ends = [k for k, c in enumerate(file.name) if c == "_"]
            if file.suffix in OF_SAMPLES and any(file.name[:k] in names for k in ends):
                file.unlink(missing_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)

    def _holds_nothing(self) -> bool:
        of_runs = {self.path / name for name in (RECORD, LOCK, self._log or RECORD)}
        return all(p.is_dir() or p in of_runs for p in self.path.rglob("*"))

    def _of_earlier(self) -> list[str]:
        """Files of an earlier run, if this one may replace or continue it."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"`output` is {self.path}, which is a file; name a folder")
        above = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not above.is_dir():
            raise ValueError(f"`output` is {self.path}, but {above} is a file; name a folder")
        if not os.access(above, os.W_OK):
            raise ValueError(
                f"`output` is {self.path}, but {above} may not be written to; name another place"
            )
        if not self.path.exists() or all(p.name == LOCK for p in self.path.iterdir()):
            return []
        record = read_json(self.path / RECORD)
        earlier = record if isinstance(record, dict) else {}
        if earlier.get("program") != self.record["program"]:
            theirs = str(earlier.get("program", ""))
            held = f"a run of {theirs}" if theirs.startswith("attrib") else "files that are not attrib's"
            raise ValueError(f"`output` is {self.path}, which holds {held}; name a new or an empty folder")
        if self.settings is None and not self._overwrite:
            raise ValueError(
                f"`output` is {self.path}, which holds a run of {earlier.get('started', 'an unknown time')} "
                f"({earlier.get('state', 'unknown')}); name another folder, or add `overwrite=True` to replace it"
            )
        other = self._other(earlier)
        if other and any(self.parts.glob("*")):
            raise ValueError(
                f"`output` is {self.path}, which holds a run with other {', '.join(other)}; name another folder, or add "
                "`overwrite=True` to begin anew"
            )
        listed = [str(f) for f in earlier.get("files", [])]
        return [f for f in listed if not Path(f).is_absolute() and ".." not in Path(f).parts]

    def _other(self, earlier: Mapping[str, Any]) -> list[str]:
        """Settings and versions in which an earlier run differs, if it is to be continued."""
        if self.settings is None or self._overwrite:
            return []
        theirs, before = earlier.get("settings") or {}, earlier.get("versions") or {}
        current = self.record["versions"]
        return [k for k in {**self.settings, **theirs} if theirs.get(k) != self.settings.get(k)] + [
            f"version of {p} ({before[p]}, now {current[p]})"
            for p in CAUSES
            if before.get(p, current[p]) != current[p]
        ]


def _ended(kind: type[BaseException] | None) -> str:
    """The state of a run that ended with this error, or with none."""
    if kind is None:
        return "finished"
    return "interrupted" if issubclass(kind, KeyboardInterrupt) else "failed"


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are read again from `run.json`."""
    return dict(json.loads(json.dumps(dict(settings), default=str)))


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    return {p: version(p) for p in PACKAGES} | {"python": platform.python_version()}


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_mapping(file: Path, argument: str) -> dict[str, Any]:
    """Names and values in a file of JSON.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it holds something else.
    """
    if not file.is_file():
        raise FileNotFoundError(f"`{argument}`: there is no file {file}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`{argument}` cannot be loaded: {file} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"`{argument}` cannot be loaded: {file} is a {type(content).__name__}, expected a mapping")  # fmt: skip
    return content


def save_picture(figure: Any, path: Path) -> None:
    """Write a figure whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary)


def earlier_part(part: Path) -> Any:
    """What an earlier run wrote; None where there is no file, or a torn one."""
    try:
        return load(part) if part.is_file() else None
    except (OSError, ValueError, KeyError):
        return None


def picture_count(pictures: int | str) -> int | None:
    """How many samples get pictures; None for all.

    Raises
    ------
    ValueError
        Unless it is a number, "all" or "none".
    """
    if pictures in ("all", "none"):
        return None if pictures == "all" else 0
    if isinstance(pictures, bool) or not str(pictures).isdecimal():
        raise ValueError(f"`pictures` is {pictures!r}, expected a number, all or none")
    return int(pictures)


def refuse_below_one(**numbers: int | None) -> None:
    """Refuse counts that are not positive, each by its argument's name; None is no count."""
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ValueError(f"`{name}` is {value}, expected a positive number")


def digest(model: Callable[..., Any]) -> str:
    """A short digest of the weights of a module or function; empty if it has none that Python can see."""
    sha256 = hashlib.sha256()
    count = 0
    for value in weights(model):
        sha256.update(str(tuple(value.shape)).encode())
        sha256.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        count += 1
    return sha256.hexdigest()[:20] if count else ""


def fingerprint(file: Path) -> str:
    """A short digest of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def stamp(*paths: Path | None) -> str:
    """Sizes and times of files, by which a change is noticed."""
    facts = [path.stat() for path in paths if path is not None]
    return " ".join(f"{f.st_size} {f.st_mtime_ns}" for f in facts)


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the time of the block to `seconds`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
