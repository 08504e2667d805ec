"""Which subjects can be studied: images that exist, on one grid, with masks and atlases on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from attrib.domains.mri import Subject, class_of, normalised, read_names, read_subjects
from attrib.io import from_nifti
from attrib.io.nifti import directions, name_of, numbers, open_image, oriented, refuse_other_grid
from attrib.labels.grids import AFFINE, VOXEL_DIMS, affine_coord, checked_affine
from attrib.workflows.mri.plan import Images

Say = Callable[[str], None]


@dataclass(frozen=True)
class Cohort:
    """The subjects that can be studied, and what they share.

    Attributes
    ----------
    subjects : list of Subject
        On one grid.
    problems : list of dict
        `subject`, `problem`, and `kept`, whether the subject is studied nevertheless.
    shape : tuple of int
        Voxels, in the model's orientation.
    affine : array (4, 4)
        From these voxels to mm.
    orientation : str or None
    intensity : str
    brain : array of bool or None
        Where the brain is, of all subjects without a mask of their own.
    atlas : DataArray (i, j, k) or None
        Of all subjects without one of their own.
    names : dict of int to str
        Of the atlas' regions.
    """

    subjects: list[Subject]
    problems: list[dict[str, Any]]
    shape: tuple[int, int, int]
    affine: np.ndarray
    orientation: str | None
    intensity: str
    brain: np.ndarray | None
    atlas: xr.DataArray | None
    names: dict[int, str]

    @property
    def grid(self) -> dict[str, Any]:
        """The coords of a volume."""
        labels = {d: np.arange(n) for d, n in zip(VOXEL_DIMS, self.shape, strict=True)}
        return {**labels, AFFINE: affine_coord(self.affine)}

    def volume(self, values: np.ndarray) -> xr.DataArray:
        """Values with the labels of a volume."""
        return xr.DataArray(values, dims=VOXEL_DIMS, coords=self.grid)

    def read(self, subject: Subject) -> xr.DataArray:
        """A subject's volume as the model takes it (i, j, k).

        Raises
        ------
        ValueError
            For voxels that are not numbers, with their number.
        """
        values = numbers(oriented(open_image(subject.path), self.orientation))[0]
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise ValueError(f"{subject.path.name} has {bad} voxels that are not numbers; fill them, as nilearn.image.clean_img does")  # fmt: skip
        return self.volume(normalised(values, self.intensity, self.brain_of(subject)))

    def brain_of(self, subject: Subject) -> np.ndarray | None:
        """Where a subject's brain is, if a mask says it."""
        return self.brain if subject.mask is None else self._other(subject.mask, subject) > 0

    def atlas_of(self, subject: Subject) -> xr.DataArray | None:
        """A subject's regions: whole numbers (i, j, k)."""
        if subject.atlas is None:
            return self.atlas
        return self.volume(_whole(self._other(subject.atlas, subject), subject.atlas))

    def _other(self, path: Path, subject: Subject) -> np.ndarray:
        """Another image of a subject, on the same grid."""
        return on_grid(path, self.shape, self.affine, self.orientation, name_of(subject.path))


def on_grid(
    path: Path, shape: Sequence[int], affine: np.ndarray, orientation: str | None, other: str
) -> np.ndarray:
    """The values of an image that has to lie on a grid.

    Raises
    ------
    ValueError, FileNotFoundError
        If it does not, or cannot be read.
    """
    image = oriented(open_image(path), orientation)
    refuse_other_grid(image, affine, shape, path.name, other)
    return numbers(image)[0]


def cohort_of(table: str | Path, how: Images, say: Say) -> Cohort:
    """Read a table and the headers of its images; what does not fit is listed.

    Raises
    ------
    ValueError
        If no image can be used; for an atlas or a mask on another grid, and an atlas without names.
    """
    subjects, rejected = read_subjects(table)
    orientation, brain_mask, atlas = how.orientation, how.brain_mask, how.atlas
    if orientation is not None:
        directions(orientation)
    problems: list[dict[str, Any]] = [r | {"kept": False} for r in rejected]
    images: dict[str, Any] = {}
    for s in subjects:
        try:
            image = oriented(open_image(s.path), orientation)
            refuse_other_grid(image, image.affine, _shape(image), s.path.name, s.path.name)  # colours, affine
        except (ValueError, OSError) as error:
            problems.append({"subject": s.name, "problem": str(error), "kept": False})
        else:
            images[s.name] = image
            if len(image.shape) > 3 and image.shape[3] > 1:
                problems.append({"subject": s.name, "problem": f"{s.path.name} has {image.shape[3]} volumes; the first is used", "kept": True})  # fmt: skip
    if not images:
        raise ValueError(f"`data`: none of {len(subjects)} images can be used; {problems[0]['subject']}: {problems[0]['problem']}")  # fmt: skip
    reference = _most_common(images)
    shape, affine = _shape(images[reference]), checked_affine(images[reference].affine)
    fitting = []
    for s in subjects:
        if s.name not in images:
            continue
        try:
            refuse_other_grid(images[s.name], affine, shape, name_of(s.path), _file_of(subjects, reference))
            for beside in (s.mask, s.atlas):
                if beside is not None:
                    other = oriented(open_image(beside), orientation)
                    refuse_other_grid(other, affine, shape, beside.name, s.path.name)
        except (ValueError, OSError) as error:
            problems.append({"subject": s.name, "problem": str(error), "kept": False})
        else:
            fitting.append(s)
    brain = (
        None if brain_mask is None else on_grid(Path(brain_mask), shape, affine, orientation, reference) > 0
    )
    if brain is not None and not brain.any():
        raise ValueError(f"`brain_mask`: {brain_mask} is 0 everywhere")
    regions, names = None, {}
    if atlas is not None:
        values = _whole(on_grid(Path(atlas), shape, affine, orientation, reference), Path(atlas))
        regions = from_nifti(open_image(Path(atlas)), orientation=orientation, channel=False).isel(
            sample=0, drop=True
        )
        regions = regions.copy(data=values)
    if atlas is not None or any(s.atlas is not None for s in fitting):
        names = _names(regions, atlas, how.atlas_names, say)
    return Cohort(
        fitting,
        problems,
        (shape[0], shape[1], shape[2]),
        affine,
        orientation,
        how.intensity,
        brain,
        regions,
        names,
    )


def with_classes(
    subjects: Sequence[Subject], classes: Sequence[str], named: bool
) -> tuple[list[Subject], list[dict[str, Any]]]:
    """The subjects with their labels as classes, and the problems of those whose label is none.

    Parameters
    ----------
    subjects : sequence of Subject
    classes : sequence of str
        In the order of the outputs.
    named : bool
        Whether the caller named them.

    Raises
    ------
    ValueError
        If no label is a class and the caller named none.
    """
    names = [class_of(s.label, classes) if s.label else "" for s in subjects]
    labels = sorted({s.label for s in subjects if s.label})
    if labels and not any(names) and not named:
        raise ValueError(f"`classes` is missing: the labels are {', '.join(labels[:8])}; name the model's {len(classes)} outputs in their order")  # fmt: skip
    problems = [
        {"subject": s.name, "problem": f"its label {s.label!r} is none of the classes {', '.join(classes)}; studied without a label", "kept": True}
        for s, name in zip(subjects, names, strict=True)
        if s.label and not name
    ]  # fmt: skip
    return [s._replace(label=name) for s, name in zip(subjects, names, strict=True)], problems


def _names(atlas: xr.DataArray | None, path: Any, file: str | Path | None, say: Say) -> dict[int, str]:
    """Names of the atlas' numbers, from a table of them or one that is called as the atlas is."""
    stem = None if path is None else Path(path).with_name(Path(path).name.partition(".")[0])
    beside = [] if stem is None else [stem.with_suffix(e) for e in (".csv", ".tsv", ".txt")]
    file = next((f for f in beside if f.is_file()), None) if file is None else file
    if file is None:
        raise ValueError(
            "`atlas` needs the names of its regions; pass a table of numbers and names beside it, or call it as the atlas: atlas.csv"
        )
    names = read_names(file)
    if atlas is not None:
        numbers_in_it = np.unique(atlas.values)
        nameless = [int(n) for n in numbers_in_it if n and int(n) not in names]
        if nameless:
            raise ValueError(f"`atlas_names`: {file} has no name for {len(nameless)} regions of {path}: {', '.join(map(str, nameless[:8]))}")  # fmt: skip
        absent = [n for n in names if n not in numbers_in_it and n != 0]
        if absent:
            say(f"{len(absent)} regions of {Path(file).name} have no voxel in the atlas on this grid.")
    return names


def _whole(values: np.ndarray, path: Path) -> np.ndarray:
    """Numbers of regions as integers."""
    rounded = np.rint(values)
    if not np.array_equal(rounded, values) or values.min() < 0:
        raise ValueError(f"`atlas`: {path.name} holds values that are no whole numbers from 0 on; resample atlases by the nearest voxel")  # fmt: skip
    return rounded.astype(np.int32)


def _most_common(images: Mapping[str, Any]) -> str:
    """A subject on the grid that most have."""
    grids = {n: (_shape(i), np.round(np.asarray(i.affine), 2).tobytes()) for n, i in images.items()}
    ((grid, _),) = Counter(grids.values()).most_common(1)
    return next(n for n, g in grids.items() if g == grid)


def _shape(image: Any) -> tuple[int, ...]:
    shape = tuple(int(n) for n in image.shape[:3])
    return (*shape, *(1,) * (3 - len(shape)))


def _file_of(subjects: Sequence[Subject], name: str) -> str:
    return next(name_of(s.path) for s in subjects if s.name == name)
