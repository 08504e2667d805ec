"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    temporary = final.with_name(f".{final.stem}-{uuid.uuid4().hex[:8]}{final.suffix}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
