"""What a file claims, looked at before a library believes it: sizes, names inside, Python objects, and codecs that would run code."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from attrib._arguments import refuse_what_cannot_fit

CODECS = {  # of Zarr, versions 2 and 3; `pickle` and codecs of other packages run code
    "adler32", "astype", "base64", "bitround", "blosc", "bytes", "bz2", "cast_value", "categorize", "checksum", "crc32", "crc32c", "default", "delta",
    "endian",     "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "json2", "lz4", "lzma", "msgpack2", "packbits", "pcodec", "quantize", "regular",
    "scale_offset", "sharding_indexed", "shuffle", "transpose", "v2", "vlen-array", "vlen-bytes", "vlen-utf8", "zfpy", "zlib", "zstd",
}  # fmt: skip
PREFIX = "numcodecs."
DESCRIPTIONS = (".zarray", ".zmetadata", "zarr.json")
OBJECTS = "it holds Python objects, whose pickle could run code and is not opened; save numbers or text, as by values.astype(float)"


def numbers(file: Path) -> np.ndarray:
    """The array of a `.npy` file.

    Raises
    ------
    ValueError
        For Python objects, whose pickle is not opened, and for a header that claims more than the file holds.
    """
    with file.open("rb") as raw:
        shape, kind = _header(raw)
        claimed = raw.tell() + prod(shape) * kind.itemsize
    if kind.hasobject:
        raise ValueError(OBJECTS)
    if claimed > file.stat().st_size:
        raise ValueError(
            f"its header says {shape} of {kind}, {claimed:,} bytes, but it has {file.stat().st_size:,}"
        )
    return np.load(file, allow_pickle=False)


def member(arrays: Any, name: str) -> np.ndarray:
    """An array of a `.npz` file that NumPy has opened.

    Raises
    ------
    ValueError
        For Python objects, whose pickle is not opened.
    """
    try:
        return arrays[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(f"its array {name!r}: {OBJECTS}") from error


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


def refuse_codecs(store: Path | Mapping[str, Any]) -> None:
    """Refuse a Zarr store that is packed by codecs which run code when they unpack.

    Of a store at an address (`s3://`, `https://`) its arrays are given as Zarr has opened them: what is looked at is what will be read,
    whatever the server answers the next time.

    Raises
    ------
    ValueError
        Naming the codec. Plain codecs of Zarr and numcodecs are read.
    """
    if isinstance(store, Path):
        described = (
            (str(path.relative_to(store)), description) for path, description in _descriptions(store)
        )
    else:
        described = ((name, a.metadata.to_dict()) for name, a in store.items() if hasattr(a, "chunks"))
    for place, description in described:
        for codec in _codecs(description):
            if codec.removeprefix(PREFIX) not in CODECS:
                raise ValueError(
                    f"{place} asks for the codec {codec!r}, which is not run; write it again with "
                    "numbers and text only"
                )


def is_consolidated(store: Path) -> bool:
    """Whether a Zarr group has the descriptions of all its arrays in one place."""
    if (store / ".zmetadata").is_file():
        return True
    described = store / "zarr.json"
    if not described.is_file():
        return False
    return json.loads(described.read_text(encoding="utf-8")).get("consolidated_metadata") is not None


def is_bare(store: Path) -> bool:
    """Whether a Zarr store has arrays without names of their dims: a single array, or a group of such."""
    arrays = [(p, d) for p, d in _descriptions(store) if p.name == ".zarray" or (p.name == "zarr.json" and d.get("node_type") == "array")]  # fmt: skip
    if any(p.parent == store for p, _ in arrays):
        return True
    return bool(arrays) and not any(_has_names(p, d) for p, d in arrays)


def _has_names(path: Path, description: Any) -> bool:
    if path.name == "zarr.json":
        return any(n is not None for n in description.get("dimension_names") or [None])
    attributes = path.with_name(".zattrs")
    return attributes.is_file() and "_ARRAY_DIMENSIONS" in json.loads(attributes.read_text(encoding="utf-8"))


def _descriptions(folder: Path) -> Iterator[tuple[Path, Any]]:
    """The descriptions of a group and all below it; folders of chunks are not listed."""
    descriptions = {n: json.loads((folder / n).read_text(encoding="utf-8")) for n in DESCRIPTIONS if (folder / n).is_file()}  # fmt: skip
    yield from ((folder / n, d) for n, d in descriptions.items())
    # a folder may say that it is both, and Zarr believes either
    if not _is_array(descriptions) or _is_group(folder, descriptions):
        for below in sorted(p for p in folder.iterdir() if p.is_dir()):
            yield from _descriptions(below)


def _is_array(descriptions: dict[str, Any]) -> bool:
    return ".zarray" in descriptions or descriptions.get("zarr.json", {}).get("node_type") == "array"


def _is_group(folder: Path, descriptions: dict[str, Any]) -> bool:
    named = descriptions.get("zarr.json", {}).get("node_type") == "group"
    return named or ".zmetadata" in descriptions or (folder / ".zgroup").is_file()


def _codecs(description: Any) -> Iterator[str]:
    """Names of the codecs in the description of an array, at any depth."""
    if isinstance(description, list):
        for part in description:
            yield from _codecs(part)
    if isinstance(description, dict):
        for key, value in description.items():
            if key in ("filters", "compressor", "codecs", "compressors", "serializer", "index_codecs"):
                yield from _named(value)
            elif key != "attributes":
                yield from _codecs(value)


def _named(value: Any) -> Iterator[str]:
    for codec in value if isinstance(value, list) else [value]:
        if isinstance(codec, dict):
            yield str(codec.get("id", codec.get("name", "")))
            yield from _codecs(codec.get("configuration"))
        elif isinstance(codec, str):
            yield codec
