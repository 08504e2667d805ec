"""Images of cells: files, folders, and folders per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.preparation import pillow_module

SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff")

TWELVE_BIT = 4096


class Found(NamedTuple):
    """An image file.

    Attributes
    ----------
    path : Path
    name : str
        Unique among the images found; the beginning of its results' file names.
    label : str or None
        The folder it lies in, where folders stand for classes.
    """

    path: Path
    name: str
    label: str | None


def find_images(images: str | Path | Sequence[str | Path]) -> list[Found]:
    """The images in files, folders, and folders with a folder per class.

    Parameters
    ----------
    images : path or sequence of path
        Files (.bmp, .png, .jpg, .tif) and folders. The folders inside a folder are classes.

    Returns
    -------
    list of Found
        In the order given, folders sorted by name.

    Raises
    ------
    FileNotFoundError
        For a path that does not exist.
    ValueError
        If there are no images.
    """
    given = [images] if isinstance(images, str | Path) else list(images)
    found: list[tuple[Path, str | None]] = []
    for path in map(Path, given):
        if path.is_dir():
            found += [(p, None) for p in _in(path)]
            found += [(p, folder.name) for folder in _folders(path) for p in _in(folder)]
        elif path.exists():
            found.append((path, None))
        else:
            raise FileNotFoundError(f"`images`: there is no {path}")
    if not found:
        raise ValueError(f"`images`: no {', '.join(SUFFIXES)} in {', '.join(map(str, given))}")
    return [Found(p, n, label) for (p, label), n in zip(found, _names(found), strict=True)]


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _in(folder: Path) -> list[Path]:
    """Images by name, links that lead nowhere too: what cannot be read is to be listed. Hidden files are no images."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not p.is_dir()
    )


def _names(found: Sequence[tuple[Path, str | None]]) -> list[str]:
    """Stems where those differ, else with what tells them apart: class, suffix, number."""
    ways = [
        [p.stem for p, _ in found],
        [f"{label}_{p.stem}" if label else p.stem for p, label in found],
        [f"{label}_{p.stem}_{p.suffix[1:]}" if label else f"{p.stem}_{p.suffix[1:]}" for p, label in found],
    ]
    numbered = [f"{k:05d}_{p.stem}" for k, (p, _) in enumerate(found)]
    return next((way for way in ways if len({n.lower() for n in way}) == len(way)), numbered)


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """16 bit as 8; refuses what would become black."""
    most = int(values.max(initial=0))
    if 0 < most < TWELVE_BIT:
        raise ValueError(
            f"its brightest value is {most} of 65535, as cameras of 12 bit and less save it; stretch the values to 16 bit"
        )
    return (values / 257).round().astype(np.uint8)


def read_image(path: str | Path) -> xr.DataArray:
    """An image file as RGB.

    Parameters
    ----------
    path : path
        A file that Pillow reads: 8 or 16 bit, grey, colour, palette or with transparency; the first page. Turned as
        its EXIF orientation says.

    Returns
    -------
    DataArray
        Dims y, x, channel; unsigned 8 bit; coords y and x in pixels.

    Raises
    ------
    ValueError
        If it cannot be read, with the reason.
    """
    pillow = pillow_module()
    try:
        with pillow.Image.open(path) as file:
            image = pillow.ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):
                image = pillow.Image.fromarray(_eight_bit(np.asarray(image)))
            elif image.mode in ("I", "F"):
                raise ValueError(f"pixels of mode {image.mode}, expected 8 or 16 bit")
            values = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, pillow.Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no image that can be read: {error}") from error
    y, x = (np.arange(n) for n in values.shape[:2])
    coords = {"y": ("y", y, {"units": "pixel"}), "x": ("x", x, {"units": "pixel"}), "channel": list("RGB")}
    return xr.DataArray(values, dims=("y", "x", "channel"), coords=coords)
