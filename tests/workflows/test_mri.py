"""The study of volumes on a phantom whose truth is known, as a user runs it."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import spearmanr

import attrib
from attrib.cli.run import OK, REFUSED, run
from attrib.io import load
from attrib.stats import cluster_contrast

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("nilearn")

from attrib.labels.grids import affine_coord  # noqa: E402
from attrib.plots.drawing import Drawing  # noqa: E402
from attrib.testing import legible  # noqa: E402
from attrib.workflows.mri import (  # noqa: E402
    Images,
    Voxels,
    explaining,
)
from attrib.workflows.mri import mri as study_of  # noqa: E402
from attrib.workflows.mri.cohort import (  # noqa: E402
    CELL,
    Done,
    _methods,
    _strengths,
    _with_sd,
    labels_of_maps,
    overview,
)
from attrib.workflows.mri.explaining import Explainer  # noqa: E402
from attrib.workflows.mri.groups import Groups, _agreement, compare  # noqa: E402
from attrib.workflows.mri.plan import Plan  # noqa: E402
from attrib.workflows.mri.subjectfiles import label_of, texts_of  # noqa: E402
from attrib.workflows.plan import ALL_METHODS  # noqa: E402
from tests.browser import held  # noqa: E402
from tests.workflows import phantom  # noqa: E402

CODE = "tests.workflows.phantom"
METHODS = ("integrated_gradients", "saliency", "gradient_shap", "input_x_gradient", "deep_lift", "noise_tunnel_ig", "grad_cam", "feature_ablation")  # fmt: skip
COUNT = 16


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom.write(tmp_path_factory.mktemp("mri") / "las", COUNT)


def mri(subjects: Path, model: Any, output: Path, **options: Any) -> Path:
    """The study, its grouped options by their names."""
    groups = {"images": Images, "voxels": Voxels}
    for name, group in groups.items():
        options[name] = group(**{k: options.pop(k) for k in group._fields if k in options})
    return study_of(subjects, model, output, **options)


def words(place: Path, out: Path, *more: str) -> list[str]:
    return [
        "mri", "--subjects", str(place / "subjects.csv"), "--model", f"{CODE}:volumes", "--classes", "HC,TLE", "--output", str(out),
        "--intensity", "zscore-brain", "--atlas", f"{place / 'atlas.nii.gz'},{place / 'names.csv'}",
        *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def study(place: Path) -> Path:
    """All methods, from the command line."""
    more = [
        "--methods",
        *METHODS,
        "--pictures",
        "none",
        "--set",
        "npy=true",
        "n_steps=8",
        "smooth=0",
        "permutations=199",
    ]
    assert run(words(place, place / "out", *more, "--set", "noise_tunnel_ig.n_samples=3")) == OK
    return place / "out"


@pytest.fixture(scope="module")
def drawn(place: Path) -> Path:
    """Pictures and viewers of a patient and a control."""
    more = [
        "--methods",
        "integrated_gradients",
        "noise_tunnel_ig",
        "--set",
        "key_slices=5,6",
        "--samples",
        "sub-00",
        "sub-01",
        "--set",
        "npy=true",
    ]
    assert (
        run(
            words(place, place / "drawn", *more, "--set", "n_steps=4", "--set", "noise_tunnel_ig.n_samples=2")
        )
        == OK
    )
    return place / "drawn"


def test_the_tree_is_the_one_that_the_document_describes(drawn: Path, study: Path) -> None:
    for method in ("integrated_gradients", "noise_tunnel_ig"):
        for subject in ("sub-00", "sub-01"):
            names = {f.name for f in (drawn / method / subject).iterdir()}
            endings = (
                ".nii.gz",
                "_slice_5.png",
                "_slice_6.png",
                "_summary.png",
                "_attributions.npy",
                "_viewer.html",
            )
            assert names == {f"{subject}_{method}{e}" for e in endings}
    for method in METHODS:
        for n in range(COUNT):
            names = {f.name for f in (study / method / f"sub-{n:02d}").iterdir()}
            assert names == {f"sub-{n:02d}_{method}{e}" for e in (".nii.gz", "_attributions.npy")}
    for folder in (drawn, study):
        for name in (
            "attribution_statistics.csv",
            "attribution_summary.png",
            "regions.csv",
            "index.html",
            "attributions.nc",
        ):
            assert (folder / name).stat().st_size > 0
        record = json.loads((folder / "run.json").read_text())
        assert record["state"] == "finished"
        assert all((folder / f).is_file() for f in record["files"])
    assert (study / "clusters.csv").is_file()


def test_maps_lie_in_the_subjects_own_space(study: Path, place: Path) -> None:
    stored = nibabel.load(place / "sub-03.nii.gz")
    for method in METHODS:
        back = nibabel.load(study / method / "sub-03" / f"sub-03_{method}.nii.gz")
        np.testing.assert_array_equal(back.affine, stored.affine)
        assert back.shape == stored.shape
        assert (back.header["sform_code"], back.header["qform_code"]) == (4, 1)
        assert method in str(back.header["descrip"])
        np.testing.assert_array_equal(
            back.get_fdata(dtype="float32"),
            np.load(study / method / "sub-03" / f"sub-03_{method}_attributions.npy"),
        )


def test_one_store_holds_all_maps_with_their_labels(study: Path) -> None:
    a = load(study / "attributions.nc")
    assert a.sizes["subject"] == COUNT
    assert a["method"].values.tolist() == list(METHODS)
    one = a.sel({"subject": "sub-07", "method": "deep_lift"})
    back = nibabel.load(study / "deep_lift" / "sub-07" / "sub-07_deep_lift.nii.gz")
    np.testing.assert_array_equal(one.values, back.get_fdata(dtype="float32"))
    assert one.label == "TLE"
    np.testing.assert_allclose(np.array(json.loads(str(a.affine.values))), back.affine)


def test_means_of_each_label_lie_in_the_subjects_space(study: Path, place: Path) -> None:
    table = pd.read_csv(place / "subjects.csv")
    for label in ("HC", "TLE"):
        mean = nibabel.load(study / f"mean_{label}_deep_lift.nii.gz")
        names = table.subject[table.label == label]
        maps = [nibabel.load(study / "deep_lift" / n / f"{n}_deep_lift.nii.gz").get_fdata() for n in names]
        np.testing.assert_allclose(mean.get_fdata(), np.mean(maps, 0), atol=1e-5 * np.abs(maps).max())
        np.testing.assert_allclose(mean.affine, nibabel.load(place / "sub-00.nii.gz").affine, atol=1e-5)
        assert f"of 8 {label}" in str(mean.header["descrip"])
    lesion = phantom.turned(phantom.image((phantom.atlas() == 3).astype(np.uint8)), "LAS").get_fdata() > 0
    patient = np.abs(nibabel.load(study / "mean_TLE_deep_lift.nii.gz").get_fdata())
    assert patient[lesion].mean() > 3 * patient[~lesion].mean()


@pytest.mark.filterwarnings("ignore")  # those of distributed
def test_workers_give_what_this_process_gives(client: Any, tmp_path: Path) -> None:
    """Two processes, each with a model of its own."""
    folder = phantom.write(tmp_path / "subjects", 6)
    broken = nibabel.load(folder / "sub-03.nii.gz")
    values = broken.get_fdata().astype(np.float32)
    values[3, 3, 3] = np.nan
    nibabel.Nifti1Image(values, broken.affine, broken.header).to_filename(folder / "sub-03.nii.gz")
    options: dict[str, Any] = {
        "classes": "HC,TLE", "methods": ["deep_lift", "grad_cam"], "pictures": 1, "key_slices": [6], "input": "slices", "intensity": "zscore-brain",
    }  # fmt: skip
    table = (
        (folder / "subjects.csv").read_text().replace("sub-03", "sub-x").replace("sub-x.nii", "sub-03.nii")
    )
    (folder / "subjects.csv").write_text(table)
    there = mri(folder / "subjects.csv", f"{CODE}:slices", tmp_path / "there", cluster=client, **options)
    here = mri(folder / "subjects.csv", f"{CODE}:slices", tmp_path / "here", **options)
    assert load(there / "attributions.nc").identical(load(here / "attributions.nc"))
    problems = [pd.read_csv(f / "problems.csv") for f in (there, here)]
    assert problems[0].equals(problems[1])
    assert problems[0].subject.tolist() == ["sub-x"]
    assert list((there / "deep_lift").glob("*/*_slice_6.png"))
    with pytest.raises(ValueError, match="`cluster` is 0"):
        mri(folder / "subjects.csv", f"{CODE}:slices", tmp_path / "none", cluster=0, **options)
    assert not (tmp_path / "none").exists()


def test_statistics_of_each_subject(study: Path) -> None:
    table = pd.read_csv(study / "attribution_statistics.csv")
    assert len(table) == COUNT * len(METHODS)
    complete = table[table.method.isin(["integrated_gradients", "deep_lift"])]
    assert (complete.delta.abs() < 0.02 * complete.score + 0.5).all()
    np.testing.assert_allclose(complete["sum"] - complete.delta, complete.score, rtol=1e-4)  # zeros score 0
    assert table.correct.all()
    patients = complete[complete.label == "TLE"]
    assert (patients.peak_region == "Hippocampus_L").mean() >= 0.95
    voxel = patients.iloc[0]
    mm = (
        phantom.OBLIQUE[:3, :3] @ voxel[["peak_i", "peak_j", "peak_k"]].to_numpy(float)
        + phantom.OBLIQUE[:3, 3]
    )
    np.testing.assert_allclose(voxel[["peak_x", "peak_y", "peak_z"]].to_numpy(float), mm, atol=1e-2)


def test_maps_are_compared_with_random_orders_and_with_each_other(study: Path) -> None:
    table = pd.read_csv(study / "attribution_statistics.csv")
    patients = table[(table.method == "integrated_gradients") & (table.label == "TLE")]
    assert (patients.deletion_z > 3).all()
    assert (patients.deletion_area < patients.deletion_random_area).all()
    summary = json.loads((study / "summary.json").read_text())
    assert set(summary["deletion_z_median"]) == set(METHODS)
    np.testing.assert_allclose(
        summary["deletion_z_median"]["deep_lift"], table[table.method == "deep_lift"].deletion_z.median()
    )
    agreement = pd.read_csv(study / "agreement.csv")
    assert {"integrated_gradients", "deep_lift"} <= set(agreement.iloc[:, :2].to_numpy().ravel())
    pair = agreement[
        (agreement["first"] == "integrated_gradients") & (agreement["second"] == "saliency")
    ].iloc[0]
    inside, r = [], []
    for file in sorted((study / "parts").glob("*.npz")):
        with np.load(file) as maps:
            brain = maps["inside"] >= 0.5
            assert not brain.all()  # where images are empty all maps are alike, which says nothing
            r.append(
                spearmanr(*(np.abs(maps[m][brain]) for m in ("integrated_gradients", "saliency"))).statistic
            )
            inside.append(maps["inside"])
    assert pair["mean"] == pytest.approx(np.mean(r), abs=1e-6)
    common = np.mean(inside, 0) >= 0.5
    of_patients = np.stack([
        np.load(study / "parts" / f"{s}.npz")["saliency"][common] for s in table[table.label == "TLE"].subject.unique()
    ])  # fmt: skip
    expected = np.corrcoef(of_patients)[np.triu_indices(len(of_patients), 1)].mean()
    alike = pd.read_csv(study / "consistency.csv")
    row = alike[(alike.method == "saliency") & (alike.samples == "within TLE")].iloc[0]
    assert row.correlation == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("form", ["volume", "slices"])
def test_deletion_is_that_of_the_methods_own_rows_and_the_studys_baseline(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The maps of a subject share random orders, and each has the figures that it has alone."""
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24 if form == "volume" else 6, 1)).eval()
    rng = np.random.default_rng(0)
    volume, start = (xr.DataArray(rng.normal(size=(2, 3, 4)).astype("f4"), dims=tuple("ijk")) for _ in "ab")
    monkeypatch.setattr(explaining, "JUDGED", 2)  # of four slices
    explainer = Explainer(net, Plan(methods=("saliency", "deep_lift"), input=form), "k")
    assert explainer.explain(volume, None, start).deletion == {}
    told = explainer.explain(volume, None, start, judged=True).deletion
    x, a = (explainer.rows(v)[:: 2 if form == "slices" else 1] for v in (volume, start))
    maps = {
        "saliency": attrib.saliency(net, x, target=0),
        "deep_lift": attrib.deep_lift(net, x, target=0, baselines=a),
    }
    for method, one in maps.items():
        curve = attrib.deletion(net, x, one, baselines=a, steps=10, n_random=5, target=0)
        assert told[method] == {
            "deletion_area": pytest.approx(float(curve.area.mean())),
            "deletion_random_area": pytest.approx(float(curve.random_area.mean())),
            "deletion_z": pytest.approx(float(curve.z.median())),
        }
    assert told["saliency"]["deletion_area"] != told["deep_lift"]["deletion_area"]


class OfAge(torch.nn.Module):
    """The score of another network, times the subject's age."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        return self.model(x) * age.to(x.dtype).reshape(-1, 1)


@pytest.mark.parametrize("form", ["volume", "slices"])
def test_each_subject_has_its_own_context(place: Path, tmp_path: Path, form: str) -> None:
    ages = {"sub-03": 2.0, "sub-99": 9.0, "sub-01": 4.0}
    pd.Series(ages, name="age").to_csv(tmp_path / "people.csv", index_label="subject")
    options: dict[str, Any] = {"classes": "HC,TLE", "intensity": "zscore-brain", "methods": ["saliency", "grad_cam"], "samples": ["sub-01", "sub-03"], "pictures": 0, "input": form}  # fmt: skip
    bare = phantom.volumes() if form == "volume" else phantom.slices()
    plain = mri(place / "subjects.csv", bare, tmp_path / "plain", **options)
    aged = mri(
        place / "subjects.csv",
        OfAge(bare),
        tmp_path / "aged",
        context=[str(tmp_path / "people.csv")],
        **options,
    )
    a, b = load(plain / "attributions.nc"), load(aged / "attributions.nc")
    factor = xr.DataArray([4.0, 2.0], dims="subject", coords={"subject": ["sub-01", "sub-03"]})
    np.testing.assert_allclose(b, (a * factor).transpose(*b.dims), rtol=1e-4, atol=1e-9)
    areas = [pd.read_csv(f / "attribution_statistics.csv").deletion_area for f in (plain, aged)]
    np.testing.assert_allclose(areas[1], areas[0] * [4, 4, 2, 2], rtol=1e-3)
    pd.Series({**ages, "sub-01": 5.0}, name="age").to_csv(tmp_path / "people.csv", index_label="subject")
    with pytest.raises(ValueError, match="holds a run with other context"):
        mri(place / "subjects.csv", OfAge(bare), aged, context=[str(tmp_path / "people.csv")], **options)
    with pytest.raises(
        ValueError, match=r"people.csv lacks the samples 'sub-00', 'sub-02', 'sub-04' and 11 more"
    ):
        mri(
            place / "subjects.csv", OfAge(bare), tmp_path / "all", context=[str(tmp_path / "people.csv")],
            **{**options, "samples": None},
        )  # fmt: skip


def test_the_lesion_is_named_by_region_side_and_cluster(study: Path) -> None:
    regions = pd.read_csv(study / "group_regions.csv")
    sides = pd.read_csv(study / "group_lateralisation.csv")
    clusters = pd.read_csv(study / "clusters.csv")
    for method in ("integrated_gradients", "deep_lift", "gradient_shap"):
        of_lesion = regions[(regions.method == method) & (regions.region == "Hippocampus_L")].iloc[0]
        assert of_lesion.p_holm < 0.05
        assert of_lesion.lower > 0
        side = sides[(sides.method == method) & (sides.pair == "Hippocampus")]
        assert (
            side.p_holm.isna().all() or side.difference.iloc[0] > 0
        )  # controls may have none on either side
        first = clusters[clusters.method == method].iloc[0]
        assert first.p_mass <= 0.05
        assert first.regions.startswith("Hippocampus_L")
    ablated = pd.read_csv(study / "regions.csv").query("method == 'feature_ablation' and label == 'TLE'")
    strongest = ablated.loc[ablated.groupby("subject")["abs_sum"].idxmax()]
    assert (strongest.region == "Hippocampus_L").mean() >= 0.9


def test_region_effects_are_counted_once(study: Path, place: Path) -> None:
    """Ablation's effect of a region is the change of the score when it becomes 0, not that times its voxels."""
    values = phantom.volume(1, True)
    inside = values[values != 0]
    x = torch.tensor((values - inside.mean()) / inside.std())[None, None]
    net = phantom.volumes().requires_grad_(False)
    ablated = x.clone()
    ablated[0, 0, torch.tensor(phantom.atlas() == 3)] = 0
    expected = float(net(x)[0, 1] - net(ablated)[0, 1])
    table = pd.read_csv(study / "regions.csv").query("method == 'feature_ablation' and subject == 'sub-01'")
    assert table.set_index("region")["sum"]["Hippocampus_L"] == pytest.approx(expected, rel=1e-4)


def test_group_maps_have_t_p_and_clusters(study: Path) -> None:
    group = nibabel.load(study / "group_deep_lift.nii.gz")
    assert group.shape == (*phantom.SHAPE, 3)
    t, p, cluster = np.moveaxis(group.get_fdata(), 3, 0)
    assert t[phantom.LESION].mean() > 4
    assert p[phantom.LESION].min() < 0.05
    table = pd.read_csv(study / "clusters.csv").query("method == 'deep_lift'")
    assert (cluster == 1).sum() == table.blocks.iloc[0]
    assert t[tuple(table[["peak_i", "peak_j", "peak_k"]].iloc[0])] == pytest.approx(
        table.peak_t.iloc[0], rel=1e-5
    )


def test_shuffled_labels_give_clusters_as_seldom_as_claimed(study: Path) -> None:
    a = (
        load(study / "attributions.nc")
        .sel({"method": "integrated_gradients"}, drop=True)
        .rename(subject="sample")
    )
    mask = xr.DataArray(phantom.brain(), dims=("i", "j", "k"))
    rng = np.random.default_rng(0)
    called = [
        bool((cluster_contrast(a, rng.permutation(np.arange(COUNT) < COUNT // 2), mask=mask, threshold=0.01, n_permutations=59, seed=s).p_mass <= 0.05).any())
        for s in range(100)
    ]  # fmt: skip
    assert 0.01 <= np.mean(called) <= 0.09


@pytest.mark.parametrize("letters", ["RAS", "LPI", "PSR"])
def test_copies_stored_along_other_axes_have_the_same_peaks(
    study: Path, tmp_path: Path, letters: str
) -> None:
    """Oblique and flipped copies of the files give the same peaks in mm, and maps in their own axes."""
    other = phantom.write(tmp_path / letters, 8, letters)
    out = mri(
        other / "subjects.csv", phantom.volumes(), tmp_path / "out", classes="HC,TLE", methods=["deep_lift"], intensity="zscore-brain",
        smooth=0.0, pictures=0, orientation="LAS",
    )  # fmt: skip
    table = pd.read_csv(out / "attribution_statistics.csv").set_index("subject")
    expected = (
        pd.read_csv(study / "attribution_statistics.csv")
        .query("method == 'deep_lift'")
        .set_index("subject")
        .loc[table.index]
    )
    np.testing.assert_allclose(
        table[["peak_x", "peak_y", "peak_z"]], expected[["peak_x", "peak_y", "peak_z"]], atol=1e-2
    )
    back = nibabel.load(out / "deep_lift" / "sub-01" / "sub-01_deep_lift.nii.gz")
    stored = nibabel.load(other / "sub-01.nii.gz")
    np.testing.assert_allclose(back.affine, stored.affine)
    assert nibabel.aff2axcodes(back.affine) == tuple(letters)
    turned = phantom.turned(back, "LAS").get_fdata()
    np.testing.assert_allclose(
        turned,
        nibabel.load(study / "deep_lift" / "sub-01" / "sub-01_deep_lift.nii.gz").get_fdata(),
        atol=1e-5,
    )


def test_slices_are_samples_and_a_subject_is_their_mean(place: Path, tmp_path: Path) -> None:
    """A network of slices, and one of volumes that folds slices into its batch, give the same; Grad-CAM works for both."""
    options = {"classes": "HC,TLE", "intensity": "zscore-brain", "methods": ["deep_lift", "grad_cam"], "input": "slices", "samples": ["sub-00", "sub-01"], "pictures": 0}  # fmt: skip
    flat = mri(place / "subjects.csv", phantom.slices(), tmp_path / "flat", **options)
    deep = mri(place / "subjects.csv", phantom.folded(), tmp_path / "deep", **options)
    a, b = load(flat / "attributions.nc"), load(deep / "attributions.nc")
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.abs(a.sel({"method": "grad_cam", "subject": "sub-01"})).max() > 0
    table = pd.read_csv(flat / "attribution_statistics.csv").query("method == 'deep_lift'")
    np.testing.assert_allclose(
        table["sum"] - table.delta, table.score, atol=1e-4
    )  # the mean over slices is what is explained
    with pytest.raises(ValueError, match="pass `input` slices"):
        mri(
            place / "subjects.csv",
            phantom.folded(),
            tmp_path / "no",
            **{**options, "input": "volume", "methods": ["grad_cam"]},
        )
    assert not (tmp_path / "no").exists()
    some = mri(
        place / "subjects.csv",
        phantom.slices(),
        tmp_path / "some",
        **{**options, "pictures": 1},
        slice_range=(4, 8),
    )
    c = load(some / "attributions.nc").sel({"method": "deep_lift"})
    assert (c.isel(k=[0, 1, 2, 3, 9, 10, 11]) == 0).all()
    drawn = {int(f.stem.rpartition("_")[2]) for f in (some / "deep_lift").glob("*/*_slice_*.png")}
    assert drawn
    assert drawn <= set(range(4, 9))  # others would be black
    np.testing.assert_allclose(
        c.isel(k=slice(4, 9)) * 5, a.sel({"method": "deep_lift"}).isel(k=slice(4, 9)) * 12, atol=1e-5
    )


def test_a_run_is_continued_and_a_changed_subject_done_again(place: Path, tmp_path: Path) -> None:
    calls = []

    class Counting(phantom.Brightness):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(len(x))
            return super().forward(x)

    options = {
        "classes": "HC,TLE",
        "methods": ["saliency"],
        "pictures": 0,
        "intensity": "zscore-brain",
    }
    folder = phantom.write(tmp_path / "data", 4)
    out = mri(folder / "subjects.csv", Counting(3), tmp_path / "out", **options)
    first, table = len(calls), (out / "attribution_statistics.csv").read_text()
    calls.clear()
    mri(folder / "subjects.csv", Counting(3), tmp_path / "out", **options)
    assert len(calls) <= first / 3  # the trial alone
    assert (out / "attribution_statistics.csv").read_text() == table
    phantom.image(phantom.volume(9, True)).to_filename(folder / "sub-02.nii.gz")
    subjects = folder / "subjects.csv"
    subjects.write_text(
        subjects.read_text().replace("sub-00.nii.gz,HC", "sub-00.nii.gz,TLE")
    )  # a mended label
    mri(folder / "subjects.csv", Counting(3), tmp_path / "out", **options)
    changed = pd.read_csv(out / "attribution_statistics.csv")
    assert changed.predicted[2] == "TLE"
    assert changed.correct.tolist() == (changed.label == changed.predicted).tolist()
    assert changed.label[0] == "TLE" != changed.predicted[0]
    with pytest.raises(ValueError, match="run with other intensity"):
        mri(folder / "subjects.csv", Counting(3), tmp_path / "out", **{**options, "intensity": "zscore"})
    again = mri(
        folder / "subjects.csv",
        Counting(3),
        tmp_path / "out",
        **{**options, "intensity": "zscore"},
        overwrite=True,
    )
    assert json.loads((again / "run.json").read_text())["settings"]["intensity"] == "zscore"


def test_agreement_of_methods_counts_the_subjects_of_whom_both_maps_vary(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    maps = {s: rng.normal(size=(2, 3, 4, 5)) for s in "abc"}
    maps["b"][1] = 0.0
    (tmp_path / "parts").mkdir()
    for s, (one, two) in maps.items():
        np.savez(tmp_path / "parts" / f"{s}.npz", one=one, two=two, none=0 * one, inside=np.ones((3, 4, 5)))
    table = _agreement(tmp_path, [{"subject": s} for s in "abc"], ["one", "two", "none"])
    r = [spearmanr(*np.abs(maps[s]).reshape(2, -1)).statistic for s in "ac"]
    assert table.iloc[0, 2:].tolist() == pytest.approx([np.mean(r), np.std(r, ddof=1), 2])
    assert table.iloc[1, 2:].tolist() == pytest.approx([np.nan, np.nan, 0], nan_ok=True)
    assert [_with_sd(0.5, 0.1), _with_sd(0.5, np.nan), _with_sd(np.nan, np.nan)] == [
        "0.50\n± 0.10",
        "0.50",
        "–",
    ]


def test_maps_of_several_targets_say_whose_score_they_explain() -> None:
    parts = [
        {"subject": s, "label": "", "predicted": t, "target": t, "probability": [0.9], "score": 1.0, "units": {"saliency": f"score of {t} / input unit"}}
        for s, t in (("a", "HC"), ("b", "TLE"))
    ]  # fmt: skip
    cohort, settings = SimpleNamespace(shape=(1, 1, 1), grid={}), Plan(methods=("saliency",))
    several, one = (
        labels_of_maps(Done(cohort, settings, some, [], [], "k", [], {})) for some in (parts, parts[1:])
    )  # type: ignore[arg-type]
    assert several.attrs["long_name"] == "attribution of the score of the predicted class"
    assert several.attrs["units"] == "saliency: score of the predicted class / input unit"
    assert several.target.values.tolist() == ["HC", "TLE"]
    assert one.attrs["units"] == "saliency: score of TLE / input unit"


def test_maps_that_are_the_same_in_all_subjects_end_no_study(tmp_path: Path) -> None:
    """Such as Grad-CAM where all of it speaks against the class: zero everywhere."""
    parts = [{"subject": f"s{n}", "label": ("HC", "TLE")[n % 2], "classes": ["HC", "TLE"]} for n in range(8)]
    (tmp_path / "parts").mkdir()
    for p in parts:
        np.savez(
            tmp_path / "parts" / f"{p['subject']}.npz",
            saliency=np.zeros((3, 3, 3)),
            inside=np.ones((3, 3, 3)),
        )
    cohort: Any = SimpleNamespace(shape=(3, 3, 3), volume=lambda v: xr.DataArray(v, dims=("i", "j", "k")))
    groups = compare(
        tmp_path, cohort, Plan(methods=("saliency",)), parts, pd.DataFrame(), Voxels(permutations=9)
    )
    assert groups.notes == ["No statistics of voxels of Saliency: it is the same in all subjects."]
    assert not len(groups.clusters)
    assert (groups.consistency.correlation == 0).all()


def test_masks_and_baselines_that_changed_are_no_longer_those_of_the_run(tmp_path: Path) -> None:
    folder = phantom.write(tmp_path / "data", 4)
    phantom.image(phantom.brain().astype("u1")).to_filename(folder / "mask.nii.gz")
    rows = "subject,path,label,mask\n" + "".join(
        f"s{k},sub-0{k}.nii.gz,{'TLE' if k % 2 else 'HC'},mask.nii.gz\n" for k in range(4)
    )
    (folder / "subjects.csv").write_text(rows)
    options: dict[str, Any] = {
        "classes": "HC,TLE",
        "methods": ["deep_lift"],
        "pictures": 0,
        "intensity": "zscore-brain",
    }

    def sums(output: str, **more: Any) -> list[float]:
        out = mri(
            folder / "subjects.csv",
            phantom.volumes(),
            tmp_path / output,
            samples=["s0", "s1"],
            **options,
            **more,
        )
        return pd.read_csv(out / "attribution_statistics.csv")["sum"].tolist()

    before = sums("masks")
    half = phantom.brain().astype("u1")
    half[: half.shape[0] // 2] = 0
    phantom.image(half).to_filename(folder / "mask.nii.gz")
    again = sums("masks")
    assert again != before
    assert again == sums("anew")
    for baselines in ("mean:HC", str(folder / "sub-02.nii.gz")):
        name = "mean" if baselines == "mean:HC" else "file"
        sums(name, baselines=baselines)
        changed = "sub-00.nii.gz" if name == "mean" else "sub-02.nii.gz"
        phantom.image(phantom.volume(9, True)).to_filename(folder / changed)
        with pytest.raises(ValueError, match=r"run with other (reference|baselines)"):
            sums(name, baselines=baselines)


def test_what_is_wrong_is_listed_by_subject_and_the_others_are_finished(tmp_path: Path) -> None:
    folder = phantom.write(tmp_path / "data", 4)
    values = phantom.volume(0, False)
    holes = values.copy()
    holes[3, 3, 3] = np.nan
    phantom.image(holes).to_filename(folder / "holes.nii.gz")
    phantom.image(values[:, :, :-1]).to_filename(folder / "smaller.nii.gz")
    moved = phantom.OBLIQUE.copy()
    moved[0, 3] += 1
    phantom.image(values, moved).to_filename(folder / "moved.nii.gz")
    (folder / "torn.nii.gz").write_bytes((folder / "sub-00.nii.gz").read_bytes()[:900])
    (folder / "text.nii.gz").write_text("no image")
    phantom.image(np.stack([values] * 3, 3)).to_filename(folder / "several.nii.gz")
    rows = [
        "sub-00,sub-00.nii.gz,HC,", "sub-01,sub-01.nii.gz,TLE,", "absent,absent.nii.gz,HC,", "holes,holes.nii.gz,HC,",
        "smaller,smaller.nii.gz,HC,", "moved,moved.nii.gz,HC,", "torn,torn.nii.gz,HC,", "text,text.nii.gz,HC,",
        "several,several.nii.gz,HC,", "strange,sub-02.nii.gz,MCI,", "sub-00,sub-03.nii.gz,TLE,", "masked,sub-03.nii.gz,TLE,smaller.nii.gz",
    ]  # fmt: skip
    (folder / "subjects.csv").write_text("subject,path,label,mask\n" + "\n".join(rows) + "\n")
    out = mri(folder / "subjects.csv", phantom.volumes(), tmp_path / "out", classes="HC,TLE", methods=["saliency"], pictures=0, intensity="zscore-brain", baselines="mean:HC")  # fmt: skip
    problems = pd.read_csv(out / "problems.csv").set_index("subject")
    for subject, words_, kept in (
        ("absent", "there is no image", False), ("holes", "1 voxels that are not numbers", False), ("smaller", "14 x 16 x 11 voxels", False),
        ("moved", "their affines differ by up to 1 mm", False), ("torn", "", False), ("text", "cannot be read as an image", False),
        ("several", "3 volumes; the first is used", True), ("strange", "'MCI' is none of the classes HC, TLE", True),
        ("sub-00", "line 12: a subject of this name comes before", False), ("masked", "smaller.nii.gz has 14 x 16 x 11 voxels", False),
    ):  # fmt: skip
        assert words_ in problems.problem[subject]
        assert problems.kept[subject] == kept
    done = pd.read_csv(out / "attribution_statistics.csv")
    assert set(done.subject) == {"sub-00", "sub-01", "several", "strange"}
    assert "holes: " in (out / "index.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["integrated_gradient"]}, "did you mean 'integrated_gradients'?"),
        ({"classes": "HC,TLE,MCI"}, "^`classes` has 3 names, but the model has 2 outputs"),
        ({"classes": None}, "`classes` is missing: the labels are HC, TLE"),
        ({"target": "TEL"}, "did you mean 'TLE'?"),
        ({"intensity": "z-score"}, "did you mean 'zscore'?"),
        ({"axis": "axiel"}, "`axis` is 'axiel'"),
        ({"key_slices": [5, 40]}, "slice 40 is not among those that are explained along k, 0 to 11"),
        (
            {"input": "slices", "slice_range": (4, 12), "model": "slices"},
            "`slice_range` of `input` is 4-12, but there are slices 0 to 11",
        ),
        (
            {"input": "slices", "slice_range": (4, 9), "model": "slices", "key_slices": [3]},
            "slice 3 is not among those that are explained along k, 4 to 9",
        ),
        ({"key_mm": [400.0]}, "`key_mm`: slice"),
        ({"baselines": "mean:MCI"}, "no subject has the label 'MCI'"),
        ({"baselines": "mean:Tle"}, "no subject has the label 'Tle'; did you mean 'TLE'"),
        ({"baselines": "nothing"}, "`baselines` has 'nothing', expected zeros"),
        ({"methods": ["feature_ablation"]}, "pass an atlas"),
        ({"samples": ["sub-99"]}, "`samples` is sub-99, expected some of sub-00"),
        ({"options": {"n_stepz": 3}}, "n_stepz: no such argument"),
        ({"options": {"deep_lift.n_steps": 3}}, "there are saliency"),
        ({"pictures": "some"}, "expected a number, all or none"),
        ({"model": "slices"}, "the model fails on a volume of shape .* takes `input` slices"),
        ({"orientation": "LEFT"}, "^`orientation` is 'LEFT', expected three letters"),
        ({"max_samples": -1}, "`max_samples` is -1"),
        ({"smooth": -1.0}, "`smooth` is -1.0, expected mm, or 0"),
        ({"threshold": 5.0}, "`threshold` is 5.0, expected a p below 0.5"),
        ({"connectivity": 8}, "`connectivity` is 8, expected 6, 18 or 26"),
        ({"permutations": 0}, "`permutations` is 0, expected a number of at least 1"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    place: Path, tmp_path: Path, options: dict, message: str
) -> None:
    net = getattr(phantom, options.pop("model", "volumes"))()
    with pytest.raises(ValueError, match=message):
        mri(
            place / "subjects.csv",
            net,
            tmp_path / "out",
            **{"classes": "HC,TLE", "methods": ["saliency"], **options},
        )
    assert not (tmp_path / "out").exists()


def test_atlases_are_refused_without_names_and_on_other_grids(place: Path, tmp_path: Path) -> None:
    base = {"classes": "HC,TLE", "methods": ["saliency"], "atlas_names": place / "names.csv"}
    phantom.image(phantom.atlas()[:-1]).to_filename(tmp_path / "small.nii.gz")
    phantom.image(phantom.atlas() + 0.5).to_filename(tmp_path / "broken.nii.gz")
    (tmp_path / "few.csv").write_text("1,Hemisphere_L\n")
    for options, message in (
        ({"atlas": place / "atlas.nii.gz", "atlas_names": None}, "`atlas` needs the names"),
        ({"atlas": place / "atlas.nii.gz", "atlas_names": tmp_path / "few.csv"}, "no name for 3 regions"),
        ({"atlas": tmp_path / "small.nii.gz"}, "small.nii.gz has 13 x 16 x 12 voxels"),
        ({"atlas": tmp_path / "broken.nii.gz"}, "no whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            mri(place / "subjects.csv", phantom.volumes(), tmp_path / "out", **{**base, **options})


def test_each_subject_may_have_its_own_parcellation(tmp_path: Path) -> None:
    """A subject whose regions are swapped has its effects under swapped names."""
    folder = phantom.write(tmp_path / "data", 2)
    swapped = phantom.atlas()
    phantom.image(np.choose(swapped, [0, 2, 1, 4, 3]).astype("u1")).to_filename(folder / "own.nii.gz")
    (folder / "subjects.csv").write_text(
        "subject,path,label,atlas\na,sub-01.nii.gz,TLE,atlas.nii.gz\nb,sub-01.nii.gz,TLE,own.nii.gz\n"
    )
    out = mri(folder / "subjects.csv", phantom.volumes(), tmp_path / "out", classes="HC,TLE", methods=["feature_ablation"], atlas_names=folder / "names.csv", intensity="zscore-brain", pictures=0)  # fmt: skip
    table = pd.read_csv(out / "regions.csv").pivot(index="region", columns="subject", values="sum")
    assert table.a["Hippocampus_L"] == pytest.approx(table.b["Hippocampus_R"])
    assert table.a["Hippocampus_L"] > 10 * abs(table.b["Hippocampus_L"])


@pytest.mark.parametrize("baselines", ["mean:HC", "samples:HC:3", "blurred:8", "0.5", "FILE"])
def test_baselines(place: Path, tmp_path: Path, baselines: str) -> None:
    """Attributions add up to the score less that of the baseline."""
    chosen = str(place / "sub-00.nii.gz") if baselines == "FILE" else baselines
    out = mri(
        place / "subjects.csv", phantom.volumes(), tmp_path / "out", classes="HC,TLE", methods=["deep_lift", "gradient_shap"],
        intensity="zscore-brain", baselines=chosen, samples=["sub-00", "sub-01"], pictures=0,
    )  # fmt: skip
    table = (
        pd.read_csv(out / "attribution_statistics.csv").query("method == 'deep_lift'").set_index("subject")
    )
    assert (table.delta.abs() < 1e-5 * table.abs_sum + 1e-3).all()
    if baselines == "FILE":
        assert table["sum"]["sub-00"] == pytest.approx(0, abs=1e-3)
        assert table["sum"]["sub-01"] == pytest.approx(
            table.score["sub-01"] - table.score["sub-00"], rel=1e-4
        )


def test_parameters_and_weights_of_a_training(place: Path, tmp_path: Path) -> None:
    """The record of a training goes to the factory; names of wrapped models are brought back."""
    torch.save(
        {"model_state_dict": {f"module.{k}": v * 2 for k, v in phantom.volumes().state_dict().items()}},
        tmp_path / "best.pth",
    )
    (tmp_path / "parameters.json").write_text(json.dumps({"gain": 3.0, "learning_rate": 1e-3}))
    more = [
        "--weights",
        str(tmp_path / "best.pth"),
        "--parameters",
        str(tmp_path / "parameters.json"),
        "--pictures",
        "none",
        "--samples",
        "sub-01,sub-02",
    ]
    assert run(words(place, tmp_path / "out", *more, "--methods", "saliency")) == OK
    score = pd.read_csv(tmp_path / "out" / "attribution_statistics.csv").score[0]
    net = phantom.volumes(3.0).requires_grad_(False)
    net.load_state_dict({k: v * 2 for k, v in net.state_dict().items()})
    values = phantom.volume(1, True)
    inside = values[values != 0]
    assert score == pytest.approx(
        float(net(torch.tensor((values - inside.mean()) / inside.std())[None, None])[0, 1]), rel=1e-4
    )


def test_max_samples_are_drawn_evenly(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            words(
                place,
                tmp_path / "out",
                "--methods",
                "saliency",
                "--max-samples",
                "6",
                "--pictures",
                "none",
            )
        )
        == OK
    )
    printed = capsys.readouterr().out
    assert "6 of 16 subjects, drawn evenly over labels" in printed
    table = pd.read_csv(tmp_path / "out" / "attribution_statistics.csv")
    assert table.label.value_counts().to_dict() == {"HC": 3, "TLE": 3}
    assert "No statistics of voxels: 3 subjects with label TLE" in printed


def test_the_command_line_refuses_in_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(place, tmp_path / "out", "--methods", "salience")) == REFUSED
    assert "did you mean 'saliency'?" in capsys.readouterr().err
    assert run(words(place, tmp_path / "out", "--set", "key_slices=a")) == REFUSED
    assert "--set key_slices is a, expected numbers" in capsys.readouterr().err
    assert run(words(place, tmp_path / "out", "--input", "slices:3")) == REFUSED
    assert "expected the first and the last slice: slices:30-90" in capsys.readouterr().err
    assert run(words(place, tmp_path / "out", "--set", "smoth=2")) == REFUSED
    assert "did you mean 'smooth'?" in capsys.readouterr().err
    assert run(words(place, tmp_path / "out", "--set", "tfce=no")) == REFUSED
    assert "--set tfce is 'no', expected true or false" in capsys.readouterr().err
    assert run(words(place, tmp_path / "out", "--set", "axis=axiel")) == REFUSED
    assert "--set axis is 'axiel', expected sagittal, coronal, axial" in capsys.readouterr().err
    assert run(words(place, tmp_path / "out", "--atlas", "a.csv,b.csv")) == REFUSED
    assert "expected an image and a table of its names" in capsys.readouterr().err
    assert run(words(place, tmp_path / "out", "--set", "key_slices=4,-4mm")) == REFUSED
    assert "--set key_slices is 4,-4mm, expected slices alone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_slices_by_place_channels_from_the_network_and_names_beside_the_atlas(tmp_path: Path) -> None:
    folder = phantom.write(tmp_path / "data", 2)
    (folder / "names.csv").rename(folder / "atlas.csv")
    assert run([
        "mri", "--data", str(folder / "subjects.csv"), "--model", f"{CODE}:of_colour", "--classes", "HC,TLE", "--output", str(tmp_path / "out"),
        "--methods", "saliency", "--input", "slices:2-9", "--set", "key_slices=-4mm,4mm", "--atlas", str(folder / "atlas.nii.gz"),
    ]) == OK  # fmt: skip
    pictures = {f.name for f in (tmp_path / "out" / "saliency" / "sub-01").glob("*_slice_*.png")}
    assert len(pictures) == 2
    a = load(tmp_path / "out" / "attributions.nc").sel({"method": "saliency"})
    assert bool((a.isel(k=[0, 1, 10, 11]) == 0).all())
    assert bool((a.isel(k=slice(2, 10)) > 0).any())
    assert "Hippocampus_L" in (tmp_path / "out" / "regions.csv").read_text()


def test_the_overview_can_be_read(study: Path, drawn: Path) -> None:
    """With eight methods and regions, and with two and one subject of each label; with long names of both."""
    long = {
        "TLE": "epilepsy of the right temporal lobe with hippocampal sclerosis",
        "HC": "$healthy_controls$",
    }
    for folder in (study, drawn):
        frames = {
            k: pd.read_csv(folder / f"{n}.csv") if (folder / f"{n}.csv").is_file() else pd.DataFrame()
            for k, n in (("clusters", "clusters"), ("regions", "group_regions"), ("agreement", "agreement"))
        }
        table = pd.read_csv(folder / "attribution_statistics.csv", keep_default_na=False, na_values=[""])
        regions = frames["regions"]
        if len(regions):
            regions["region"] = "Inferior Temporal Gyrus, temporooccipital part, " + regions["region"]
        empty = pd.DataFrame()
        groups = Groups(
            *long.values(), frames["clusters"], regions, empty, empty, empty, frames["agreement"], [], []
        )
        table = table.replace({"label": long})
        figure = overview(table, groups, list(dict.fromkeys(table.method)))
        legible(figure)
        assert len(figure.axes) == 4


def test_correlations_of_all_methods_fit_their_cells() -> None:
    names = [n for n, m in ALL_METHODS.items() if m.about.result in ("input", "layer map")]
    agreement = pd.DataFrame({"first": names[:2], "second": names[1:3], "mean": -0.25, "sd": 0.125})
    figure = Drawing((CELL[0] * len(names), CELL[1] * len(names)))
    empty = pd.DataFrame()
    groups = Groups("TLE", "HC", empty, empty, empty, empty, empty, agreement, [], [])
    _methods(figure.add_subplot(), groups, names)
    figure.axes[0].set(position=(0, 0, 1, 1), title="", xticks=[], yticks=[])
    legible(figure)


def test_long_names_fit_above_slices() -> None:
    from attrib.plots import slice_panels

    group = "epilepsy of the right temporal lobe with hippocampal sclerosis"
    part = {"predicted": group, "target": group, "probability": [0.987]}
    subject: Any = SimpleNamespace(name="sub-0001_ses-baseline_acq-mprage_run-01_T1w", label=group)
    a = xr.DataArray(np.random.default_rng(0).normal(size=(8, 9, 8)), dims=("i", "j", "k"))
    a = a.assign_coords(affine=affine_coord(np.diag([20.0, 20.0, 20.0, 1.0])))
    texts = texts_of(subject, part, "integrated_gradients", label_of(f"score of {group}", group))
    legible(slice_panels(a, a, "k", 4, **texts))


def test_intervals_of_few_subjects_are_those_of_student() -> None:
    """Three subjects: 4.30 standard errors on each side, not 1.96."""
    table = pd.DataFrame({"method": "saliency", "label": ["HC"] * 3 + ["TLE"], "sum": [1.0, 2.0, 3.0, 5.0]})
    none = pd.DataFrame()
    ax = Figure().subplots()
    _strengths(ax, table, Groups("TLE", "HC", *[none] * 6, [], []), "saliency")
    (low, high) = ax.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3)


def test_shapley_values_of_regions_add_up(place: Path, tmp_path: Path) -> None:
    """With what lies outside of the atlas they are the score less that of zeros; four regions are few enough to be exact."""
    out = mri(
        place / "subjects.csv", phantom.volumes(), tmp_path / "out", classes="HC,TLE", methods=["shapley_values"], intensity="zscore-brain",
        samples=["sub-01"], atlas=place / "atlas.nii.gz", atlas_names=place / "names.csv", pictures=0,
    )  # fmt: skip
    regions = pd.read_csv(out / "regions.csv")
    outside = nibabel.load(out / "shapley_values" / "sub-01" / "sub-01_shapley_values.nii.gz").get_fdata()[
        phantom.atlas() == 0
    ]
    assert np.ptp(outside) == pytest.approx(0, abs=1e-5)
    score = pd.read_csv(out / "attribution_statistics.csv").score[0]
    assert regions["sum"].sum() + outside[0] == pytest.approx(score, rel=1e-4)
    assert regions.sort_values("rank").region.iloc[0] == "Hippocampus_L"


def test_the_viewer_shows_the_anatomy_in_grey_and_says_what_it_shows(drawn: Path) -> None:
    """Few voxels of the background picture are white, and it has many shades; the caption has the unit."""
    text = (drawn / "integrated_gradients" / "sub-01" / "sub-01_integrated_gradients_viewer.html").read_text()
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(v))).convert("L")) for v in re.findall(r"base64,([A-Za-z0-9+/=]{200,})", text)]  # fmt: skip
    background = max(pictures, key=lambda v: len(np.unique(v)))
    inside = background[background > 0]
    assert len(np.unique(inside)) > 40
    assert (inside == 255).mean() < 0.1
    assert "sub-01: true TLE" in text
    assert "Integrated gradients: change of the score of TLE (logit)" in text


def test_the_page_names_what_it_shows(drawn: Path) -> None:
    text = (drawn / "index.html").read_text()
    assert "predicted TLE with probability" in text
    assert "nilearn" in text
    shown = held(text)[0]
    method, slices = shown["choices"]
    for s in shown["samples"]:
        for m in method["options"]:
            for k in slices["options"]:
                assert (drawn / m / s["name"] / f"{s['name']}_{m}_slice_{k}.png").is_file()
