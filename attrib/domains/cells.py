"""Images of cells: files, folders, and folders per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.preparation import pillow_module

SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
FORMATS = (
    "BMP",
    "PNG",
    "JPEG",
    "TIFF",
)  # all that Pillow may open: others run programs (EPS) or are seldom looked after

TWELVE_BIT = 4096


class ImageFile(NamedTuple):
    """An image file.

    Attributes
    ----------
    path : Path
    name : str
        Unique among the images of a call, so that result files can be named after it.
    label : str or None
        The folder that contains it, where folders stand for classes.
    """

    path: Path
    name: str
    label: str | None


def find_images(images: str | Path | Sequence[str | Path]) -> list[ImageFile]:
    """Find the images in files, folders, and folders with a folder per class.

    Parameters
    ----------
    images : path or sequence of path
        Files (.bmp, .png, .jpg, .tif) and folders. The folders inside a folder are classes.

    Returns
    -------
    list of ImageFile
        In the order of `images`; the files of a folder are sorted by name.

    Raises
    ------
    FileNotFoundError
        For a path that does not exist.
    ValueError
        If there are no images.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.cells import find_images
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "RBC").mkdir()
    >>> (folder / "RBC" / "a.png").touch()
    >>> [(image.name, image.label) for image in find_images(folder)]
    [('a', 'RBC')]
    """
    paths = [images] if isinstance(images, str | Path) else list(images)
    labelled: list[tuple[Path, str | None]] = []
    for path in map(Path, paths):
        if path.is_dir():
            labelled += [(p, None) for p in _images_in(path)]
            classes = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
            labelled += [(p, folder.name) for folder in classes for p in _images_in(folder)]
        elif path.exists():
            labelled.append((path, None))
        else:
            raise FileNotFoundError(f"`images`: there is no {path}")
    if not labelled:
        raise ValueError(f"`images`: no {', '.join(SUFFIXES)} in {', '.join(map(str, paths))}")
    return [ImageFile(p, n, label) for (p, label), n in zip(labelled, _names(labelled), strict=True)]


def _images_in(folder: Path) -> list[Path]:
    """Images by name, without hidden files. Dead links are included, so that a study lists them as unreadable."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not p.is_dir()
    )


def _names(images: Sequence[tuple[Path, str | None]]) -> list[str]:
    """The stems; where some are equal, with the class, then with the suffix too, and at last with a number."""
    candidates = [
        [p.stem for p, _ in images],
        [f"{label}_{p.stem}" if label else p.stem for p, label in images],
        [f"{label}_{p.stem}_{p.suffix[1:]}" if label else f"{p.stem}_{p.suffix[1:]}" for p, label in images],
    ]
    numbered = [f"{k:05d}_{p.stem}" for k, (p, _) in enumerate(images)]
    return next((names for names in candidates if len({n.lower() for n in names}) == len(names)), numbered)


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """16 bit as 8 bit. Images that would become black are refused."""
    most = int(values.max(initial=0))
    if 0 < most < TWELVE_BIT:
        raise ValueError(
            f"its brightest value is {most} of 65535, as cameras of 12 bit and less save it; stretch the values to 16 bit"
        )
    return (values / 257).round().astype(np.uint8)


def read_image(path: str | Path) -> xr.DataArray:
    """Read an image file as RGB.

    Parameters
    ----------
    path : path
        BMP, PNG, JPEG or TIFF, by its content, whatever its suffix: 8 or 16 bit, grey, colour, palette or with transparency. Of several pages the first
        is read. The image is turned as its EXIF orientation says.

    Returns
    -------
    DataArray
        Dims y, x, channel; unsigned 8 bit; coords y and x in pixels.

    Raises
    ------
    ValueError
        If it cannot be read, with the reason.
    ImportError
        If Pillow is missing.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.cells import read_image
    >>> from PIL import Image
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.png"
    >>> picture = Image.new("RGB", (2, 1), "red")
    >>> picture.putpixel((1, 0), (0, 0, 255))
    >>> picture.save(path)
    >>> read_image(path).values.tolist()
    [[[255, 0, 0], [0, 0, 255]]]
    """
    pillow = pillow_module()
    try:
        with pillow.Image.open(path, formats=FORMATS) as file:
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
