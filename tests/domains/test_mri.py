"""Tables of subjects, intensities, atlases, slices, peaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from attrib.domains.mri import (  # fmt: skip
    class_of,
    coarsened,
    evenly,
    key_slices,
    normalised,
    peak,
    plane_dim,
    read_names,
    read_subjects,
    slice_at,
    smoothed,
)
from attrib.labels.grids import VOXEL_DIMS, affine_coord, affine_of, foreground, to_mm

PSR = np.array([[0, 0, 2.0, -9], [-2, 0, 0, 9], [0, 2, 0, -7], [0, 0, 0, 1]])


def test_tables_of_other_names_and_separators(tmp_path: Path) -> None:
    file = tmp_path / "participants.tsv"
    file.write_text(
        "participant_id\timage_path\tdx\tage\tbrain_mask\nsub/1 a\tx/one.nii.gz\tTLE\t31\tmask.nii.gz\n\tx/two.nii.gz\tHC\t32\t\n"
    )
    (first, second), problems = read_subjects(file)
    assert (first.name, first.label, first.groups) == ("sub_1_a", "TLE", {"age": "31"})
    assert first.path == tmp_path / "x" / "one.nii.gz"
    assert first.mask == tmp_path / "mask.nii.gz"
    assert (second.name, second.mask) == ("two", None)
    assert not problems


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,age\na,3\n", "expected one of images"),
        ("subject,path\n", "has no rows"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_subjects(tmp_path / "t.csv")
    for image in (tmp_path, tmp_path / "scan.nii.gz"):
        with pytest.raises(ValueError, match="expected a table of the images"):
            read_subjects(image)
    with pytest.raises(FileNotFoundError, match="there is no table"):
        read_subjects(tmp_path / "absent.csv")


def test_labels_are_classes_by_name_or_number() -> None:
    classes = ["HC", "TLE"]
    assert [class_of(v, classes) for v in ("TLE", "tle", "1", "1.0", "MCI", "2", "-1")] == [
        "TLE",
        "TLE",
        "TLE",
        "TLE",
        "",
        "",
        "",
    ]


def test_subjects_are_drawn_evenly_and_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "subject,path,label\n" + "".join(f"s{n},a.nii,{'HC' if n < 3 else 'TLE'}\n" for n in range(20))
    )
    subjects, _ = read_subjects(tmp_path / "t.csv")
    eight = evenly(subjects, 8, 0)
    assert sum(s.label == "HC" for s in eight) == 3
    assert [s.name for s in eight] == sorted((s.name for s in eight), key=lambda n: int(n[1:]))
    assert evenly(subjects, 8, 0) == eight
    assert evenly(subjects, 8, 1) != eight
    assert evenly(subjects, 99, 0) == subjects


def test_intensities() -> None:
    values = np.array([[[0.0, 2.0, 4.0, 6.0]]])
    np.testing.assert_allclose(normalised(values, "minmax"), values / 6)
    np.testing.assert_allclose(normalised(values, "zscore"), (values - 3) / np.sqrt(5))
    np.testing.assert_allclose(normalised(values, "zscore-brain"), (values - 4) / np.sqrt(8 / 3), rtol=1e-6)
    np.testing.assert_allclose(normalised(values, "zscore-brain", values > 3), values - 5)
    assert (normalised(np.ones((2, 2, 2)), "zscore") == 0).all()
    with pytest.raises(ValueError, match="mask has no voxels"):
        normalised(values, "zscore-brain", values > 9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("index,name\n1,Amygdala L\n2,Amygdala R\n", {1: "Amygdala L", 2: "Amygdala R"}),
        ("name;id\nInsula_L;7\n", {7: "Insula_L"}),
        (
            "#No. Label R G B A\n17  Left-Hippocampus  220 216 20 0\n0 Unknown 0 0 0 0\n",
            {17: "Left-Hippocampus", 0: "Unknown"},
        ),
        ('3\t"Brain Stem"\n', {3: "Brain Stem"}),
    ],
)
def test_names_of_regions(tmp_path: Path, text: str, expected: dict[int, str]) -> None:
    (tmp_path / "names.txt").write_text(text)
    assert read_names(tmp_path / "names.txt") == expected


def test_planes_and_slices_follow_the_affine() -> None:
    assert [plane_dim(PSR, axis) for axis in ("sagittal", "coronal", "axial", "k")] == ["k", "i", "j", "k"]
    assert slice_at(PSR, "j", 3.2) == 5  # -7 + 2 * 5
    assert slice_at(PSR, "i", -1.0) == 5  # 9 - 2 * 5
    inside = np.zeros((20, 4, 4), bool)
    inside[4:17] = True
    assert key_slices(inside, "i", 3) == [7, 10, 13]


def test_peaks_of_parts_and_coarse_copies_keep_their_place() -> None:
    a = xr.DataArray(
        np.zeros((8, 8, 8)), dims=VOXEL_DIMS, coords={d: np.arange(8) for d in VOXEL_DIMS}
    ).assign_coords(affine=affine_coord(PSR))
    a[5, 2, 7] = -3.0
    assert peak(a)[0] == (5, 2, 7)
    np.testing.assert_allclose(peak(a)[1], to_mm(PSR, [5, 2, 7]))
    assert peak(a.isel(i=slice(4, 8)).transpose("k", "i", "j"))[0] == (5, 2, 7)
    coarse = coarsened(a, 64)
    assert coarse.size == 64
    np.testing.assert_allclose(to_mm(affine_of(coarse), [2, 1, 3]), to_mm(PSR, [4.5, 2.5, 6.5]))
    assert coarsened(a, 512) is a


def test_smoothing_has_the_width_that_it_says() -> None:
    """Half the maximum at half of the full width, in mm along each axis."""
    values = np.zeros((41, 41, 41))
    values[20, 20, 20] = 1
    soft = smoothed(values, np.diag([1.0, 2.0, 1.0, 1.0]), 8.0)
    assert soft[24, 20, 20] / soft[20, 20, 20] == pytest.approx(0.5, abs=0.01)
    assert soft[20, 22, 20] / soft[20, 20, 20] == pytest.approx(0.5, abs=0.01)
    assert soft.sum() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "background", ["zeros, and darker edges", "zero, as the mean of what is inside", "noise", "resampled"]
)
def test_background_is_found_whatever_lies_below_it(background: str) -> None:
    rng = np.random.default_rng(0)
    brain = np.zeros((20, 20, 20), bool)
    brain[5:15, 4:16, 5:15] = True
    image = rng.normal(100, 12, brain.shape) * brain
    if background.startswith("zeros"):
        image[5, 4:10, 5] = -30  # of a spline; they had made all of the background brain
    elif background.startswith("zero,"):
        image[brain] -= 100
    elif background == "noise":
        image += np.abs(rng.normal(0, 3, brain.shape))
    else:
        image += rng.normal(0, 0.1, brain.shape)
        image[5, 4:10, 5] = -30
    found = foreground(image)
    assert (found == brain).mean() > 0.99
    assert foreground(rng.normal(size=brain.shape)).mean() > 0.9  # without a background
    assert foreground(np.ones(brain.shape)).sum() == 0
