"""NIfTI in and out: images as DataArrays with their affine, attributions as images in the input's own grid."""

from __future__ import annotations

import importlib
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attrib._arguments import plain, refuse_what_cannot_fit, shown
from attrib._install import install_hint
from attrib._public import public
from attrib.io.place import replacing
from attrib.labels.grids import AFFINE, CLOSE, VOXEL_DIMS, affine_coord, affine_of, checked_affine

SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".hdr", ".img")


@public
def from_nifti(
    images: Any,
    *,
    volume: int | str = 0,
    channel: bool = True,
    orientation: str | None = None,
    lazy: bool = False,
) -> xr.DataArray:
    """Images as a labelled input of a model.

    Parameters
    ----------
    images : path, image of nibabel, or sequence of these
        All on one grid: shapes and affines are compared, to 0.001 mm.
    volume : int or "all", default 0
        Of images of four dims: which one; all of them are channels.
    channel : bool, default True
        Whether there is a dim of channels, as models of images expect it.
    orientation : str, optional
        Such as ``"RAS"``: axes are permuted and flipped so that they run to the right, to anterior and to superior.
        Default: as they are stored.
    lazy : bool, default False
        Whether each image is read when it is needed. Takes Dask.

    Returns
    -------
    DataArray
        Dims sample, channel, i, j, k; float32, scaled as the header says. Labels of i, j and k are voxel indices. The coord
        `affine` has the sixteen numbers that lead from them to mm, as text, and goes along into results and files.

    Raises
    ------
    FileNotFoundError, ValueError
        For files that cannot be read, other grids, affines that are not invertible, colours, and more than four dims.
    ImportError
        If nibabel is missing: ``pip install -e '.[mri]'``.

    Notes
    -----
    NIfTI-1, NIfTI-2 and MGH, compressed or not, of either byte order, are read by nibabel.

    Examples
    --------
    >>> import pytest
    >>> nibabel = pytest.importorskip("nibabel")
    >>> import numpy as np
    >>> from attrib.io import from_nifti
    >>> image = nibabel.Nifti1Image(np.ones((4, 5, 6), "float32"), np.diag([2.0, 2.0, 2.0, 1.0]))
    >>> from_nifti(image).sizes["k"]
    6
    """
    several = list(images) if isinstance(images, list | tuple) else [images]
    if not several:
        raise ValueError("`images` is empty, expected at least one image")
    opened = [oriented(open_image(image), orientation) for image in several]
    affine, shape = checked_affine(opened[0].affine), _shape(opened[0], name_of(several[0]))
    for image, source in zip(opened, several, strict=True):
        refuse_other_grid(image, affine, shape, name_of(source), name_of(several[0]))
    chosen = [_volume(image, volume, name_of(source)) for image, source in zip(opened, several, strict=True)]
    values = _lazily(opened, chosen, shape) if lazy else np.stack([numbers(i, c) for i, c in zip(opened, chosen, strict=True)])  # fmt: skip
    names = [name_of(s) for s in several]
    a = xr.DataArray(values, dims=("sample", "channel", *VOXEL_DIMS), name="image").assign_coords(
        {d: np.arange(n) for d, n in zip(VOXEL_DIMS, shape, strict=True)} | {AFFINE: affine_coord(affine)}
    )
    if len(set(names)) == len(names):
        a = a.assign_coords(sample=names)
    if channel:
        return a
    if a.sizes["channel"] > 1:
        raise ValueError(f"`channel` is False, but `volume` gives {a.sizes['channel']} channels")
    return a.isel(channel=0)


@public
def to_nifti(result: xr.DataArray, like: Any = None) -> Any:
    """An attribution as an image of nibabel, in the grid of the model's input or of an image.

    Parameters
    ----------
    result : DataArray
        With the dims i, j and k; other dims have one entry. Of more samples or targets select one, of channels take the sum.
    like : path or image of nibabel, optional
        The image that the result explains. Axes are brought back into its order and directions; shape, affine, codes of
        sform and qform, and the kind of file are its own. Default: the coord `affine`.

    Returns
    -------
    nibabel.Nifti1Image or nibabel.Nifti2Image
        float32; ``image.to_filename("map.nii.gz")`` writes it. The header's description has the method and the unit.

    Raises
    ------
    ValueError
        For other dims, no affine, and an image on another grid.
    ImportError
        If nibabel is missing.

    Examples
    --------
    >>> import pytest
    >>> nibabel = pytest.importorskip("nibabel")
    >>> import attrib, numpy as np
    >>> from attrib.io import from_nifti, to_nifti
    >>> image = nibabel.Nifti1Image(np.ones((4, 5, 6), "float32"), np.diag([-2.0, 2.0, 2.0, 1.0]))
    >>> result = attrib.saliency(lambda x: x.sum((1, 2, 3, 4)), from_nifti(image, orientation="RAS"))
    >>> back = to_nifti(result, like=image)
    >>> back.shape, nibabel.aff2axcodes(back.affine)
    ((4, 5, 6), ('L', 'A', 'S'))
    """
    nibabel = nibabel_module()
    others = [d for d in result.dims if d not in VOXEL_DIMS]
    long = [f"{d} ({result.sizes[d]})" for d in others if result.sizes[d] != 1]
    if long or any(d not in result.dims for d in VOXEL_DIMS):
        raise ValueError(
            f"`result` has dims {result.dims}, expected i, j, k"
            + (f", and one entry along {', '.join(long)}; select one, or take the sum of channels" if long else "")
        )  # fmt: skip
    single = result.squeeze(others, drop=True).transpose(*VOXEL_DIMS)
    if like is None:
        image = nibabel.Nifti1Image(np.asarray(single.values, dtype=np.float32), affine_of(single))
    else:
        image = _in_grid_of(single, open_image(like), name_of(like))
    image.header["descrip"] = description(result)
    return image


@public
def save_nifti(result: xr.DataArray, path: str | os.PathLike[str], like: Any = None) -> Path:
    """Write `to_nifti`'s image, whole or not at all.

    Parameters
    ----------
    result : DataArray
        As for `to_nifti`.
    path : str or path
        Ends in `.nii` or `.nii.gz`.
    like : path or image of nibabel, optional
        As for `to_nifti`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        For another suffix, and as `to_nifti`.

    Examples
    --------
    >>> import pytest
    >>> nibabel = pytest.importorskip("nibabel")
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from attrib.io import from_nifti, save_nifti
    >>> x = from_nifti(nibabel.Nifti1Image(np.ones((2, 2, 2), "float32"), np.eye(4)))
    >>> from_nifti(save_nifti(x, pathlib.Path(tempfile.mkdtemp()) / "x.nii.gz")).equals(x.assign_coords(sample=["x"]))
    True
    """
    final = Path(path)
    if not final.name.lower().endswith((".nii", ".nii.gz")):
        raise ValueError(f"`path` is {final}, expected a name that ends in .nii or .nii.gz")
    image = to_nifti(result, like)
    with replacing(final) as temporary:
        image.to_filename(temporary)
    return final


def description(result: xr.DataArray) -> bytes:
    """Method and unit in the 79 characters that a header holds."""
    method = str(result.attrs.get("method", result.name or "attribution"))
    units = result.attrs.get("units")
    return f"attrib {method}{f' ({units})' if units else ''}".encode("ascii", "replace")[:79]


def nibabel_module() -> Any:
    """The package nibabel.

    Raises
    ------
    ImportError
        Naming the command that installs it.
    """
    try:
        return importlib.import_module("nibabel")
    except ImportError as error:
        raise ImportError(f"nibabel is needed for this; install it: {install_hint('mri')}") from error


def is_nifti(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is one of an image that nibabel reads."""
    return os.fspath(path).lower().endswith(SUFFIXES)


def open_image(image: Any) -> Any:
    """An image of nibabel, whose numbers are not read yet.

    Raises
    ------
    FileNotFoundError, ValueError
        For files that do not exist or cannot be read.
    """
    nibabel = nibabel_module()
    if not isinstance(image, str | os.PathLike):
        if not hasattr(image, "affine"):
            raise TypeError(f"an image is {shown(image)}, expected a path, or an image of nibabel")
        return image
    if not Path(image).is_file():
        raise FileNotFoundError(f"there is no image {os.fspath(image)}")
    try:
        return nibabel.load(image)
    except Exception as error:  # whatever a file that is no image does to the reader
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{os.fspath(image)} cannot be read as an image: {reason}") from error


def oriented(image: Any, orientation: str | None) -> Any:
    """The image with axes along `orientation`, such as ``"RAS"``; its affine follows.

    Raises
    ------
    ValueError
        For letters that are no three directions.
    """
    if orientation is None:
        return image
    wanted = directions(orientation)
    checked_affine(image.affine)
    orientations = importlib.import_module("nibabel.orientations")
    return image.as_reoriented(orientations.ornt_transform(orientations.io_orientation(image.affine), wanted))


def directions(orientation: str) -> np.ndarray:
    """Three letters such as ``"RAS"`` as nibabel has them.

    Raises
    ------
    ValueError
        For letters that are no three directions.
    """
    letters = str(orientation).upper()
    try:
        if len(letters) != 3:
            raise ValueError
        wanted = importlib.import_module("nibabel.orientations").axcodes2ornt(tuple(letters))
        if np.isnan(wanted).any() or len(set(wanted[:, 0])) != 3:
            raise ValueError
    except ValueError:
        raise ValueError(f"`orientation` is {orientation!r}, expected three letters such as RAS or LPS") from None  # fmt: skip
    return np.asarray(wanted)


def refuse_other_grid(image: Any, affine: np.ndarray, shape: Sequence[int], name: str, other: str) -> None:
    """Raise a ValueError that names both images, unless they have the same voxels."""
    voxels = _shape(image, name)
    if voxels != tuple(shape):
        raise ValueError(f"{name} has {_by(voxels)} voxels, but {other} has {_by(shape)}; resample them to one grid, as nilearn.image.resample_to_img does")  # fmt: skip
    mine = checked_affine(image.affine, f"affine of {name}")
    if not np.allclose(mine, affine, atol=CLOSE, rtol=0):
        far = float(np.abs(mine - affine).max())
        raise ValueError(f"{name} lies on another grid than {other}: their affines differ by up to {far:.3g} mm; resample them to one grid, as nilearn.image.resample_to_img does")  # fmt: skip


def numbers(image: Any, volumes: Sequence[int] = (0,)) -> np.ndarray:
    """Some volumes of an image (volume, i, j, k) as float32, scaled as its header says; only they are read.

    Raises
    ------
    ValueError
        For a file that ends too early, or is damaged inside.
    """
    refuse_what_cannot_fit(4.0 * len(volumes) * math.prod(map(float, image.shape[:3])), "images", f"{image.get_filename() or 'the image'} in memory")  # fmt: skip
    try:
        if len(image.shape) == 4:
            values = np.stack([np.asarray(image.dataobj[..., v], dtype=np.float32) for v in volumes])
        else:
            values = np.asarray(image.dataobj, dtype=np.float32).reshape(1, *_three(image.shape))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(f"{image.get_filename() or 'the image'} cannot be read: {error}") from error
    return np.ascontiguousarray(values, dtype=np.float32)


def name_of(image: Any) -> str:
    """The name of a file without its suffix, or what nibabel knows of it."""
    path = image if isinstance(image, str | os.PathLike) else image.get_filename()
    if path is None:
        return "image"
    name = Path(path).name
    return next((name[: -len(s)] for s in SUFFIXES if name.lower().endswith(s)), name)


def _three(shape: Sequence[int]) -> tuple[int, ...]:
    return (*map(int, shape[:3]), *(1,) * (3 - len(shape)))


def _shape(image: Any, name: str) -> tuple[int, ...]:
    if getattr(image.get_data_dtype(), "names", None) or image.get_data_dtype().kind not in "fiu":
        raise ValueError(f"{name} holds {image.get_data_dtype()}, expected one number for each voxel")
    extra = [n for n in image.shape[4:] if n != 1]
    if extra:
        raise ValueError(f"{name} has shape {_by(image.shape)}, expected three or four dims")
    return _three(image.shape)


def _volume(image: Any, volume: int | str, name: str) -> list[int]:
    count = image.shape[3] if len(image.shape) > 3 else 1
    if volume == "all":
        return list(range(count))
    volume = plain(volume)
    if isinstance(volume, bool) or not isinstance(volume, int) or not 0 <= volume < count:
        raise ValueError(
            f"`volume` is {volume!r}, but {name} has {count}; expected a number below that, or all"
        )
    return [volume]


def _lazily(images: Sequence[Any], chosen: Sequence[Sequence[int]], shape: tuple[int, ...]) -> Any:
    try:
        import dask
        import dask.array as da
    except ImportError as error:
        raise ImportError(f"`lazy` takes Dask; install it: {install_hint('large')}") from error
    later = dask.delayed(numbers, pure=False)
    blocks = [
        da.from_delayed(later(dask.delayed(i, traverse=False), c), (len(c), *shape), np.float32)
        for i, c in zip(images, chosen, strict=True)
    ]
    return da.stack(blocks)


def _in_grid_of(a: xr.DataArray, image: Any, name: str) -> Any:
    """The values as an image with the header of another, their axes brought into its order."""
    nibabel = nibabel_module()
    orientations = importlib.import_module("nibabel.orientations")
    shape, affine = _shape(image, name), checked_affine(image.affine)
    values = np.asarray(a.values, dtype=np.float32)
    start = affine_of(a) if AFFINE in a.coords else affine
    turned = nibabel.Nifti1Image(values, start).as_reoriented(
        orientations.ornt_transform(orientations.io_orientation(start), orientations.io_orientation(affine))
    )
    if turned.shape != shape or not np.allclose(turned.affine, affine, atol=CLOSE, rtol=0):
        raise ValueError(f"`like` is {name} of {_by(shape)} voxels, and `result` has {_by(turned.shape)} on another grid; pass the image that it explains")  # fmt: skip
    kind = nibabel.Nifti2Image if isinstance(image, nibabel.Nifti2Image) else nibabel.Nifti1Image
    header = kind.header_class.from_header(image.header)
    header.extensions.clear()  # they may name the patient
    header.set_data_dtype(np.float32)
    header["cal_min"] = header["cal_max"] = 0
    header["intent_code"] = 0
    return kind(np.asarray(turned.dataobj, dtype=np.float32), image.affine, header)


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
