"""The study of two-branch networks, from training to pictures, on pairs whose truth is known."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import attrib
from attrib.cli.run import OK, REFUSED, run
from attrib.domains.fcgr import along, by_kmer, fcgr, kmers
from attrib.domains.fcgr.images import SEED
from attrib.io import load
from attrib.testing import legible
from attrib.workflows.drawing import method_name
from attrib.workflows.fcgr import Predictor, load_predictor, train
from attrib.workflows.fcgr import fcgr as study_of
from attrib.workflows.fcgr.cohort import _joined, _motifs, _seed_of, _sites
from attrib.workflows.fcgr.layers import branch_layers
from attrib.workflows.fcgr.network import Inception, TwoBranch
from attrib.workflows.fcgr.pairs import BRANCHES, file_prefixes, read_pairs
from attrib.workflows.fcgr.predictor import Score
from attrib.workflows.fcgr.samplefiles import _pictures, site_of
from attrib.workflows.fcgr.study import METHODS, Settings, _deletion, checked_methods, explained
from attrib.workflows.folder import Folder
from tests.browser import held
from tests.workflows.sites import planted

pytest.importorskip("skorch")
pytest.importorskip("safetensors")

SMALL = [
    "--k",
    "4",
    "--depth",
    "1",
    "--channels",
    "4",
    "--epochs",
    "15",
    "--patience",
    "15",
    "--batch-size",
    "32",
    "--learning-rate",
    "0.01",
]


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "analysis_summary.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.csv"
    planted().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    assert run(["fcgr", "train", "--data", str(data), "--output", str(folder), *SMALL]) == OK
    return folder


@pytest.fixture(scope="module")
def everything(model: Path) -> xr.Dataset:
    """All methods on test pairs."""
    predictor = load_predictor(model / "model.safetensors")
    pairs = read_pairs(model / "test.csv", predictor.images.k).table
    x, background = predictor.images.of(pairs.iloc[:30]), predictor.images.of(pairs.iloc[-10:])
    layers = branch_layers(predictor.model, {b: torch.from_numpy(x[b].values[:1]) for b in ("mirna", "mrna")})
    settings = Settings(
        METHODS,
        ("saliency:normalize", "saliency:filter", "saliency:tangent"),
        layers,
        True,
        {"n_samples": 10},
        0,
        "auto",
    )
    return explained(predictor, x, background, settings, {})


def test_training_learns_and_no_mirna_is_on_both_sides(model: Path, data: Path) -> None:
    figures = json.loads((model / "metrics.json").read_text())
    assert figures["test"]["accuracy"]["value"] > 0.85
    for row in figures["test"].values():
        assert row["lower"] <= row["value"] <= row["upper"]
    split = pd.read_csv(model / "split.csv")
    assert (split.groupby("mirna")["split"].nunique() == 1).all()
    assert len(split) == len(pd.read_csv(data))
    assert {s: n["pairs"] for s, n in figures["splits"].items()} == split["split"].value_counts().to_dict()
    held = pd.read_csv(model / "test.csv")
    right = ((held["probability"] >= 0.5) == (held["label"] == 1)).mean()
    assert right == pytest.approx(figures["test"]["accuracy"]["value"])
    history = pd.read_csv(model / "history.csv")
    assert history.loc[history["best"], "validation_loss"].tolist() == [history["validation_loss"].min()]
    assert json.loads((model / "run.json").read_text())["state"] == "finished"


def test_the_checkpoint_is_the_network_of_the_best_epoch(model: Path) -> None:
    predictor = load_predictor(model / "model.safetensors", k=4)
    held = pd.read_csv(model / "test.csv", dtype={"sample": str}, index_col="sample")
    x = predictor.images.of(held)
    with torch.no_grad():
        score = predictor.model(*(torch.from_numpy(x[b].values) for b in ("mirna", "mrna")))
    assert np.allclose(predictor.model.probability(score), held["probability"], atol=1e-5)


def test_the_same_seed_trains_the_same_network(data: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        words = [
            "fcgr",
            "train",
            "--data",
            str(data),
            "--output",
            str(tmp_path / name),
            *SMALL,
            "--epochs",
            "1",
        ]
        assert run(words) == OK
    one, two = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("one", "two"))
    assert one == two


def test_tops_lie_in_the_site(everything: xr.Dataset) -> None:
    """Known truth: of the positives, the largest letter of the target lies in the site, by chance in a fifth."""
    found = everything.isel(sample=np.flatnonzero(everything["label"].values == 1))
    for method in ("integrated_gradients", "deep_lift", "gradient_shap", "deep_lift_shap"):
        tops = found["mrna_along"].sel({"method": method}).argmax("mrna_position").values
        inside = [site_of(found.isel(sample=i))[top] for i, top in enumerate(tops)]
        assert np.mean(inside) > 0.7, method


def test_the_interaction_joins_seed_and_site(everything: xr.Dataset) -> None:
    bound = everything.isel(sample=np.flatnonzero(everything["label"].values == 1))
    hits = []
    for i in range(bound.sizes["sample"]):
        pair = bound.isel(sample=i)
        a, b = np.unravel_index(int(pair["interaction"].values.argmax()), pair["interaction"].shape)
        hits.append(SEED[0] - 1 <= a < SEED[1] and site_of(pair)[b])
    assert np.mean(hits) > 0.7
    assert float(abs(bound["interaction_delta"]).max()) < 1e-3


def test_everything_adds_up(everything: xr.Dataset) -> None:
    for method in ("integrated_gradients", "deep_lift"):
        delta = everything["delta"].sel({"method": method})
        assert float(abs(delta).max()) < 1e-3 * float(abs(everything["score"]).max())
    for b in ("mirna", "mrna"):
        total = everything[f"{b}_along"].sum(f"{b}_position") + everything[f"{b}_remainder"]
        cells = everything[b].sum(("y", "x"))
        assert np.allclose(total, cells, atol=1e-4 * float(abs(cells).max()))
    tangent = everything["mrna"].sel({"method": "saliency_tangent"})
    assert np.allclose(tangent.sum(("y", "x")), 0, atol=1e-4)


def test_each_method_has_its_own_unit(everything: xr.Dataset) -> None:
    """Of gradients it is not that of methods which add up; pictures name it, and the colours of Grad-CAM are the map's alone."""
    units = everything["mirna"]["units"].to_series()
    assert units["integrated_gradients"] == "output"
    assert units["saliency"] == units["saliency_filter"] == "output / k-mers"
    assert units["saliency_normalize"] == "output / k-mers / k-mers"
    pair = everything.isel(sample=0)
    makers = _pictures(pair, "a", None)
    drawn = {n: makers[n]() for n in ("mirna_saliency", "grad_cam", "interaction_heatmap", "along")}
    assert "Saliency (log-odds / k-mers)" in [ax.get_ylabel() for ax in drawn["mirna_saliency"].axes]
    assert "Saliency\n(log-odds / k-mers)" in [ax.get_ylabel() for ax in drawn["along"].axes]
    ax = drawn["grad_cam"].axes[0]
    assert [len(ax.images), ax.images[0].get_alpha()] == [1, None]
    assert len(ax.collections[0].get_paths()) == int((pair["mirna_image"] > 0).sum())
    assert drawn["interaction_heatmap"].axes[0].get_yticklabels()[4].get_text().startswith("5 ")


def test_a_step_of_the_game_counts_what_precedes() -> None:
    """The fourth path of the Inception block on an image says how many k-mers that may precede each k-mer are there."""
    block = Inception(1, 1)
    for path in block.paths:
        torch.nn.init.zeros_(path.weight)
    torch.nn.init.ones_(block.step.weight)
    image = fcgr(["GATTACAGATTAC"], k=3)
    found = block(torch.from_numpy(image.values)[:, None])[0, 3].detach().numpy()
    counts = by_kmer(image)[0].to_series()
    for (row, column), word in np.ndenumerate(kmers(3)):
        assert found[row, column] == sum(counts[c + word[:-1]] for c in "ACGT")


def test_the_branches_meet_where_strands_pair() -> None:
    """With identity branches the joint feature is the number of k-mers of the miRNA that pair with one of the target."""
    network = TwoBranch(3).eval()
    network.mirna = network.mrna = network.head = torch.nn.Identity()
    mirna, mrna = (
        fcgr(["GATTACA"], k=3),
        fcgr(["CCTGTAACC"], k=3),
    )  # TAC pairs with GTA, ACA with TGT, TTA with TAA
    features = network(*(torch.from_numpy(a.values)[:, None] for a in (mirna, mrna)))
    assert features[0].tolist() == [3.0, 1.0, 1.0]


def test_layers_of_branches_are_found_by_trying() -> None:
    network = TwoBranch(3).eval()
    x = {b: torch.zeros(1, 1, 8, 8) for b in ("mirna", "mrna")}
    found = branch_layers(network, x)
    assert found["mirna"] == (
        ("mirna.0.paths.0", "mirna.0.paths.1", "mirna.0.paths.2", "mirna.0.step"),
        "mirna.2",
    )
    assert found["mrna"] == (("mrna.0.paths.0", "mrna.0.paths.1", "mrna.0.paths.2", "mrna.0.step"), "mrna.2")


@pytest.fixture(scope="module")
def study(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on good and bad rows, as a user has them."""
    folder = tmp_path_factory.mktemp("study")
    rows = pd.read_csv(model / "test.csv", dtype=str)[["mirna", "mrna", "label"]].iloc[:30]
    rows.insert(0, "id", [f"pair {n}" for n in range(len(rows))])
    rows.loc[3, "mirna"] = ""
    rows.loc[4, "mrna"] = "ACGU-ACGT"
    rows.loc[5, "label"] = "maybe"
    rows.to_csv(folder / "pairs.csv", index=False)
    words = [
        "fcgr",
        "--data",
        folder / "pairs.csv",
        "--checkpoint",
        model / "model.safetensors",
        "--output",
        folder / "out",
    ]
    words += ["--samples", "pair 0", "pair 1", "pair 3", "pair 5", "--set", "n_background=6"]
    words += ["--methods", "integrated_gradients", "saliency", "deep_lift_shap", "--corrections", "tangent"]
    assert run([*map(str, words)]) == OK
    return folder


def test_the_output_tree(study: Path) -> None:
    out = study / "out"
    files = {p.name for p in out.iterdir()}
    cohort = {
        "analysis_summary.json", "attribution_statistics.csv", "attributions.nc", "cell_statistics.nc", "index.html",
        "method_agreement.csv", "method_agreement.png", "average_along_mirna.png", "motifs_mirna.csv", "motifs_mrna.csv",
        "consensus.csv", "consensus.png", "pair_agreement.csv", "mirna_conv1_patterns.csv", "mrna_conv1_patterns.csv",
        "average_attribution_integrated_gradients.png", "average_attribution_deep_lift_shap.png", "average_attribution_saliency_tangent.png",
        *(f"{b}_conv1_{kind}.png" for b in ("mirna", "mrna") for kind in ("filters", "activations")),
    }  # fmt: skip
    assert cohort <= files
    for name in ("sample_pair_0", "sample_pair_1"):
        kinds = ["grad_cam", "interaction_heatmap", "along"]
        for b in ("mirna", "mrna"):
            kinds += [
                f"{b}_{k}"
                for k in (
                    "comparison",
                    "clusters",
                    "integrated_gradients",
                    "saliency",
                    "deep_lift_shap",
                    "saliency_tangent",
                )
            ]
        assert {f"{name}_{k}.png" for k in kinds} <= files
        a = np.load(out / "numpy_exports" / f"{name}_integrated_gradients_mirna.npy")
        stored = load(out / "attributions.nc")["mirna"].sel({"method": "integrated_gradients"})
        assert np.array_equal(a, stored.sel(sample=name.removeprefix("sample_").replace("_", " ")))
    assert "finished" in (out / "logs" / "interpretability.log").read_text()
    assert not [f for f in files if f.startswith(".")]


def test_the_summary_tells_bad_pairs_and_correlations(study: Path) -> None:
    summary = json.loads((study / "out" / "analysis_summary.json").read_text())
    assert summary["samples"] == ["pair 0", "pair 1"]
    assert summary["bad_pairs"] == {"pair 3": "mirna is empty", "pair 5": "label is 'maybe', expected 0 or 1"}
    assert -1 <= summary["methods"]["deep_lift_shap"]["mrna"]["pearson_with_integrated_gradients"] <= 1
    assert summary["methods"]["integrated_gradients"]["completeness_error_max"] < 1e-2
    assert set(summary["seconds"]) >= {"integrated_gradients", "interaction", "pictures"}
    table = pd.read_csv(study / "out" / "attribution_statistics.csv")
    assert bool(table["deletion_z"].notna().any())
    assert len(table) == 2 * 2 * 4  # pairs, branches, methods
    a = load(study / "out" / "attributions.nc")
    row = table.query("sample == 'pair 1' and branch == 'mrna' and method == 'saliency'").iloc[0]
    values = a["mrna"].sel({"sample": "pair 1", "method": "saliency"})
    assert row["sum"] == pytest.approx(float(values.sum()), rel=1e-4)
    assert row["top_kmer"] == str(values["kmer"].values.ravel()[np.abs(values.values).argmax()])
    laid = along(a["mrna"], a["mrna_sequence"])
    assert np.allclose(
        laid.sel({"sample": "pair 0", "method": "saliency"}),
        a["mrna_along"].sel({"sample": "pair 0", "method": "saliency"}),
        atol=1e-5,
    )


def test_the_page_holds_everything_itself(study: Path) -> None:
    text = (study / "out" / "index.html").read_text()
    assert "http" not in text
    pairs = held(text)[0]["samples"]
    assert [s["name"] for s in pairs] == ["pair 0", "pair 1"]
    one = pairs[0]
    assert set(one["mirna"]) == {
        "integrated_gradients",
        "saliency",
        "deep_lift_shap",
        "saliency_tangent",
    }
    assert one["interaction"]["rows"] == len(one["mirna_along"]["saliency"]["letters"])
    stored = load(study / "out" / "attributions.nc")["mirna"].sel({"method": "saliency", "sample": "pair 0"})
    assert (
        one["mrna_along"]["saliency"]["unit"]
        == one["mirna"]["saliency"]["unit"]
        == "attribution (log-odds / k-mers)"
    )
    assert one["mirna"]["saliency"]["limit"] == pytest.approx(float(abs(stored).max()))
    assert all((study / "out" / f).is_file() for f in one["files"])
    shown = set(re.findall('<img src="(.*?)"', text))
    assert {f"{b}_conv1_filters.png" for b in ("mirna", "mrna")} < shown
    assert all((study / "out" / f).is_file() for f in shown)


def test_a_rerun_goes_on_and_another_run_is_refused(
    study: Path, model: Path, capsys: pytest.CaptureFixture
) -> None:
    out = study / "out"
    before = {p: p.stat().st_mtime_ns for p in (out / "parts").iterdir()}
    gone = out / "parts" / "sample_pair_1.nc"
    gone.unlink()
    words = [
        "fcgr",
        "--data",
        study / "pairs.csv",
        "--checkpoint",
        model / "model.safetensors",
        "--output",
        out,
    ]
    same = [
        "--samples",
        "pair 0",
        "pair 1",
        "--set",
        "n_background=6",
        "--corrections",
        "tangent",
        "--methods",
    ]
    assert run([*map(str, words), *same, "integrated_gradients", "saliency", "deep_lift_shap"]) == OK
    after = {p: p.stat().st_mtime_ns for p in (out / "parts").iterdir()}
    assert {p for p in after if after[p] != before[p]} == {gone}
    record = json.loads((out / "run.json").read_text())
    assert record["state"] == "finished"
    assert all((out / f).is_file() for f in record["files"])
    capsys.readouterr()
    assert run([*map(str, words), *same, "saliency"]) == REFUSED
    assert "holds a run with other methods" in capsys.readouterr().err


def test_padding_is_no_entry_of_the_interaction() -> None:
    mirna, site = "TAACCGGTA", "ACCGGTT"  # its last six letters pair with positions 2 to 7
    values = np.full((2, 12, 20), np.nan)  # as of a longer pair
    values[:, :9, :7] = -1.0
    values[:, 2, 3] = -0.5
    coords = {"sample": ["a", "b"]} | {
        n: ("sample", [v] * 2)
        for n, v in {"mirna_sequence": mirna, "mrna_sequence": site, "label": 1}.items()
    }
    results = xr.Dataset({"interaction": (("sample", "mirna_position", "mrna_position"), values)}, coords)
    assert _joined(results) == {"share": 1.0, "positives_with_site": 2}


class Concatenating(torch.nn.Module):
    """What many write: two convolutions, concatenated, one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (
            torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Conv2d(3, 2, 3))
            for _ in range(2)
        )
        self.top = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))

    def forward(self, mirna: torch.Tensor, mrna: torch.Tensor) -> torch.Tensor:
        return self.top(torch.cat([self.a(mirna).mean((2, 3)), self.b(mrna).mean((2, 3))], 1))


def concatenating() -> torch.nn.Module:
    """Positive weights and a threshold that neither branch passes alone: all of the score is the interaction's."""
    network = Concatenating()
    for weight in network.parameters():
        torch.nn.init.constant_(weight, 0.1 if weight.ndim == 4 else float(weight.ndim == 2))
    torch.nn.init.constant_(network.top[0].bias, -0.3)
    return network


def test_a_network_of_ones_own(study: Path, tmp_path: Path) -> None:
    """Interaction by a smooth copy, layers found, and `model_state_dict` read as weights only."""
    torch.save({"model_state_dict": concatenating().state_dict(), "epoch": 3}, tmp_path / "best_model.pth")
    words = [
        "fcgr",
        "--data",
        study / "pairs.csv",
        "--weights",
        tmp_path / "best_model.pth",
        "--k",
        "4",
        "--max-samples",
        "1",
    ]
    words += [
        "--model",
        "tests.workflows.test_fcgr:concatenating",
        "--methods",
        "saliency",
        "--corrections",
        "none",
        "--output",
        tmp_path / "out",
    ]
    assert run([*map(str, words)]) == OK
    found = json.loads((tmp_path / "out" / "analysis_summary.json").read_text())
    assert found["layers"]["mirna"] == {"first": ["network.a.0"], "last": "network.a.2"}
    assert found["interaction"]["softplus"] == "10"
    assert len(list((tmp_path / "out").glob("*_grad_cam.png"))) == 1


class Stronger(Concatenating):
    """Binding that is stronger in some cell lines."""

    def forward(self, mirna: torch.Tensor, mrna: torch.Tensor, line: torch.Tensor) -> torch.Tensor:
        return super().forward(mirna, mrna) * torch.tensor([1.0, 2.0, 5.0])[line][:, None]


def test_each_pair_has_its_own_context(model: Path, tmp_path: Path) -> None:
    """The network is linear in its context: every result is that of the plain network times the pair's factor."""
    table = pd.read_csv(model / "test.csv", dtype=str).head(8)
    table.insert(0, "id", [f"pair{k}" for k in range(8)])
    table.loc[7, "mirna"] = "?"
    table.to_csv(tmp_path / "pairs.csv", index=False)
    lines = pd.DataFrame({"id": table["id"], "line": [2, 0, 1, 1, 0, 2, 1, 0]}).iloc[[4, 2, 6, 1, 0, 3, 5]]
    lines.to_csv(tmp_path / "lines.csv", index=False)
    lines[:-1].to_csv(tmp_path / "fewer.csv", index=False)
    lines.assign(line=0).to_csv(tmp_path / "others.csv", index=False)
    np.save(tmp_path / "lines.npy", [2, 0, 1, 1, 0, 2, 1, 0])
    images = load_predictor(model / "model.safetensors").images
    network, plain = stronger(), concatenating()
    options = {
        "samples": ["pair5", "pair0", "pair3"], "n_background": 3, "pictures": "none",
        "methods": ["integrated_gradients", "gradient_shap"], "corrections": [],"options": {"n_samples": 4, "n_steps": 4},
    }  # fmt: skip
    own = tmp_path / "pairs.csv", Predictor(Score(network).eval(), images, "test")
    with pytest.raises(ValueError, match=r"`context`: fewer\.csv lacks the samples 'pair5'"):
        study_of(
            *own,
            tmp_path / "out",
            context=[str(tmp_path / "fewer.csv")],
            **options | {"samples": ["pair0", "pair5"]},
        )
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="the model fails on images of shape"):
        study_of(*own, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    done = study_of(*own, tmp_path / "out", context=[str(tmp_path / "lines.csv")], **options)
    alone = study_of(
        tmp_path / "pairs.csv", Predictor(Score(plain).eval(), images, "test"), tmp_path / "alone", **options
    )
    assert not summary_of(done)["skipped_methods"]
    a, b = (load(d / "attributions.nc") for d in (done, alone))
    assert a["sample"].values.tolist() == options["samples"]
    factor = xr.DataArray([5.0, 5.0, 2.0], dims="sample")
    for name in (
        "mirna",
        "mrna",
        "mirna_along",
        "mrna_along",
        "mirna_cam",
        "mrna_cam",
        "interaction",
        "score",
    ):
        want = b[name] * factor
        assert float(abs(want).max()) > 0, name
        np.testing.assert_allclose(
            a[name].transpose(*want.dims), want, rtol=1e-4, atol=1e-5 * float(abs(want).max()), err_msg=name
        )
    np.testing.assert_allclose(a["deletion_z"], b["deletion_z"], rtol=1e-3)
    with pytest.raises(ValueError, match="holds a run with other context"):
        study_of(*own, tmp_path / "out", context=[str(tmp_path / "others.csv")], **options)
    words = [
        "fcgr",
        "--data",
        own[0],
        "--model",
        "tests.workflows.test_fcgr:stronger",
        "--k",
        "4",
        "--output",
        tmp_path / "line",
    ]
    words += [
        "--methods",
        "saliency",
        "--samples",
        "pair5",
        "--pictures",
        "none",
        "--no-interaction",
        "--corrections",
        "none",
        "--set",
        "n_background=1",
    ]
    assert (
        run([*map(str, words), "--context", f"line={tmp_path / 'lines.npy'}"]) == OK
    )  # rows in the order of the file
    np.testing.assert_allclose(
        load(tmp_path / "line" / "attributions.nc")["score"], a["score"][:1], rtol=1e-6
    )


def stronger() -> torch.nn.Module:
    network = Stronger()
    network.load_state_dict(concatenating().state_dict())
    return network


class Softmaxed(Concatenating):
    """Two probabilities."""

    def forward(self, mirna: torch.Tensor, mrna: torch.Tensor) -> torch.Tensor:
        y = super().forward(mirna, mrna)
        return torch.cat([y, 1 - y], 1).softmax(1)


@pytest.mark.parametrize("size", [2e-6, 0.0025, 1e6])
def test_attributions_of_any_size_are_legible(everything: xr.Dataset, size: float) -> None:
    """The numbers beside the letters take more room than those between 0 and 1, and a factor of an axis lies under its label."""
    pair = everything.isel(sample=0).sel(method=["integrated_gradients", "saliency_normalize"])
    for name in ("mirna", "mrna", "mirna_along", "mrna_along"):
        pair = pair.assign({name: pair[name] * size})
    makers = _pictures(pair, "pair", None)
    for name in ("along", "mirna_saliency_normalize"):
        legible(makers[name]())


def test_probabilities_are_not_taken_for_logits(model: Path, tmp_path: Path) -> None:
    images = load_predictor(model / "model.safetensors").images
    options = {"max_samples": 1, "methods": ["saliency"], "corrections": [], "interaction": False}
    with pytest.raises(ValueError, match="set `output_kind` to probability"):
        study_of(
            model / "test.csv",
            Predictor(Score(Softmaxed()).eval(), images, "test"),
            tmp_path / "out",
            **options,
        )
    right = Predictor(Score(Softmaxed(), "probability").eval(), images, "test")
    done = study_of(model / "test.csv", right, tmp_path / "out", **options)
    found = load(done / "attributions.nc")
    assert np.allclose(found["probability"], found["score"])
    other = Predictor(Score(Softmaxed(), "probability").eval(), images, "test")  # of the same name
    with pytest.raises(ValueError, match="holds a run with other weights"):
        study_of(model / "test.csv", other, tmp_path / "out", **options)
    assert not summary_of(done)["scores_look_like_probabilities"]


def test_a_background_that_changed_is_another(model: Path, tmp_path: Path) -> None:
    predictor = load_predictor(model / "model.safetensors")
    pairs = pd.read_csv(model / "test.csv", dtype=str).rename(columns={"sample": "id"})
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    options: dict[str, Any] = {
        "samples": [pairs["id"][0]], "methods": ["gradient_shap"], "corrections": [], "interaction": False, "pictures": 0,
    }  # fmt: skip
    study_of(tmp_path / "pairs.csv", predictor, tmp_path / "out", **options)
    pairs.loc[1:, "mrna"] = pairs.loc[1:, "mrna"].str.replace("A", "C")
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    with pytest.raises(ValueError, match="holds a run with other background"):
        study_of(tmp_path / "pairs.csv", predictor, tmp_path / "out", **options)


class Bessel(Concatenating):
    """With an op that DeepLIFT has no rule for."""

    def forward(self, mirna: torch.Tensor, mrna: torch.Tensor) -> torch.Tensor:
        return torch.special.i0(super().forward(mirna, mrna))


def test_methods_that_a_network_does_not_allow_are_skipped_and_told(model: Path) -> None:
    predictor = load_predictor(model / "model.safetensors")
    other = Predictor(Score(Bessel()).eval(), predictor.images, "test")
    x = predictor.images.of(read_pairs(model / "test.csv", 4).table.iloc[:3])
    layers = branch_layers(other.model, {b: torch.from_numpy(x[b].values[:1]) for b in ("mirna", "mrna")})
    settings = Settings(METHODS, (), layers, False, {}, 0, "auto")
    found = explained(other, x, x, settings, {})
    assert list(json.loads(found.attrs["skipped"])) == ["deep_lift", "deep_lift_shap"]
    assert found["method"].values.tolist() == [m for m in METHODS if not m.startswith("deep_lift")]
    with pytest.raises(NotImplementedError):
        explained(other, x, x, settings._replace(methods=("deep_lift",)), {})


def test_checkpoints_that_hold_a_state_dict(model: Path, tmp_path: Path) -> None:
    predictor = load_predictor(model / "model.safetensors")
    torch.save({"model_state_dict": predictor.model.network.state_dict()}, tmp_path / "best.pth")
    other = load_predictor(tmp_path / "best.pth")
    assert other.images.k == 4
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(other.model(x, x), predictor.model(x, x))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--checkpoint", "MODEL", "--k", "6"], "--k is 6, but the checkpoint was trained with k 4"),
        (["--checkpoint", "MODEL", "--set", "dropout=0.5"], "trained with dropout 0.1"),
        (["--checkpoint", "MODEL", "--scale", "log"], "trained with scale count"),
        (["--checkpoint", "nowhere.safetensors"], "there is no file nowhere.safetensors"),
        (["--checkpoint", "ALONE"], "alone.json with the settings is missing"),
        (["--checkpoint", "OTHER"], "is no network of attrib fcgr train"),
        (["--checkpoint", "BROKEN"], "does not fit the model"),
        ([], "pass either --checkpoint, a file of attrib fcgr train, or --model"),
        (["--checkpoint", "MODEL", "--weights", "w.pt"], "--weights: a checkpoint brings its own"),
        (
            ["--model", "attrib.workflows.fcgr.network:TwoBranch", "--set", "dropout=2"],
            "--set dropout: a network of your own brings its own",
        ),
        (["--checkpoint", "MODEL", "--samples", "9999"], "--samples is 9999, expected some of"),
        (["--checkpoint", "MODEL", "--methods", "magic"], "expected some of"),
        (["--checkpoint", "MODEL", "--max-samples", "0"], "--max-samples is 0"),
        (["--checkpoint", "MODEL", "--layer", "mirna=top"], "no layer 'top'"),
    ],
)
def test_refusals_are_one_line(
    words: list, text: str, model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    save_file(weights, tmp_path / "alone.safetensors")
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save({**weights, "head.bias": torch.zeros(3)}, tmp_path / "broken.pth")
    places = {
        "MODEL": model / "model.safetensors",
        "ALONE": tmp_path / "alone.safetensors",
        "OTHER": tmp_path / "other.pth",
        "BROKEN": tmp_path / "broken.pth",
    }
    arguments = [str(places.get(w, w)) for w in words]
    assert run(["fcgr", "--data", str(data), *arguments, "--output", str(tmp_path / "out")]) == REFUSED
    message = capsys.readouterr().err
    assert text in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (
            {"mirna": ["ACGTACGT"], "label": [1]},
            "lacks the column target or mrna or gene or target_sequence; it has mirna, label",
        ),
        ({"mirna": ["ACGTACGT"], "target": ["ACGTACGT"]}, "lacks the column label"),
        (
            {"id": ["a", "a"], "mirna": ["ACGTACGT"] * 2, "target": ["ACGTACGT"] * 2, "label": [1, 0]},
            "has the id 'a' twice",
        ),
        ({"mirna": ["ACGT" * 12], "target": ["ACGT" * 5], "label": [1]}, "are the two columns exchanged?"),
        (
            {"mirna": ["ACG"], "target": ["ACGTACGT"], "label": [1]},
            "mirna has 3 letters, expected at least k = 5",
        ),
        (
            {"mirna": ["ACGTNACGT"], "target": ["ACGTACGT"], "label": [1]},
            "no 5 letters of A, C, G, T in a row",
        ),
        ({"mirna": [], "target": [], "label": []}, "it has no rows"),
    ],
)
def test_data_that_cannot_be_used(table: dict, text: str, tmp_path: Path) -> None:
    pd.DataFrame(table).to_csv(tmp_path / "pairs.csv", index=False)
    with pytest.raises(ValueError, match=text):
        read_pairs(tmp_path / "pairs.csv", 5)


def test_good_rows_are_kept_beside_bad_ones(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(
        "miRNA, mRNA ,LABEL\nugguuacc,ACGTTGCA,1\n,ACGTTGCA,0\nACGTTGCA,acg?tgca,0\nACGTTGCA,ACGNTGCACG,0.0\n"
    )
    found = read_pairs(tmp_path / "pairs.csv", 5)
    assert found.table["mirna"].tolist() == ["TGGTTACC", "ACGTTGCA"]
    assert found.table["label"].tolist() == [1, 0]
    assert found.bad == {"1": "mirna is empty", "2": "mrna has '?', expected letters"}


def test_training_needs_enough_mirnas(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    planted(mirnas=2).to_csv(tmp_path / "pairs.csv", index=False)
    assert (
        run(["fcgr", "train", "--data", str(tmp_path / "pairs.csv"), "--output", str(tmp_path / "out")])
        == REFUSED
    )
    assert "2 different miRNAs, expected at least 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"device": "gpu"}, "`device` is 'gpu'"),
        ({"batch_size": 10**20}, "`batch_size` is 1"),
        ({"depth": 10**6}, "`depth` is 1000000, expected a whole number from 1 to 100"),
        ({"channels": 10**9}, "`channels` is 1000000000, expected a multiple of four"),
        ({"learning_rate": float("inf")}, "`learning_rate` is inf"),
        ({"k": -1}, "`k` is -1, expected a whole number from 1 to 8"),
        ({"columns": {"mirna": "target"}}, "`columns`: 'target' of .* stands for mirna and target"),
    ],
)
def test_trainings_that_cannot_be(change: dict, text: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=text):
        train(data, tmp_path / "m", **change)
    assert not (tmp_path / "m").exists()


def test_file_names_are_safe_and_different() -> None:
    assert file_prefixes(["a/b", "c d"]) == {"a/b": "sample_a_b", "c d": "sample_c_d"}
    assert len(set(file_prefixes(["a/b", "a b", "A_B"]).values())) == 3


def test_without_the_extra(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skorch", None)
    assert run(["fcgr", "train", "--data", str(data), "--output", str(tmp_path / "out"), *SMALL]) == REFUSED
    assert "pip install -e '.[train]'" in capsys.readouterr().err


def test_what_methods_agree_on_and_what_filters_answer_to(study: Path) -> None:
    out = study / "out"
    a = load(out / "attributions.nc")
    agreed = pd.read_csv(out / "pair_agreement.csv").set_index(["sample", "branch"]).spearman_of_methods
    assert list(agreed) == sorted(agreed, reverse=True)
    maps = [
        a["mrna"].sel({"sample": "pair 0", "method": m})
        for m in ("integrated_gradients", "saliency", "deep_lift_shap")
    ]
    ranks = [pd.Series(np.abs(m.values).ravel()).rank() for m in maps]
    r = [ranks[i].corr(ranks[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert agreed["pair 0", "mrna"] == pytest.approx(np.mean(r), abs=1e-6)
    consensus = pd.read_csv(out / "consensus.csv")
    assert consensus.groupby("branch").mean_rank.mean().tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    found = pd.read_csv(out / "mrna_conv1_patterns.csv")
    assert found.groupby(["layer", "filter"])["rank"].max().max() == 10
    letters = " ".join(str(s) for s in a["mrna_sequence"].values)
    assert all(kmer in letters for kmer in found.kmer)
    table = pd.read_csv(out / "attribution_statistics.csv").set_index(["sample", "branch", "method"])
    row = table.loc[("pair 0", "mrna", "saliency")]
    of = [m.values.ravel().astype(float) for m in maps[:2]]
    assert row.pearson_with_ig == pytest.approx(np.corrcoef(*of)[0, 1], abs=1e-6)
    assert row.spearman_with_ig == pytest.approx(
        pd.Series(of[0]).corr(pd.Series(of[1]), method="spearman"), abs=1e-6
    )


def test_corrections_are_of_any_method() -> None:
    methods = ("saliency", "integrated_gradients")
    assert checked_methods(methods, ("filter",))[1] == ("saliency:filter",)
    assert checked_methods(methods, ("all:filter", "filter"))[1] == (
        "saliency:filter",
        "integrated_gradients:filter",
    )
    assert checked_methods(methods[1:], ("filter", "integrated_gradients:tangent"))[1] == (
        "integrated_gradients:tangent",
    )
    with pytest.raises(ValueError, match="none of the methods saliency"):
        checked_methods(("saliency",), ("deep_lift:filter",))
    with pytest.raises(ValueError, match="expected some of normalize"):
        checked_methods(methods, ("all:sharpen",))


def test_motifs_of_kmers_are_aligned_and_named_by_seeds() -> None:
    found = _sites("ACGTT", ["ACGT", "CGTT"], ["GGACGTTG", "AACGTA", "TTACGTCA", "CCCC"])
    assert found is not None
    assert found.attrs["sites"] == 3
    assert found.values[:, :4].tolist() == np.eye(4).tolist()
    assert found.values[:, 4].tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert _sites("ACGT", ["ACGT"], ["ACGT"]) is None  # a single site
    mirnas = np.array(["UGAGGUAGUAGG", "UGAGGUAGAAAA", "UUUUUUUUUUUU"])
    assert _seed_of("CCTACCTCA", "mrna", mirnas) == "GAGGTA"
    assert _seed_of("GGGGGG", "mrna", mirnas) == ""


def test_a_mirna_of_many_pairs_is_one_site(everything: xr.Dataset, tmp_path: Path) -> None:
    bound = everything.isel(sample=np.flatnonzero(everything["label"].values == 1)[:1])
    same = xr.concat([bound.assign_coords(sample=[f"pair {k}"]) for k in range(5)], "sample")
    with Folder(tmp_path / "out") as run:
        counts = _motifs(run, same)
        assert {row["sequences"] for row in counts["mirna"]} == {1}
        assert not (tmp_path / "out" / "motifs.png").exists()  # one site


def test_corrections_are_called_as_methods_are() -> None:
    assert method_name("saliency_filter") == method_name("saliency:filter") == "Saliency, filter"
    assert method_name("grad_cam") == "Grad-CAM"


def test_pairs_may_be_named_by_row_and_drawn_on_request(study: Path, model: Path, tmp_path: Path) -> None:
    predictor = load_predictor(model / "model.safetensors")
    done = study_of(
        study / "pairs.csv", predictor, tmp_path / "out", samples=["1", "pair 0"], methods=["saliency", "integrated_gradients"],
        corrections=["integrated_gradients:filter"], pictures=1, n_background=2, interaction=False, options={"n_steps": 4},
    )  # fmt: skip
    assert summary_of(done)["samples"] == ["pair 1", "pair 0"]
    drawn = {p.name.split("_")[2] for p in (tmp_path / "out").glob("sample_pair_*.png")}
    assert drawn == {"1"}
    assert "integrated_gradients_filter" in load(tmp_path / "out" / "attributions.nc").method
    entries = {
        s["name"]: len(s["files"]) for s in held((tmp_path / "out" / "index.html").read_text())[0]["samples"]
    }
    assert entries["pair 0"] == 0
    assert entries["pair 1"] > 4


def test_random_orders_are_shared_by_all_methods_of_a_pair(model: Path) -> None:
    """z is that of each method alone; a map that is not finite has none."""
    predictor = load_predictor(model / "model.safetensors")
    x = predictor.images.of(read_pairs(model / "test.csv", predictor.images.k).table.iloc[:3])
    pair, rows = x[list(BRANCHES)], []
    predictor = predictor._replace(model=Counting(predictor.model))
    maps = {
        "saliency": attrib.saliency(predictor.model, pair),
        "input_x_gradient": attrib.input_x_gradient(predictor.model, pair),
    }
    for a in maps.values():
        how = {"baselines": pair.mean("sample"), "steps": 10, "n_random": 5, "seed": 0}
        rows.append(attrib.deletion(predictor.model, pair, a, **how)["z"].values)
    settings = Settings(tuple(maps), (), {}, False, {}, 0, "auto")
    predictor.model.rows = 0
    shared = _deletion(predictor, x, x, maps, settings)
    np.testing.assert_array_equal(shared.values, np.stack(rows, 1))
    assert predictor.model.rows < 3 * 11 * (2 + 6)
    bad = {**maps, "deep_lift": maps["saliency"].where(False)}
    np.testing.assert_array_equal(
        _deletion(predictor, x, x, bad, settings).values, np.c_[shared.values, [np.nan] * 3]
    )


class Counting(torch.nn.Module):
    """Counts the pairs that it is called with."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.rows = model, 0

    def forward(self, mirna: torch.Tensor, mrna: torch.Tensor) -> torch.Tensor:
        self.rows += len(mirna)
        return self.model(mirna, mrna)


class Stopped(Exception):
    """Carries the job that a study would have begun."""


def stopped(job: Any, *rest: Any, **more: Any) -> None:
    raise Stopped(job)


def test_pairs_travel_to_other_processes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network, pairs and settings can be pickled, and give the same there; what is drawn can be pickled, too."""
    monkeypatch.setattr("attrib.workflows.runner.carried_out", stopped)
    options: dict = {
        "max_samples": 2,
        "methods": ["saliency"],
        "corrections": [],
        "interaction": False,
        "pictures": 0,
    }
    with pytest.raises(Stopped) as raised:
        study_of(model / "test.csv", model / "model.safetensors", tmp_path / "out", **options)
    job = raised.value.args[0]
    names = list(job.names)
    here, there = job.do(names), pickle.loads(pickle.dumps(job)).opened().do(names)
    for a, b in zip(here, there, strict=True):
        assert a.name == b.name
        xr.testing.assert_allclose(a.draw.args[0], b.draw.args[0], rtol=1e-4, atol=1e-6)
        pickle.loads(pickle.dumps(b.draw))()
        assert job.is_done(b.name)
