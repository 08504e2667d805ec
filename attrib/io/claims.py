"""What a file claims, looked at before a library believes it: sizes, and names inside."""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from attrib._memory import refuse_what_cannot_fit


def numbers(file: Path) -> np.ndarray:
    """The array of a `.npy` file.

    Raises
    ------
    ValueError
        For Python objects, and for a header that claims more than the file holds.
    """
    with file.open("rb") as raw:
        shape, kind = _header(raw)
        claimed = raw.tell() + prod(shape) * kind.itemsize
    if not kind.hasobject and claimed > file.stat().st_size:
        raise ValueError(
            f"its header says {shape} of {kind}, {claimed:,} bytes, but it has {file.stat().st_size:,}"
        )
    return np.load(file, allow_pickle=False)


def _header(raw: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(raw)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(raw)
    return shape, kind


def refuse_members(file: Path) -> None:
    """Refuse a zip file whose members cannot be unpacked in memory, or lead out of it.

    Raises
    ------
    ValueError
        Naming the member.
    """
    with zipfile.ZipFile(file) as archive:
        size = 0
        for member in archive.infolist():
            if member.filename.startswith(("/", "\\")) or ".." in PurePosixPath(member.filename).parts:
                raise ValueError(f"its member {member.filename!r} lies outside of the archive")
            size += member.file_size
            refuse_what_cannot_fit(size, "path", f"{file.name}, unpacked up to {member.filename!r},")
