"""Files that appear whole or not at all."""

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

from attrib.io import netcdf
from attrib.io.netcdf import Labelled


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


# FOLDED attrib/io/place.py: """Files that grow with a run: results added one by one, and the record of the run."""
def add_group(a: Labelled, path: str | os.PathLike[str], group: str) -> Path:
    """Add a result to a netCDF file of several, whole or not at all.

    Parameters
    ----------
    a : DataArray or Dataset
        The result; lazy ones are computed.
    path : str or path
        The file, made if there is none.
    group : str
        The entry's name, not in the file yet.

    Returns
    -------
    Path
        The file; ``load(path)`` gives a dict of all entries.

    Raises
    ------
    ValueError
        If the file has that entry.

    Notes
    -----
    A copy is extended and renamed, so what was finished before stays valid whatever happens.
    """
    final = Path(path)
    names = netcdf.group_names(final) if final.exists() else []
    if group in names:
        raise ValueError(f"{final.name} has a group {group!r} already; choose another name")
    computed = a.compute()
    with replacing(final) as temporary:
        if final.exists():
            shutil.copyfile(final, temporary)
        netcdf.name_groups(temporary, [*names, group])
        netcdf.write(computed, temporary, group=group, append=True)
    return final


def strict(value: Any) -> Any:
    """A value as strict JSON has it: what is not a finite number becomes null."""
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(content: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a mapping as readable JSON, whole or not at all; what JSON lacks becomes text.

    Returns
    -------
    Path
        The file.
    """
    text = json.dumps(dict(content), indent=2, default=str, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)
