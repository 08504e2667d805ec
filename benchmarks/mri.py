"""The study of magnetic resonance images at full size: time with all its pictures, and memory of many large volumes.

    python -m benchmarks.mri [SUBJECTS]
    python -m benchmarks.mri memory [SUBJECTS] [FOLDER]

The first explains 50 subjects of 64 slices by three methods and draws everything; the second explains 200 subjects of 160 x 190 x 160
voxels, which take 1.5 GB in FOLDER (default: a temporary one, removed in the end) and as much again for the maps.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from attrib._typed import drawers
from attrib.workflows.mri import Images, mri
from benchmarks.cohort import peak
from benchmarks.models import MBConv, unit
from benchmarks.setting import table, verdict

SLICES, LARGE = (64, 76, 64), (160, 190, 160)
SECONDS, MEGABYTES = 240, 2000


def slices() -> nn.Module:
    """A small EfficientNetV2 of slices: about 170,000 weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        unit(1, 8, 3, nn.SiLU, stride=2), MBConv(8, 8, 1, True), MBConv(8, 16, 2, True), MBConv(16, 32, 2, False),
        MBConv(32, 48, 2, False), MBConv(48, 48, 1, False), MBConv(48, 64, 1, False), MBConv(64, 64, 1, False), unit(64, 160, 1, nn.SiLU),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160, 2),
    ).eval()  # fmt: skip


def volumes() -> nn.Module:
    """A network of volumes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, stride=2), nn.ReLU(), nn.Conv3d(4, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool3d(4), nn.Flatten(),
        nn.Linear(512, 2),
    ).eval()  # fmt: skip


def write_subjects(folder: Path, count: int, shape: tuple[int, int, int], mm: float) -> Path:
    """A table of patients, darker at one place, and controls: scaled 8-bit integers in small files, and an atlas of 64 blocks."""
    rng = np.random.default_rng(0)
    grid = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij")
    brain = sum(g**2 for g in grid) < 0.8
    texture = gaussian_filter(rng.normal(size=shape).astype(np.float32), 3)
    anatomy = (120 + 25 * texture / texture.std()) * brain
    blocks = sum(((g + 1) * 1.999).astype(int) * 4**k for k, g in enumerate(grid)) + 1
    lesion = sum((g + 0.4) ** 2 for g in grid) < 0.02
    affine = np.diag([mm, mm, mm, 1.0])
    affine[:3, 3] = [-mm * n / 2 for n in shape]
    nibabel.Nifti1Image((blocks * brain).astype(np.uint8), affine).to_filename(folder / "atlas.nii.gz")
    names = [
        f"{k},{'ABCD'[(k - 1) // 4 % 4]}{(k - 1) // 16}_{'RRLL'[(k - 1) % 4]}{(k - 1) % 2}"
        for k in range(1, 65)
    ]
    (folder / "atlas.csv").write_text("\n".join(["number,name", *names]))
    rows = ["subject,path,label"]
    for k in range(count):
        label = ("HC", "TLE")[k % 2]
        coarse = rng.normal(size=[n // 8 + 1 for n in shape]).astype(np.float32)
        bias = np.kron(coarse, np.ones((8, 8, 8), np.float32))[tuple(slice(n) for n in shape)]
        values = (anatomy * (1 + 0.05 * bias)) * np.where(lesion & (label == "TLE"), 0.6, 1.0)
        image = nibabel.Nifti1Image(np.clip(values, 0, 255).astype(np.uint8), affine)
        image.header.set_slope_inter(2.0, 1.0)
        image.to_filename(folder / f"sub-{k:03d}.nii.gz")
        rows.append(f"sub-{k:03d},sub-{k:03d}.nii.gz,{label}")
    (folder / "subjects.csv").write_text("\n".join(rows) + "\n")
    return folder


def seconds(count: int) -> str:
    """Time of a study with all pictures, and where it goes."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_subjects(Path(name), count, SLICES, 3.0)
        begin, work = time.perf_counter(), _work()
        done = _study(folder, "benchmarks.mri:slices", "slices", "all")
        took, work = time.perf_counter() - begin, [b - a for a, b in zip(work, _work(), strict=True)]
        parts = json.loads((done / "summary.json").read_text())["seconds"]
        files = sum(f.is_file() for f in done.rglob("*"))
    lines: list[list[object]] = [[k, f"{v:.0f} s"] for k, v in parts.items()]
    lines.append(["in all", f"{took:.0f} s (<= {SECONDS}: {verdict(took, SECONDS)})"])
    lines.append(["work of the process that explains", f"{work[0]:.0f} s"])
    lines.append(["work of the process that draws", f"{work[1]:.0f} s"])
    words = f"{count} subjects of {SLICES[2]} slices, three methods, all pictures and viewers: {files} files. One thread for the network, one process that draws."
    return table("Time of a study", words, ["what", "time"], lines)


def memory(count: int, place: str | None) -> str:
    """The largest resident size of a study of large volumes."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = write_subjects(Path(name), count, LARGE, 1.0)
        before, begin = peak(), time.perf_counter()
        done = _study(folder, "benchmarks.mri:volumes", "volume", "4")
        took = time.perf_counter() - begin
        parts = json.loads((done / "summary.json").read_text())["seconds"]
    most = peak()
    lines: list[list[object]] = [
        [
            count,
            " x ".join(map(str, LARGE)),
            f"{before:.0f} MB",
            f"{most:.0f} MB (<= {MEGABYTES}: {verdict(most, MEGABYTES)})",
            f"{took:.0f} s",
        ]
    ]
    words = "; ".join(f"{k} {v:.0f} s" for k, v in parts.items())
    return table(
        "Memory of many large volumes", words, ["subjects", "voxels", "before", "peak", "time"], lines
    )


def _work() -> tuple[float, float]:
    """Seconds that this process and those it began have computed."""
    took = os.times()
    return took.user + took.system, took.children_user + took.children_system


def _study(folder: Path, model: str, kind: str, pictures: str) -> Path:
    images = Images(kind, intensity="zscore", atlas=folder / "atlas.nii.gz", atlas_names=folder / "atlas.csv")
    few = {} if kind == "slices" else {"integrated_gradients.n_steps": 4, "gradient_shap.n_samples": 2}
    drawers.set(1)
    return mri(
        folder / "subjects.csv", model, folder / "results", classes="HC,TLE", images=images, pictures=pictures,
        batch_size=1 if kind == "volume" else "auto", options=few,
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    numbers = [int(a) for a in sys.argv[1:] if a.isdecimal()]
    if sys.argv[1:2] == ["memory"]:
        print(
            memory(numbers[0] if numbers else 200, next((a for a in sys.argv[2:] if not a.isdecimal()), None))
        )
    else:
        print(seconds(numbers[0] if numbers else 50))
