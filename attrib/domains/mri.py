"""Magnetic resonance images: tables of subjects, intensities, atlases and slices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import near
from attrib.domains.draws import drawn_evenly
from attrib.labels.grids import VOXEL_DIMS, affine_of, closest_axes, to_mm, voxel_sizes

COLUMNS = {  # what tables call them
    "subject": ("subject", "subject_id", "participant_id", "participant", "id", "sub"),
    "path": ("path", "image", "file", "filename", "file_path", "filepath", "image_path", "nifti", "t1"),
    "label": ("label", "diagnosis", "class", "group", "dx"),
    "mask": ("mask", "brain_mask"),
    "atlas": ("atlas", "parcellation", "segmentation"),
}
INTENSITIES = ("none", "zscore", "zscore-brain", "minmax")
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
MM_PER_SD = 1 / 2.3548200450309493  # of a full width at half maximum
NAME = re.compile(r"[^\w.+-]+")


class Subject(NamedTuple):
    """A row of a table of subjects.

    Attributes
    ----------
    name : str
        Unique in its table, and fit for a file's name.
    path : Path
        The image.
    label : str
        Empty where there is none.
    mask, atlas : Path or None
        A brain mask and a parcellation of this subject's own.
    groups : mapping of str to str
        The other columns.
    """

    name: str
    path: Path
    label: str
    mask: Path | None
    atlas: Path | None
    groups: Mapping[str, str]


def read_subjects(path: str | Path) -> tuple[list[Subject], list[dict[str, str]]]:
    """Read a table of subjects.

    Parameters
    ----------
    path : str or path
        `.csv` or `.tsv` with a row for each subject and the columns ``subject`` and ``path`` (or what else tables call them, such
        as ``participant_id`` and ``image``); ``label``, ``mask`` and ``atlas`` if there are any; others are groups. Paths are
        relative to the table.

    Returns
    -------
    (list of Subject, list of dict)
        The subjects, and `subject` and `problem` of rows that are left out.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it lacks a column of images, or has no rows.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.mri import read_subjects
    >>> table = pathlib.Path(tempfile.mkdtemp()) / "subjects.csv"
    >>> _ = table.write_text("participant_id,image,diagnosis,site\\nsub-1,a.nii.gz,TLE,A\\n")
    >>> (subject,), problems = read_subjects(table)
    >>> subject.name, subject.path.name, subject.label, subject.groups
    ('sub-1', 'a.nii.gz', 'TLE', {'site': 'A'})
    """
    file = Path(path)
    if file.is_dir() or file.name.endswith((".nii", ".nii.gz", ".mgh", ".mgz")):
        raise ValueError(
            f"`data` is {file}, expected a table of the images: CSV with the columns subject, path and, if there is one, label"
        )
    if not file.is_file():
        raise FileNotFoundError(f"`data`: there is no table {file}")
    try:
        table = pd.read_csv(file, sep=None, engine="python", dtype=str, keep_default_na=False)
    except Exception as error:  # whatever a file that is no table does to the reader
        raise ValueError(f"`data`: {file} cannot be read as a table: {error}") from error
    columns = _columns([str(c) for c in table.columns])
    if "path" not in columns:
        raise ValueError(f"`data`: {file} has the columns {', '.join(map(str, table.columns))}, expected one of images, called path")  # fmt: skip
    if table.empty:
        raise ValueError(f"`data`: {file} has no rows")
    subjects: list[Subject] = []
    problems: list[dict[str, str]] = []
    for number, row in enumerate(table.to_dict("records"), 2):
        cells = {k: str(row[c]).strip() for k, c in columns.items()}
        name = NAME.sub("_", cells.get("subject") or _stem(cells["path"])).strip("_.")
        if not name or not cells["path"]:
            problems.append({"subject": name or f"line {number}", "problem": f"line {number} has no {'image' if name else 'subject'}"})  # fmt: skip
        elif any(s.name.lower() == name.lower() for s in subjects):
            problems.append({"subject": name, "problem": f"line {number}: a subject of this name comes before; left out"})  # fmt: skip
        else:
            groups = {str(c): str(v).strip() for c, v in row.items() if c not in columns.values()}
            beside = {k: file.parent / cells[k] if cells.get(k) else None for k in ("mask", "atlas")}
            subjects.append(Subject(name, file.parent / cells["path"], cells.get("label", ""), beside["mask"], beside["atlas"], groups))  # fmt: skip
    return subjects, problems


def class_of(label: str, classes: Sequence[str]) -> str:
    """The class that a label names, by itself or as the number of an output; empty if none."""
    if label in classes:
        return label
    folded = {c.lower(): c for c in classes}
    if label.lower() in folded:
        return folded[label.lower()]
    number = label.removesuffix(".0")
    return classes[int(number)] if number.isdecimal() and int(number) < len(classes) else ""


def evenly(subjects: Sequence[Subject], most: int, seed: int) -> list[Subject]:
    """At most so many subjects, drawn with the same number from each label as far as there are enough; in their order.

    Examples
    --------
    >>> from attrib.domains.mri import Subject, evenly
    >>> several = [Subject(str(n), None, "TLE" if n < 8 else "HC", None, None, {}) for n in range(12)]
    >>> [s.label for s in evenly(several, 6, 0)].count("HC")
    3
    """
    return [subjects[n] for n in drawn_evenly([s.label for s in subjects], most, seed)]


def normalised(values: np.ndarray, how: str, brain: np.ndarray | None = None) -> np.ndarray:
    """A volume as the network takes it.

    Parameters
    ----------
    values : array (i, j, k)
        Intensities.
    how : str
        ``"none"``; ``"zscore"``, less the mean and over the standard deviation of all voxels; ``"zscore-brain"``, of the brain's;
        ``"minmax"``, from 0 to 1.
    brain : array of bool (i, j, k), optional
        Where the brain is; default: where intensities are not zero.

    Returns
    -------
    array
        float32. A volume of one intensity becomes 0.

    Raises
    ------
    ValueError
        For another `how`, and for a mask without voxels.

    Examples
    --------
    >>> import numpy as np
    >>> from attrib.domains.mri import normalised
    >>> normalised(np.array([[[10.0, 20.0]]]), "minmax").tolist()
    [[[0.0, 1.0]]]
    """
    if how not in INTENSITIES:
        raise ValueError(
            f"`intensity` is {how!r}, expected one of {', '.join(INTENSITIES)}{near(how, INTENSITIES)}"
        )
    if how == "none":
        return values.astype(np.float32)
    if how == "minmax":
        low, high = float(values.min()), float(values.max())
        return ((values - low) / ((high - low) or 1.0)).astype(np.float32)
    inside = values
    if how == "zscore-brain":
        inside = values[values != 0 if brain is None else brain]
        if not inside.size:
            raise ValueError("the brain mask has no voxels")
    mean, deviation = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
    varies = inside.max() > inside.min()  # of equal values the deviation may be rounding
    return ((values - mean) / (deviation if varies else 1.0)).astype(np.float32)


def read_names(path: str | Path) -> dict[int, str]:
    """Names of an atlas' regions.

    Parameters
    ----------
    path : str or path
        `.csv` or `.tsv` with a column of whole numbers and one of names, in this order or called so; or lines of a number and
        a name, as FreeSurfer's lookup table has them.

    Returns
    -------
    dict of int to str

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or nothing in it is a number and a name.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.mri import read_names
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "names.csv"
    >>> _ = file.write_text("index,name\\n17,Left-Hippocampus\\n53,Right-Hippocampus\\n")
    >>> read_names(file)
    {17: 'Left-Hippocampus', 53: 'Right-Hippocampus'}
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"`atlas_names`: there is no file {file}")
    names: dict[int, str] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        separated = re.search(r"[,;\t]", line)
        spaced = re.match(r"(\d+)\s+(.+?)(?:\s+\d+){0,4}$", line.strip())
        parts = re.split(r"[,;\t]", line) if separated else spaced.groups() if spaced else ()
        cells = [c.strip().strip('"') for c in parts]
        numbers = [c for c in cells if re.fullmatch(r"\d+(\.0)?", c)]
        texts = [c for c in cells if re.search(r"[A-Za-z]", c)]
        if numbers and texts and not line.lstrip().startswith("#"):
            names.setdefault(int(float(numbers[0])), texts[0])
    if not names:
        raise ValueError(f"`atlas_names`: {file} has no line with a whole number and a name")
    return names


def plane_dim(affine: np.ndarray, axis: str) -> str:
    """The voxels' dim across the slices of a plane: ``axial``, ``coronal``, ``sagittal``, or i, j, k itself.

    Raises
    ------
    ValueError
        For another name.
    """
    if axis in VOXEL_DIMS:
        return axis
    if axis not in PLANES:
        raise ValueError(
            f"`axis` is {axis!r}, expected {', '.join(PLANES)}, or one of {', '.join(VOXEL_DIMS)}"
        )
    order, _ = closest_axes(affine[:3, :3] / voxel_sizes(affine))
    return VOXEL_DIMS[order[PLANES[axis]]]


def slice_at(affine: np.ndarray, dim: str, mm: float) -> int:
    """The slice whose middle is closest to a position in mm along the axis that the slices are stacked on."""
    n = VOXEL_DIMS.index(dim)
    axis = int(np.abs(affine[:3, n]).argmax())
    return round((mm - affine[axis, 3]) / affine[axis, n])


def key_slices(inside: np.ndarray, dim: str, count: int = 7) -> list[int]:
    """Slices spread evenly over the middle half of what is inside a mask, along a dim."""
    n = VOXEL_DIMS.index(dim)
    places = np.flatnonzero(inside.any(tuple(a for a in range(3) if a != n)))
    if not len(places):
        places = np.arange(inside.shape[n])
    low, high = np.quantile(places, [0.25, 0.75], method="nearest")
    return sorted({round(v) for v in np.linspace(low, high, count)})


def smoothed(values: np.ndarray, affine: np.ndarray, fwhm: float) -> np.ndarray:
    """A volume after a Gaussian of a full width at half maximum in mm; 0 leaves it as it is."""
    if fwhm <= 0:
        return values
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values, fwhm * MM_PER_SD / voxel_sizes(affine), mode="constant", truncate=3.0)


def coarsened(a: xr.DataArray, most: int) -> xr.DataArray:
    """Means of blocks of voxels, so that at most about `most` are left; the last blocks may be cut off at the far side."""
    factor = 1
    while np.prod([max(1, a.sizes[d] // factor) for d in VOXEL_DIMS]) > most:
        factor += 1
    if factor == 1:
        return a
    blocks = {d: min(factor, a.sizes[d]) for d in VOXEL_DIMS}
    return a.coarsen(blocks, boundary="trim").mean()


def peak(a: xr.DataArray) -> tuple[tuple[int, int, int], np.ndarray]:
    """Voxel indices and mm of the entry of largest magnitude of a volume (i, j, k)."""
    a = a.transpose(*VOXEL_DIMS)
    place = np.unravel_index(int(np.abs(a.values).argmax()), a.shape)
    voxel = tuple(
        int(a[d].values[p]) if d in a.coords else int(p) for d, p in zip(VOXEL_DIMS, place, strict=True)
    )
    return (voxel[0], voxel[1], voxel[2]), to_mm(affine_of(a), [int(p) for p in place])


def _columns(names: Sequence[str]) -> dict[str, str]:
    """The table's column of each kind."""
    folded = {n.strip().lower().replace(" ", "_"): n for n in names}
    chosen = {}
    for kind, others in COLUMNS.items():
        match = next((folded[o] for o in others if o in folded), None)
        if match is not None:
            chosen[kind] = match
    return chosen


def _stem(path: str) -> str:
    name = Path(path).name
    return next((name.removesuffix(s) for s in (".nii.gz", ".nii", ".mgz") if name.endswith(s)), name)
