"""Images of cells: files, folders, and folders per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib._claims import numbers
from attrib.domains.processors import pillow_module

SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
FORMATS = (
    "BMP",
    "PNG",
    "JPEG",
    "TIFF",
)  # all that Pillow may open: others run programs (EPS) or are seldom looked after

RECORD = "run.json"  # in every folder of results
OTHERS = (
    ".webp",
    ".gif",
    ".jp2",
    ".jfif",
    ".ppm",
    ".pgm",
    ".svg",
    ".heic",
    ".czi",
    ".nd2",
    ".lif",
    ".svs",
    ".ndpi",
    ".eps",
)


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
        Files (.bmp, .png, .jpg, .tif) and folders. The folders inside a folder are classes, but for those with the results of a run.

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
            classes = sorted(
                p
                for p in path.iterdir()
                if p.is_dir() and not p.name.startswith(".") and not (p / RECORD).exists()
            )
            labelled += [(p, folder.name) for folder in classes for p in _images_in(folder)]
        elif path.exists():
            labelled.append((path, None))
        else:
            raise FileNotFoundError(f"`images`: there is no image or folder {path}")
    if not labelled:
        raise ValueError(
            f"`images`: there is no {', '.join(SUFFIXES)} in {', '.join(map(str, paths))}{_deeper(paths)}"
        )
    files = [p.absolute() for p, _ in labelled]
    if len(set(files)) < len(files):
        raise ValueError(f"`images` has {next(f for f in files if files.count(f) > 1)} twice")
    return [ImageFile(p, n, label) for (p, label), n in zip(labelled, _names(labelled), strict=True)]


def _deeper(folders: Sequence[str | Path]) -> str:
    """A hint at images further down, which are no class's."""
    for folder in map(Path, folders):
        for place in sorted(p for p in folder.glob("*/*") if p.is_dir()) if folder.is_dir() else ():
            if _images_in(place):
                return f"; there are some in {place}: pass {place.parent}"
    return ""


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


def left_out(images: str | Path | Sequence[str | Path]) -> dict[str, str]:
    """What `find_images` does not take in folders, and why: files of other formats or in folders too deep, and results of runs.

    Parameters
    ----------
    images : path or sequence of path
        As for `find_images`.

    Returns
    -------
    dict of str to str
        Reasons by path. Of files only those that look like images are listed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.cells import left_out
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "a.webp").touch()
    >>> list(left_out(folder).values())
    ['.webp is no format that is read: .bmp, .png, .jpg, .jpeg, .tif, .tiff']
    """
    reasons: dict[str, str] = {}
    paths = [images] if isinstance(images, str | Path) else list(images)
    for folder in (p for p in map(Path, paths) if p.is_dir()):
        runs = {p.parent for p in folder.rglob(RECORD)} - {folder}
        reasons |= {
            str(p): "it holds the results of a run; its pictures are no samples" for p in sorted(runs)
        }
        for path in sorted(
            p
            for p in folder.rglob("*")
            if p.is_file() and not any(n.startswith(".") for n in p.relative_to(folder).parts)
        ):
            if not runs.isdisjoint(path.parents):
                continue
            depth, suffix = len(path.relative_to(folder).parts), path.suffix.lower()
            if suffix in OTHERS:
                reasons[str(path)] = f"{suffix} is no format that is read: {', '.join(SUFFIXES)}"
            elif suffix in SUFFIXES and depth > 2:
                reasons[str(path)] = (
                    f"it lies {depth - 1} folders deep; folders inside a folder are classes, and no deeper ones are read"
                )
    return reasons


def _bits(path: Path, file: Any) -> int:
    """Bits of a value in the file: Pillow's modes do not tell, as colours of 16 bit are opened as their upper 8."""
    if file.format == "PNG":
        with path.open("rb") as raw:
            return raw.read(26)[24]
    return max(np.ravel(file.tag_v2.get(258, 8))) if file.format == "TIFF" else 8  # BitsPerSample


def _is_negative(file: Any) -> bool:
    """Whether zero is white, in a TIFF of 16 bit: Pillow turns images of 1 to 8 bit around, and these not."""
    return file.format == "TIFF" and file.mode.startswith("I;16") and file.tag_v2.get(262) == 0  # WhiteIsZero


def _eight_bit(values: np.ndarray, bits: int) -> np.ndarray:
    """12 or 16 bit as 8 bit. Images that would become black are refused."""
    _refuse_dark(int(values.max(initial=0)), bits, "is")
    return (values / ((2**bits - 1) / 255)).round().astype(np.uint8)


def _refuse_dark(most: int, bits: int, verb: str) -> None:
    """Refuse an image that uses a sixteenth of its range: it would become black.

    Raises
    ------
    ValueError
        Naming the brightest value.
    """
    if bits > 8 and 0 < most < 2 ** (bits - 4):
        raise ValueError(
            f"its brightest value {verb} {most} of {2**bits - 1}, as cameras of 12 bit and less save it; "
            f"stretch the values to {bits} bit"
        )


def read_mask(path: str | Path) -> xr.DataArray:
    """Read a mask of labels: nonzero where the cell is, in any type of integers or floats.

    Parameters
    ----------
    path : path
        PNG, BMP, JPEG or TIFF, also with 32-bit integers or floats; `.npy`.

    Returns
    -------
    DataArray
        Dims y, x; booleans.

    Raises
    ------
    ValueError
        If it cannot be read, with the reason; for TIFF files of more than two labels of which zero is white.

    Notes
    -----
    A TIFF with two values of which zero is white (MinIsWhite, as tifffile saves booleans) has its cell where it is black: so says the
    format. The share of pixels inside (`mass_inside_chance`) shows a mask that was meant the other way round.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from attrib.domains.cells import read_mask
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(path, np.array([[0.0, 2.0]]))
    >>> read_mask(path).values.tolist()
    [[False, True]]
    """
    values = _labels(path)
    return values.copy(data=values.values != 0)


def read_compartments(path: str | Path, names: Sequence[str]) -> xr.DataArray:
    """Read a mask whose values stand for compartments: 0 for the background, 1, 2, ... for those in `names`.

    Parameters
    ----------
    path : path
        As for `read_mask`.
    names : sequence of str
        Of the values from 1 on, such as ``["nucleus", "cytoplasm"]``.

    Returns
    -------
    DataArray
        Dims compartment, y, x; booleans. The first compartment is `background`.

    Raises
    ------
    ValueError
        If it cannot be read, or has values without a name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.npy"
    >>> np.save(path, np.array([[0, 1, 2, 2]]))
    >>> read_compartments(path, ["nucleus", "cytoplasm"]).sum(("y", "x")).values.tolist()
    [1, 1, 2]
    """
    labels = _labels(path)
    strange = [v for v in np.unique(labels.values).tolist() if v not in range(len(names) + 1)]
    if strange:
        raise ValueError(
            f"{path} has the value {strange[0]:g}, but `compartments` has names for 1 to {len(names)}: {', '.join(names)}"
        )
    return (
        (labels == xr.DataArray(np.arange(len(names) + 1), dims="compartment"))
        .transpose("compartment", "y", "x")
        .assign_coords(compartment=["background", *names])
    )


def _labels(path: str | Path) -> xr.DataArray:
    """The numbers of a mask (y, x); of several channels the largest, of palettes their colours."""
    pillow = pillow_module()
    try:
        if Path(path).suffix.lower() == ".npy":
            values = numbers(Path(path))
        else:
            with pillow.Image.open(path, formats=FORMATS) as file:
                image = pillow.ImageOps.exif_transpose(file)
                image = (
                    image.convert("RGB")
                    if image.mode == "P"
                    else image.convert("L")
                    if image.mode == "LA"
                    else image
                )
                values = np.asarray(image)
                values = values[..., :3] if image.mode == "RGBA" else values
                if file.format == "TIFF" and file.tag_v2.get(262) == 0:
                    values = _black_inside(values, _is_negative(file))
    except (OSError, SyntaxError, ValueError, pillow.Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no mask that can be read: {error}") from error
    if values.ndim == 3:
        values = values.max(2)
    if values.ndim != 2 or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise ValueError(
            f"{path} is no mask that can be read: {values.dtype} of shape {values.shape}, expected finite numbers (y, x)"
        )
    y, x = (np.arange(n) for n in values.shape)
    return xr.DataArray(values, dims=("y", "x"), coords={"y": y, "x": x})


def _black_inside(values: np.ndarray, as_stored: bool) -> np.ndarray:
    """Where a mask is black, of whose file zero is white; Pillow has turned 1 to 8 bits around already."""
    if len(np.unique(values)) > 2:
        raise ValueError(
            "labels of which zero is white (MinIsWhite): is zero the cell, or what is around it? Save them with zero as black"
        )
    return values < values.max() if as_stored else values > values.min()


def read_image(path: str | Path) -> xr.DataArray:
    """Read an image file as RGB.

    Parameters
    ----------
    path : path
        BMP, PNG, JPEG or TIFF, by its content, whatever its suffix: 8 or 16 bit, grey, colour, palette or with transparency, and TIFF of 12 bit. Of several
        pages the first is read. A TIFF of which zero is white is turned around. The image is turned as its EXIF orientation says.

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
            image, bits = pillow.ImageOps.exif_transpose(file), _bits(Path(path), file)
            if image.mode.startswith("I;16") or (image.mode == "I" and file.format == "PNG"):
                grey = _eight_bit(np.asarray(image), bits)
                image = pillow.Image.fromarray(255 - grey if _is_negative(file) else grey)
            elif image.mode in ("I", "F"):
                raise ValueError(f"pixels of mode {image.mode}, expected 8 or 16 bit")
            elif bits > 8 and image.mode != "CMYK":  # in which dark is much ink
                colours = image.split()[: 1 if image.mode == "LA" else 3]
                _refuse_dark(256 * max(c.getextrema()[1] for c in colours) + 255, bits, "is at most")
            values = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, pillow.Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no image that can be read: {error}") from error
    y, x = (np.arange(n) for n in values.shape[:2])
    coords = {"y": ("y", y, {"units": "pixel"}), "x": ("x", x, {"units": "pixel"}), "channel": list("RGB")}
    return xr.DataArray(values, dims=("y", "x", "channel"), coords=coords)
