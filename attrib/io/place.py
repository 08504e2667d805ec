"""Files that appear whole or not at all, and JSON among them."""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
