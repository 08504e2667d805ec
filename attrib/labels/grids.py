"""Where the voxels of an image lie: its affine, as a coord that files and methods keep."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

AFFINE = "affine"
VOXEL_DIMS = ("i", "j", "k")
CLOSE = 1e-3  # mm


def affine_coord(affine: np.ndarray, **attrs: Any) -> xr.Variable:
    """An affine as a coord of no dims: its sixteen numbers as text, since a coord may have no dims that its array lacks.

    Parameters
    ----------
    affine : array (4, 4)
        From voxel indices to mm, right, anterior and superior positive.
    **attrs
        More attributes.

    Returns
    -------
    Variable

    Raises
    ------
    ValueError
        For an affine that is not invertible.
    """
    return xr.Variable((), affine_text(affine), {"long_name": "voxel indices to mm (RAS)", **attrs})


def affine_text(affine: Any) -> str:
    """The numbers of an affine as text that gives them back exactly."""
    matrix = checked_affine(affine)
    return json.dumps([[float(v) for v in row] for row in matrix])


def checked_affine(affine: Any, name: str = "affine") -> np.ndarray:
    """The affine as float64 (4, 4).

    Raises
    ------
    ValueError
        If it has another shape, entries that are not finite, or is not invertible.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise ValueError(f"`{name}` has shape {matrix.shape}, expected 4 x 4 finite numbers")
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    if not sizes.all() or abs(np.linalg.det(matrix[:3, :3] / sizes)) < 1e-6:
        raise ValueError(f"`{name}` is not invertible: voxels would lie in a plane; its columns are {matrix[:3, :3].T.tolist()}")  # fmt: skip
    return matrix


def affine_of(a: xr.DataArray, dims: Sequence[Hashable] = VOXEL_DIMS) -> np.ndarray:
    """The affine of an array's own grid.

    Parameters
    ----------
    a : DataArray
        With the coord `affine`. Labels along `dims` are voxel indices of the whole image, so that a part of it, or one with
        coarser voxels, still lies where it lay.
    dims : sequence of str
        The voxels' dims; a permutation of i, j, k gives the affine of the array with its dims in that order.

    Returns
    -------
    array (4, 4)
        From places in `a` to mm.

    Raises
    ------
    ValueError
        Without the coord or dims, for labels that are not evenly spaced, and for samples on other grids.
    """
    missing = [d for d in dims if d not in a.dims]
    if AFFINE not in a.coords or missing:
        raise ValueError(f"`a` has dims {a.dims} and {'a' if AFFINE in a.coords else 'no'} coord 'affine', expected voxels along {', '.join(map(str, dims))} and their affine, as attrib.io.from_nifti gives them")  # fmt: skip
    texts = np.unique(np.asarray(a[AFFINE].values, dtype=str))
    matrices = [checked_affine(json.loads(t)) for t in texts.tolist()]
    if any(not np.allclose(m, matrices[0], atol=CLOSE, rtol=0) for m in matrices):
        raise ValueError("`a` has samples on different grids; select one of them")
    return matrices[0] @ _of_places(a, dims)


def _of_places(a: xr.DataArray, dims: Sequence[Hashable]) -> np.ndarray:
    """From places along `dims`, in that order, to voxel indices of the image."""
    inner = np.eye(4)
    inner[:3, :3] = 0
    for n, d in enumerate(dims):
        row = VOXEL_DIMS.index(str(d)) if set(dims) == set(VOXEL_DIMS) else n
        if d not in a.coords:
            inner[row, n] = 1
            continue
        labels = np.asarray(a[d].values)
        steps = np.diff(labels.astype(np.float64)) if labels.dtype.kind in "iuf" else np.zeros(1)
        if len(steps) and not (steps[0] and np.allclose(steps, steps[0])):
            raise ValueError(
                f"`a` has labels along {d!r} that are not evenly spaced numbers, so that no affine fits"
            )
        inner[row, n] = steps[0] if len(steps) else 1.0
        inner[row, 3] = labels[0]
    return inner


def to_mm(affine: np.ndarray, voxels: Any) -> np.ndarray:
    """Positions (..., 3) in mm of voxels (..., 3)."""
    return np.asarray(voxels, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]


def voxel_sizes(affine: np.ndarray) -> np.ndarray:
    """Edge lengths of a voxel in mm, along each dim."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def anatomical(a: xr.DataArray) -> xr.DataArray:
    """The array with its voxels' dims last, running to the right, to anterior and to superior, as a picture needs them.

    Parameters
    ----------
    a : DataArray
        With the dims i, j, k and the coord `affine`.

    Returns
    -------
    DataArray
        Each dim lies along the axis that it is closest to; labels go along.
    """
    affine = affine_of(a)
    cosines = affine[:3, :3] / voxel_sizes(affine)
    order, flips = closest_axes(cosines)
    turned = a.transpose(..., *(VOXEL_DIMS[n] for n in order))
    return turned.isel(
        {VOXEL_DIMS[n]: slice(None, None, -1) for n, flip in zip(order, flips, strict=True) if flip}
    )


def closest_axes(cosines: np.ndarray) -> tuple[list[int], list[bool]]:
    """For right, anterior and superior the voxel axis that runs along it, and whether it runs backwards."""
    left = np.abs(cosines).copy()
    order = [-1, -1, -1]
    for _ in range(3):
        axis, voxel = np.unravel_index(int(left.argmax()), left.shape)
        order[int(axis)] = int(voxel)
        left[axis], left[:, voxel] = -1, -1
    return order, [bool(cosines[axis, voxel] < 0) for axis, voxel in enumerate(order)]


def foreground(values: np.ndarray) -> np.ndarray:
    """Where an image (i, j, k) is not background: above the darkest tenth of its range.

    The range ends at percentiles, as resampled images have a few voxels that are darker than the air; a tenth of it is above the noise of
    the air (Smith 2002, doi:10.1002/hbm.10062, begins so). Where a twentieth of the voxels have the value of the first corner and that lies
    inside the range, as zero in images whose mean is zero, it alone is background.
    """
    low, high = np.percentile(values, (2, 98))
    dark, corner = low + 0.1 * (high - low), values == values.flat[0]
    return ~corner if 0.05 <= corner.mean() < 1 and values.flat[0] > dark else np.asarray(values > dark)


def is_metatensor(value: Any) -> bool:
    """Whether `value` is a tensor of MONAI that knows its affine."""
    return any(c.__name__ == "MetaTensor" and c.__module__.startswith("monai.") for c in type(value).__mro__)


def of_metatensor(value: Any, dims: Sequence[Hashable] | None) -> tuple[Sequence[Hashable] | None, Mapping[Hashable, Any]]:  # fmt: skip
    """Dims and coords of a MetaTensor: samples, channels, voxels, and one affine for all or one for each sample."""
    if dims is None and value.ndim == 5:
        dims = ("sample", "channel", *VOXEL_DIMS)
    affine = np.asarray(value.affine.detach().cpu() if hasattr(value.affine, "detach") else value.affine)
    if affine.shape == (4, 4):
        return dims, {AFFINE: affine_coord(affine)}
    if dims is None or affine.ndim != 3 or len(affine) != len(value):
        return dims, {}
    texts = [affine_text(m) for m in affine]
    if len(set(texts)) == 1:
        return dims, {AFFINE: affine_coord(affine[0])}
    return dims, {AFFINE: (dims[0], texts)}
