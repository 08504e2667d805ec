"""Volumes with a known truth: a bright lesion on the left in patients, and a network that answers to brightness."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import nn

SHAPE = (14, 16, 12)
LESION = (slice(9, 12), slice(7, 10), slice(5, 8))
OBLIQUE = np.array([[-3.9, 0.4, 0.1, 27], [0.4, 3.9, -0.6, -30], [0.2, 0.6, 3.9, -24], [0, 0, 0, 1]])
NAMES = {1: "Hemisphere_L", 2: "Hemisphere_R", 3: "Hippocampus_L", 4: "Hippocampus_R"}


class Brightness(nn.Module):
    """Scores of HC, a constant, and of TLE: how much brighter than 0.3 the means of 3 x 3 (x 3) voxels are, in sum."""

    def __init__(self, dims: int, gain: float = 1.0) -> None:
        super().__init__()
        kind = (nn.Conv2d, nn.Conv3d)[dims - 2]
        self.mean = kind(1, 1, 3, padding=1, bias=True)
        nn.init.constant_(self.mean.weight, 1 / 3**dims)
        nn.init.constant_(self.mean.bias, -0.3)
        self.relu = nn.ReLU()
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = self.relu(self.mean(x)).flatten(1).sum(1) * self.gain
        return torch.stack([torch.full_like(bright, 4.0 * x[0].numel() ** 0.3), bright], 1)


class Folded(nn.Module):
    """A network of slices that takes volumes and folds their slices into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Brightness(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, i, j, k = x.shape
        return self.net(x.permute(0, 4, 1, 2, 3).reshape(b * k, c, i, j)).reshape(b, k, -1).mean(1)


def volumes(gain: float = 1.0) -> nn.Module:
    return Brightness(3, gain)


def slices() -> nn.Module:
    return Brightness(2)


def folded() -> nn.Module:
    return Folded()


def of_colour() -> nn.Module:
    """A network of slices that takes three channels, as those that were trained on photographs do."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def brain() -> np.ndarray:
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    return (x**2 + y**2 + z**2) < 0.85


def atlas() -> np.ndarray:
    """Regions in an image whose first axis runs to the left."""
    regions = np.zeros(SHAPE, np.uint8)
    x = np.arange(SHAPE[0])[:, None, None] > SHAPE[0] / 2 - 0.5
    regions[brain() & x], regions[brain() & ~x] = 1, 2
    regions[LESION] = 3
    regions[2:5, 7:10, 5:8] = 4
    return regions


def volume(n: int, patient: bool) -> np.ndarray:
    rng = np.random.default_rng(n)
    values = (100 + rng.normal(size=SHAPE) * 6) * brain()
    if patient:
        values[LESION] += 45 + 10 * rng.random()
    return values.astype(np.float32)


def image(values: np.ndarray, affine: np.ndarray = OBLIQUE) -> nibabel.Nifti1Image:
    made = nibabel.Nifti1Image(values, affine)
    made.set_sform(affine, 4)
    made.set_qform(affine, 1, strip_shears=True)
    return made


def turned(made: nibabel.Nifti1Image, letters: str) -> nibabel.Nifti1Image:
    orientations = nibabel.orientations
    wanted = orientations.axcodes2ornt(tuple(letters))
    return made.as_reoriented(orientations.ornt_transform(nibabel.io_orientation(made.affine), wanted))


def write(folder: Path, count: int, letters: str = "LAS") -> Path:
    """A table of subjects, half of them patients, with images, atlas and names; all stored along `letters`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["subject,path,label,site"]
    for n in range(count):
        label = ("HC", "TLE")[n % 2]
        turned(image(volume(n, label == "TLE")), letters).to_filename(folder / f"sub-{n:02d}.nii.gz")
        rows.append(f"sub-{n:02d},sub-{n:02d}.nii.gz,{label},{'AB'[n % 3 == 0]}")
    turned(image(atlas()), letters).to_filename(folder / "atlas.nii.gz")
    (folder / "names.csv").write_text("index,name\n" + "".join(f"{k},{v}\n" for k, v in NAMES.items()))
    (folder / "subjects.csv").write_text("\n".join(rows) + "\n")
    return folder
