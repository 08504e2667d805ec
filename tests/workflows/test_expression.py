"""The study of expression: planted markers lead, files agree with each other, arguments are refused early."""

import gzip
import json
import re
from html import unescape
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr
from torch import nn

import attrib
from attrib.cli.run import run
from attrib.domains.draws import drawn_evenly
from attrib.domains.expression import read_matrix
from attrib.io import load
from attrib.testing import legible
from attrib.workflows.expression import load_checkpoint
from attrib.workflows.expression import page as drawn
from attrib.workflows.expression.findings import findings, normalised
from attrib.workflows.expression.selection import baseline_of
from tests.browser import held, opened
from tests.expression import MARKERS, Made, expression, made, summary_of, train

pytest.importorskip("skorch")
pytest.importorskip("safetensors")
SETTINGS = {"label": "tissue", "group": "donor", "hidden": (64, 32, 16), "epochs": 15, "lr": 2e-3}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """12 labels of 400 genes, 20 planted markers each: trained, and explained on its test samples."""
    folder = tmp_path_factory.mktemp("study")
    data = made()
    symbols = [f"GENE{k}" for k in range(data.tpm.shape[1])]
    table = data.tpm.T.assign(Description=symbols).rename_axis("gene")
    table.to_csv(folder / "tpm.csv")
    data.samples.to_csv(folder / "samples.csv", index=False)
    sets = [
        [f"markers {n}", "planted", *(g for g, s in zip(symbols, row, strict=True) if s)]
        for n, row in zip(data.sign.index, data.sign.values, strict=True)
    ]
    (folder / "sets.gmt").write_text("\n".join("\t".join(s) for s in sets))
    train(folder / "tpm.csv", folder / "model", sample_table=folder / "samples.csv", **SETTINGS)
    done = expression(
        folder / "tpm.csv", load_checkpoint(folder / "model"), folder / "out", sample_table=folder / "samples.csv", label="tissue",
        gene_sets=folder / "sets.gmt", pictures=1, target=["tissue_01", "tissue_02"],
    )  # fmt: skip
    return folder, data, done


def hits(top: pd.DataFrame, data: Made) -> pd.Series:
    """Whether each leading gene is a planted marker of its label."""
    return pd.Series([data.sign.loc[r.label, r.gene] != 0 for r in top.itertuples()], index=top.index)


def test_planted_markers_lead(study) -> None:
    folder, data, _ = study
    top = pd.read_csv(folder / "out" / "top_genes.csv")
    for method in ("integrated_gradients", "deep_lift"):
        part = top[top.method == method]
        assert len(part) == 12 * MARKERS
        hit = hits(part, data)
        assert hit.mean() >= 0.85
        markers = part[hit]
        planted = np.array([data.sign.loc[r.label, r.gene] for r in markers.itertuples()])
        assert (markers["mean"] > 0).mean() >= 0.98  # up or down, a marker speaks for its label
        assert (np.sign(markers.log2_fold_change) == planted).mean() >= 0.98
        assert (planted < 0).sum() > 20
        assert (markers.same_sign > 0.9).mean() > 0.9
        assert markers.specificity.median() > 2 / 12


def test_signs_of_gradients_are_those_of_the_markers(study) -> None:
    folder, data, _ = study
    classifier = load_checkpoint(folder / "model")
    z = classifier.prepared(read_matrix(data.tpm).x)[0]
    label = data.samples.tissue.to_numpy()
    a = attrib.integrated_gradients(
        classifier.model,
        z,
        target=list(label),
        classes=list(classifier.classes),
        multiply_by_inputs=False,
        n_steps=20,
    )
    mean = a.assign_coords(label=("sample", label)).groupby("label").mean()
    sign = data.sign.loc[list(mean.label.values), list(mean.gene.values)].to_numpy()
    agree = np.sign(mean.values)[sign != 0] == sign[sign != 0]
    assert agree.mean() >= 0.95


def test_shuffled_labels_are_at_chance(tmp_path: Path) -> None:
    data = made(6, 120, 20, shuffled=True)
    done = train(data.tpm, tmp_path / "model", sample_table=data.samples, **SETTINGS | {"epochs": 8})
    assert done.metrics.loc["accuracy", "recall"] < 0.4  # chance: 1/6 of about 24
    study = expression(
        data.tpm,
        load_checkpoint(tmp_path / "model"),
        tmp_path / "out",
        sample_table=data.samples,
        label="tissue",
        split="all",
        every=True,
        pictures="none",
        methods=["integrated_gradients"],
    )
    hit = hits(pd.read_csv(study / "top_genes.csv"), data).mean()
    assert hit < 0.35  # a sixth of the genes are markers of a label


def test_order_and_versions_of_genes_do_not_matter(study, tmp_path: Path) -> None:
    folder, data, _ = study
    order = np.random.default_rng(1).permutation(data.tpm.shape[1])
    shuffled = data.tpm.iloc[:, order].rename(columns=lambda g: g.split(".")[0])
    expression(
        shuffled,
        load_checkpoint(folder / "model"),
        tmp_path / "out",
        sample_table=data.samples,
        label="tissue",
        pictures="none",
        methods=["integrated_gradients"],
    )
    a, b = (
        load(tmp_path / "out" / "attributions.nc", "integrated_gradients"),
        load(folder / "out" / "attributions.nc", "integrated_gradients"),
    )
    np.testing.assert_array_equal(a.sel(gene=b.gene).values, b.values)
    assert a["sample"].values.tolist() == b["sample"].values.tolist()


def test_only_test_samples_that_are_right_are_explained(study) -> None:
    folder, _, done = study
    samples = pd.read_csv(folder / "out" / "samples.csv").set_index("sample")
    split = pd.read_csv(folder / "model" / "split.csv").set_index("sample").split
    assert set(split[samples.index[samples.explained]]) == {"test"}
    assert samples[samples.explained].correct.all()
    expected = samples.correct & (split[samples.index] == "test")
    assert (samples.explained == expected).all()
    assert summary_of(done)["explained"] == expected.sum()
    test = split[samples.index] == "test"  # the network was trained on the others
    assert summary_of(done)["accuracy_of_split"] == pytest.approx(samples.correct[test].mean())
    words = f"of the {test.sum()} of the training's test split predicted correctly"
    assert words in unescape((folder / "out" / "index.html").read_text())


def test_tables_agree_with_the_attributions(study) -> None:
    folder, data, _ = study
    a = load(folder / "out" / "attributions.nc", "integrated_gradients")
    assert (a.label.values == a.predicted.values).all()
    assert a.attrs["units"] == "logit"
    np.testing.assert_allclose(
        a.sum("gene") - a.delta, a.prediction - baseline_score(folder, a), rtol=1e-3, atol=1e-3
    )
    own = a[a.label.values == "tissue_03"]
    wide = pd.read_csv(folder / "out" / "mean_by_label.csv").set_index(["method", "gene"])
    np.testing.assert_allclose(
        wide.loc["integrated_gradients"].loc[a.gene.values, "tissue_03"],
        own.mean("sample"),
        rtol=1e-4,
        atol=1e-6,
    )
    assert wide.symbol.iloc[0].startswith("GENE")
    top = pd.read_csv(folder / "out" / "top_genes.csv")
    row = top[(top.method == "integrated_gradients") & (top.label == "tissue_03")].iloc[0]
    assert row["mean"] == pytest.approx(float(own.sel(gene=row.gene).mean()), rel=1e-4)
    assert row.sd == pytest.approx(float(own.sel(gene=row.gene).std(ddof=1)), rel=1e-3)
    raw = np.array(
        [data.tpm.loc[s].iloc[list(data.sign.columns).index(row.gene)] for s in own["sample"].values]
    )
    assert row.mean_expression == pytest.approx(raw.mean(), rel=1e-4)
    tests = pd.read_csv(folder / "out" / "label_tests.csv")
    assert (tests.q <= 0.05).all()
    sets = pd.read_csv(folder / "out" / "enrichment.csv")
    first = sets[sets.method == "integrated_gradients"].groupby("label").first()
    assert (first["set"] == "markers " + first.index).all()
    targets = load(folder / "out" / "mean_by_target.nc")
    here = targets.integrated_gradients.sel(target="tissue_01", label="tissue_01")
    np.testing.assert_allclose(here, a[a.label.values == "tissue_01"].mean("sample"), rtol=1e-3, atol=1e-5)


def baseline_score(folder: Path, a: xr.DataArray) -> np.ndarray:
    model = load_checkpoint(folder / "model")
    scores = model.logits(xr.DataArray(np.zeros((1, a.sizes["gene"]), np.float32), dims=("sample", "gene")))[
        0
    ]
    return scores[[model.classes.index(t) for t in a.predicted.values]]


def test_page_and_pictures(study) -> None:
    folder, _, done = study
    page = (folder / "out" / "index.html").read_text()
    assert '<script src="genes.js">' in page
    labels = held(page)[0]["samples"]
    assert [v["name"] for v in labels] == sorted(summary_of(done)["labels"])
    assert {len(v["top"]["deep_lift"]) for v in labels} == {20}
    files = {f for f in json.loads((done / "run.json").read_text())["files"] if f.endswith(".png")}
    assert len([f for f in files if f.startswith("heatmap_")]) == 3  # one label, three methods
    assert all((folder / "out" / f).exists() for f in json.loads((done / "run.json").read_text())["files"])
    genes = json.loads(
        (folder / "out" / "genes.js").read_text().removeprefix("window.GENES = ").rstrip().rstrip(";")
    )
    import base64

    means = np.frombuffer(base64.b64decode(genes["means"]["deep_lift"]), "<f4").reshape(
        len(genes["genes"]), -1
    )
    wide = pd.read_csv(folder / "out" / "mean_by_label.csv").set_index(["method", "gene"]).loc["deep_lift"]
    np.testing.assert_allclose(means, wide.loc[genes["genes"], genes["labels"]], rtol=1e-4, atol=1e-6)


def test_a_gene_is_found_on_the_page(study) -> None:
    folder, _, _ = study
    wide = pd.read_csv(folder / "out" / "mean_by_label.csv").query("method == 'saliency'").set_index("gene")
    gene = wide.index[3]
    strongest = pd.to_numeric(wide.loc[gene], errors="coerce").abs().idxmax()

    def answer(name: str) -> str:
        dom = opened(folder / "out" / "index.html", anchor=f"#gene={name}")
        return re.sub("<[^>]+>", " ", dom.split('class="search"')[1].split("</section>")[0])

    assert f"{gene} ({wide.symbol[gene]}): mean Saliency by label" in answer(gene.lower())
    assert answer(wide.symbol[gene]).split("by label")[1].split(")")[1].split()[0] == strongest
    assert f"genes that begin so: {wide.symbol.iloc[0][:4]}" in answer(gene[:6])
    assert "no such gene among the" in answer("nonsense")


def test_many_heat_maps_are_drawn_by_other_processes(study, drawing, tmp_path: Path) -> None:
    folder, _, _ = study
    drawing.set(1)
    expression(
        folder / "tpm.csv", folder / "model", tmp_path / "out", sample_table=folder / "samples.csv", label="tissue",
        methods=["saliency"], pictures=7,
    )  # fmt: skip
    assert len(list((tmp_path / "out").glob("heatmap_*.png"))) == 7


@pytest.mark.parametrize("labels", [3, 54])
def test_pictures_are_legible(labels: int) -> None:
    rng = np.random.default_rng(0)
    names = [f"brain_nucleus_accumbens_basal_ganglia_{k}" for k in range(labels)]
    a = xr.DataArray(
        rng.normal(size=(labels * 3, 80)), dims=("sample", "gene"), name="attribution", attrs={"units": "logit / (standard deviations of normalised expression)"},
        coords={"gene": [f"ENSG{k:011d}" for k in range(80)], "symbol": ("gene", [f"SYMBOL{k}_of_a_reading_frame_without_a_shorter_name" for k in range(80)]), "label": ("sample", np.repeat(names, 3))},
    )  # fmt: skip
    change = xr.DataArray(
        1e-4 * rng.normal(size=(labels, 80)),  # numbers that are long
        dims=("label", "gene"),
        coords={"label": sorted(names), "gene": a.gene},
        name="log2_fold_change",
    )
    found = findings(a, {"log2_fold_change": change}, 20)
    for figure in (
        drawn.label_heatmap(*drawn.of_label(found, names[1], "deep_lift")), drawn.leading_heatmap(found, "deep_lift"), drawn.overlap_heatmap(found),
        drawn.against_expression(found, change, "deep_lift"),
    )[: 4 if labels == 3 else 1]:  # fmt: skip
        legible(figure)


def test_a_gene_that_leads_two_labels_is_outlined_at_both() -> None:
    a = xr.DataArray(
        np.repeat([[5.0, 1.0, 0.0], [5.0, 0.0, 1.0]], 3, 0) + np.random.default_rng(0).normal(0, 0.01, (6, 3)), dims=("sample", "gene"),
        name="attribution", coords={"gene": ["g1", "g2", "g3"], "label": ("sample", np.repeat(["a", "b"], 3))},
    )  # fmt: skip
    ax = drawn.leading_heatmap(findings(a, {}, 1), "deep_lift").axes[0]
    assert ax.get_title() == "First gene of each label"
    framed = np.concatenate([line for lines in ax.collections for line in lines.get_segments()])
    assert (framed[:, 0].min(), framed[:, 0].max()) == (-0.5, 1.5)


def test_saliency_from_zero_to_one() -> None:
    a = xr.DataArray([[2.0, 4.0, 3.0], [5.0, 5.0, 5.0]], dims=("sample", "gene"))
    assert normalised(a).values.tolist() == [[0, 1, 0.5], [0, 0, 0]]


def test_samples_are_drawn_evenly() -> None:
    labels = np.array(["a"] * 90 + ["b"] * 6 + ["c"] * 4)
    places = drawn_evenly(labels.tolist(), 15, 0)
    assert (
        pd.Series(labels[places]).value_counts().to_dict() == {"a": 6, "b": 5, "c": 4}
        or pd.Series(labels[places]).value_counts().min() == 4
    )


def test_baselines(study) -> None:
    folder, data, _ = study
    classifier = load_checkpoint(folder / "model")
    x = read_matrix(data.tpm).x
    np.testing.assert_allclose(baseline_of("mean", classifier, x), 0, atol=1e-5)
    logs = np.log1p(data.tpm.to_numpy())
    zero = baseline_of("0", classifier, x)
    np.testing.assert_allclose(zero, np.clip(-classifier.mean / classifier.sd, -10, 10), rtol=1e-3)
    split = pd.read_csv(folder / "model" / "split.csv").set_index("sample").split[data.tpm.index].to_numpy()
    inside = (split == "train") & (data.samples.tissue == "tissue_05").to_numpy()
    expected = (logs[inside].mean(0) - classifier.mean) / classifier.sd
    np.testing.assert_allclose(baseline_of("label:tissue_05", classifier, x), expected, atol=1e-3)
    median = (np.median(logs[split == "train"], 0) - classifier.mean) / classifier.sd
    np.testing.assert_allclose(baseline_of("median", classifier, x), median, atol=1e-3)
    for text in ("label:moon", "zeros"):
        with pytest.raises(ValueError, match="`baselines`"):
            baseline_of(text, classifier, x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": ["grad_cam"]}, "grad_cam, which gives no value for each gene"),
        ({"methods": ["salency"]}, "there is no method"),
        ({"target": ["moon"]}, "`target` is moon"),
        ({"split": "holdout"}, "`split` is 'holdout'"),
        ({"pictures": "some"}, "`pictures` is 'some'"),
        ({"max_samples": 0}, "`max_samples` is 0"),
        ({"top": 0}, "`top` is 0"),
        ({"label": "tisue"}, "did you mean 'tissue'"),
        (
            {"gene_sets": {"a set": ["X", "Y"]}},
            "`gene_sets` has no set with two genes of the model; its genes are called X, Y",
        ),
        ({"options": {"n_step": 3}}, "n_step"),
    ],
)
def test_wrong_arguments_leave_no_folder(study, tmp_path: Path, change: dict, words: str) -> None:
    folder, data, _ = study
    with pytest.raises(ValueError, match=words):
        expression(
            data.tpm,
            load_checkpoint(folder / "model"),
            tmp_path / "out",
            **{"sample_table": data.samples, "label": "tissue", **change},
        )
    assert not (tmp_path / "out").exists()


def own() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 16), nn.ReLU(), nn.Linear(16, 3))


def test_a_model_of_ones_own_without_labels(tmp_path: Path) -> None:
    data = made(3, 40, 6)
    classifier = load_checkpoint(model=f"{__name__}:own", classes=["a", "b", "c"], transform="log1p")
    done = expression(
        data.tpm,
        classifier,
        tmp_path / "out",
        methods=["integrated_gradients", "gradient_shap"],
        max_samples=9,
        pictures="none",
        target="all",
    )
    assert summary_of(done)["explained"] == 9
    assert summary_of(done)["accuracy_of_split"] is None
    assert load(tmp_path / "out" / "mean_by_target.nc").sizes["target"] == 3


def test_samples_whose_label_the_model_does_not_know_are_not_wrong(tmp_path: Path) -> None:
    tpm = pd.DataFrame(
        [[9.0, 1], [1, 9], [9, 1], [9, 1], [9, 1]], index=list("abcde"), columns=["INS", "ALB"]
    )
    table = pd.DataFrame({"id": list("edcba"), "tissue": [None, "skin", "liver", "liver", "islet"]})
    model = load_checkpoint(
        model="torch.nn:Identity", classes=["islet", "liver"], input_filter=["INS", "ALB"]
    )
    out = expression(
        tpm,
        model,
        tmp_path / "out",
        methods=["saliency"],
        sample_table=table,
        label="tissue",
        pictures="none",
    )
    samples = pd.read_csv(out / "samples.csv", dtype=object).set_index("sample")
    assert samples.correct.fillna("").to_dict() == {"a": "True", "b": "True", "c": "False", "d": "", "e": ""}
    assert summary_of(out)["accuracy_of_split"] == pytest.approx(2 / 3)
    assert (
        "66.7% of the 3 whose label the model knows predicted correctly" in (out / "index.html").read_text()
    )
    assert summary_of(out)["notes"][0].startswith("2 samples have no label that the model knows")


class WithBatch(nn.Module):
    """Scores that the donor's dose bends, and the batch shifts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.dense = nn.Linear(40, 3)

    def forward(
        self, x: torch.Tensor, dose: torch.Tensor | None = None, batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        if dose is None or batch is None:
            return self.dense(x)
        return torch.sigmoid(self.dense(x) * dose[:, None]) + 2 * nn.functional.one_hot(batch, 3)


def test_batch_and_dose_go_in_beside_the_matrix(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data, rng = made(3, 40, 6), np.random.default_rng(0)
    ids = list(data.tpm.index)
    table = pd.DataFrame({"id": ids, "dose": rng.uniform(0.1, 2, len(ids)), "batch": rng.permutation(len(ids)) % 3})  # fmt: skip
    shuffled = table.iloc[rng.permutation(len(ids))]
    shuffled.to_csv(tmp_path / "donors.csv", index=False)
    shuffled.iloc[:-1].to_csv(tmp_path / "fewer.csv", index=False)
    table.assign(dose=table.dose * 2).to_csv(tmp_path / "others.csv", index=False)
    data.tpm.rename_axis("sample").to_csv(tmp_path / "tpm.csv")
    network = WithBatch()
    x = np.log1p(data.tpm.to_numpy(np.float32))
    rows = [(torch.tensor(x[k : k + 1]), torch.tensor([table.dose[k]], dtype=torch.float32), torch.tensor([table.batch[k]])) for k in range(len(ids))]  # fmt: skip
    predicted = [int(network(*r).argmax()) for r in rows]
    assert len(set(predicted)) == 3
    labels = [f"class{p}" for p in predicted]
    labels[0] = f"class{(predicted[0] + 1) % 3}"
    pd.DataFrame({"id": ids, "tissue": labels}).to_csv(tmp_path / "samples.csv", index=False)
    words = [
        "expression", "--model", f"{__name__}:WithBatch", "--classes", "class0,class1,class2", "--set", "transform=log1p", "--data", str(tmp_path / "tpm.csv"),
        "--sample-table", str(tmp_path / "samples.csv"), "--label", "tissue", "--pictures", "none", "--max-samples", "15", "--target", "class1",
        "--methods", "input_x_gradient,integrated_gradients", "--baselines", "0", "--output", str(tmp_path / "out"),
    ]  # fmt: skip
    assert run([*words, "--context", str(tmp_path / "fewer.csv")]) == 2
    assert "--context: fewer.csv lacks the samples" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists()
    assert run([*words, "--context", str(tmp_path / "donors.csv")]) == 0
    correct = pd.read_csv(tmp_path / "out" / "samples.csv").set_index("sample").correct
    assert correct.index[~correct].tolist() == [ids[0]]
    wanted: dict[str, np.ndarray] = {}
    of_class1 = []
    a = load(tmp_path / "out" / "attributions.nc", "input_x_gradient")
    assert a.sizes["sample"] == 15
    for name in a["sample"].values:
        k = ids.index(name)
        row = rows[k][0].clone().requires_grad_()
        scores = network(row, *rows[k][1:])[0]
        wanted[name], other = ((row * torch.autograd.grad(scores[c], row, retain_graph=True)[0])[0].numpy(force=True) for c in (predicted[k], 1))  # fmt: skip
        of_class1.append(other)
    # genes are in the order of the data; versions are cut
    np.testing.assert_allclose(a.values, np.stack([*wanted.values()]), rtol=1e-4, atol=1e-6)
    ig = load(tmp_path / "out" / "attributions.nc", "integrated_gradients")
    assert abs(ig["delta"]).max() < 0.05
    mean = load(tmp_path / "out" / "mean_by_target.nc")
    weighted = (mean["input_x_gradient"] * mean["count"]).sum("label")[0] / mean["count"].sum()
    np.testing.assert_allclose(weighted.values, np.mean(of_class1, 0), rtol=1e-3, atol=1e-6)
    assert run([*words, "--context", str(tmp_path / "donors.csv")]) == 0  # continued
    capsys.readouterr()
    for other in (["--context", str(tmp_path / "others.csv")], []):
        assert run([*words, *other]) == 2
        assert re.search(
            "holds a run with other .*context; name another", capsys.readouterr().err.replace("\n", " ")
        )


def test_missing_genes_hold_the_mean_and_are_told(study, tmp_path: Path) -> None:
    folder, data, _ = study
    fewer = data.tpm.iloc[:, :-4]
    done = expression(
        fewer,
        load_checkpoint(folder / "model"),
        tmp_path / "out",
        sample_table=data.samples,
        label="tissue",
        pictures="none",
        methods=["deep_lift"],
    )
    assert summary_of(done)["missing_genes"] == [g.split(".")[0] for g in data.tpm.columns[-4:]]
    a = load(tmp_path / "out" / "attributions.nc", "deep_lift")
    np.testing.assert_allclose(a.sel(gene=summary_of(done)["missing_genes"]), 0, atol=1e-6)
    with pytest.raises(ValueError, match="at most 5% may be missing"):
        expression(
            data.tpm.iloc[:, 40:],
            load_checkpoint(folder / "model"),
            tmp_path / "o",
            sample_table=data.samples,
            label="tissue",
        )


def test_h5ad_that_scanpy_plots(study) -> None:
    anndata = pytest.importorskip("anndata")
    folder, _, done = study
    adata = anndata.read_h5ad(folder / "out" / "attributions.h5ad")
    a = load(folder / "out" / "attributions.nc", "saliency")
    assert set(adata.layers) == {"saliency", "integrated_gradients", "deep_lift"}
    np.testing.assert_array_equal(adata[:, a.gene.values].layers["saliency"], a.values)
    assert {"label", "predicted", "correct", "probability", "integrated_gradients_delta"} <= set(adata.obs)
    assert adata.uns["attrib_labels"].tolist() == sorted(summary_of(done)["labels"])
    assert adata.varm["deep_lift_mean"].shape == (adata.n_vars, 12)
    scanpy = pytest.importorskip("scanpy")
    genes = pd.read_csv(folder / "out" / "top_genes.csv").gene[:4].tolist()
    import matplotlib

    matplotlib.use("Agg")
    axes = scanpy.pl.matrixplot(adata, genes, groupby="label", layer="integrated_gradients", show=False)
    assert axes


def test_the_command_line_from_csv_to_page(study, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder, _, _ = study
    common = [
        "--data",
        str(folder / "tpm.csv"),
        "--sample-table",
        str(folder / "samples.csv"),
        "--label",
        "tissue",
    ]
    code = run(
        [
            "expression",
            "train",
            *common,
            "--group",
            "donor",
            "--epochs",
            "2",
            "--set",
            "hidden=16,8,8",
            "dropout=0.1",
            "--output",
            str(tmp_path / "m"),
            "--min-samples",
            "25",
        ]
    )
    assert code == 0
    text = capsys.readouterr().out
    assert "of donors that were never seen" in text
    assert f"Next: attrib expression --checkpoint {tmp_path / 'm'} {' '.join(common[:4])}\n" in text
    code = run(["expression", "--checkpoint", str(tmp_path / "m"), *common[:4], "--methods", "saliency", "--set", "normalize=true", "every=true", "--pictures", "none", "--max-samples", "20", "--output", str(tmp_path / "o")])  # fmt: skip
    text = capsys.readouterr().out
    assert code == 0
    assert "20 of" in text
    assert (
        pd.read_csv(tmp_path / "o" / "samples.csv").label.str.startswith("tissue").all()
    )  # as in the training
    a = load(tmp_path / "o" / "attributions.nc", "saliency")
    assert (float(a.min()), float(a.max())) == (0, 1)
    assert (
        run(
            [
                "expression",
                "--checkpoint",
                str(tmp_path / "m"),
                *common[:4],
                "--set",
                "split=x",
                "--output",
                str(tmp_path / "p"),
            ]
        )
        == 2
    )
    assert "attrib: --set split is 'x'" in capsys.readouterr().err
    assert run(["expression", "train", *common, "--set", "hiden=3", "--output", str(tmp_path / "p")]) == 2
    assert (
        "--set has hiden, expected some of hidden, dropout, class_weights, tensorboard; did you mean 'hidden'?"
        in capsys.readouterr().err
    )
    assert run(["expression", "train", *common, "--set", "dropout=a", "--output", str(tmp_path / "p")]) == 2
    assert "--set dropout is 'a', expected a number" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
    assert run(["expression", *common[:4]]) == 2
    assert run(["expression", "--checkpoint", str(tmp_path / "m")]) == 2
    assert "--data is missing" in capsys.readouterr().err


def test_methods_are_compared_with_chance_and_with_each_other(study) -> None:
    folder, _, done = study
    record = json.loads((folder / "out" / "run.json").read_text())
    z = {m["method"]: m["deletion_z_median"] for m in record["methods"]}
    assert min(z["integrated_gradients"], z["deep_lift"]) > 2
    table = pd.read_csv(folder / "out" / "agreement.csv").set_index("method")
    assert set(table.index) == set(z) == set(table.columns)
    assert table.loc["integrated_gradients", "deep_lift"] > 0.8
    plain, signed = (
        load(folder / "out" / "attributions.nc", m) for m in ("saliency", "integrated_gradients")
    )
    some = np.unique(np.linspace(0, len(plain) - 1, 64).round().astype(int))
    expected = [spearmanr(plain.values[k], abs(signed.values[k])).statistic for k in some]
    assert table.loc["saliency", "integrated_gradients"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert "agreement.csv" in json.loads((done / "run.json").read_text())["files"]
    assert "deletion z (median)" in (folder / "out" / "index.html").read_text()


def test_a_run_that_was_stopped_goes_on_and_others_are_refused(study, tmp_path: Path) -> None:
    folder, data, _ = study
    classifier, methods = load_checkpoint(folder / "model"), ["saliency", "integrated_gradients"]
    common = {
        "sample_table": data.samples,
        "label": "tissue",
        "pictures": "none",
        "methods": methods,
        "max_samples": 24,
    }

    def stop(name: str, done: int, total: int) -> None:
        if name == "integrated_gradients" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expression(data.tpm, classifier, tmp_path / "o", tell=stop, **common)
    record = json.loads((tmp_path / "o" / "run.json").read_text())
    assert record["state"] == "interrupted"
    first = load(tmp_path / "o" / "attributions.nc", "saliency")
    told: list[str] = []
    done = expression(data.tpm, classifier, tmp_path / "o", tell=lambda name, *_: told.append(name), **common)
    assert {n for n in told if "first sample" not in n} == {"integrated_gradients"}
    assert load(tmp_path / "o" / "attributions.nc", "saliency").identical(first)
    whole = expression(data.tpm, classifier, tmp_path / "w", **common)
    for m in methods:
        assert load(done / "attributions.nc", m).identical(load(whole / "attributions.nc", m))
    assert (done / "top_genes.csv").read_bytes() == (whole / "top_genes.csv").read_bytes()
    with pytest.raises(ValueError, match="other methods"):
        expression(data.tpm, classifier, tmp_path / "o", **{**common, "methods": ["saliency"]})
    with pytest.raises(ValueError, match="other arguments, baselines"):
        expression(data.tpm, classifier, tmp_path / "o", baselines="median", **common)
    again = expression(
        data.tpm, classifier, tmp_path / "o", **{**common, "methods": ["saliency"]}, overwrite=True
    )
    assert list(summary_of(again)["leading_genes"]) == ["saliency"]
    assert not list((tmp_path / "o" / "parts").glob("*.zarr"))


@pytest.mark.filterwarnings("ignore")  # those of distributed
def test_workers_give_what_this_process_gives(study, client, tmp_path: Path) -> None:
    folder, data, _ = study
    done = {}
    for name, cluster in (("here", None), ("there", client)):
        done[name] = expression(
            data.tpm, load_checkpoint(folder / "model"), tmp_path / name, sample_table=data.samples, label="tissue", pictures="none",
            methods=["deep_lift"], target=["tissue_03"], cluster=cluster,
        )  # fmt: skip
    here, there = (load(d / "attributions.nc", "deep_lift") for d in done.values())
    np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-7)
    here, there = (load(d / "mean_by_target.nc") for d in done.values())
    xr.testing.assert_allclose(here, there)
    for cluster in (0, True):
        with pytest.raises(ValueError, match="`cluster`"):
            expression(data.tpm, load_checkpoint(folder / "model"), tmp_path / "x", cluster=cluster)
    assert not (tmp_path / "x").exists()


def test_attrib_explain_takes_matrices_and_gives_h5ad_back(tmp_path: Path) -> None:
    data = made(3, 40, 4)
    common = [
        "--model",
        f"{__name__}:own",
        "--target",
        "predicted",
        "--classes",
        "a,b,c",
        "--methods",
        "saliency,deep_lift",
    ]
    data.tpm.to_csv(tmp_path / "m.csv")
    assert run(["explain", *common, "--data", str(tmp_path / "m.csv"), "--output", str(tmp_path / "o")]) == 0
    a = load(tmp_path / "o" / "attributions.nc", "saliency")
    assert a.dims == ("sample", "gene")
    assert a.gene.values[0] == data.tpm.columns[0].split(".")[0]
    gct = data.tpm.T.assign(Description="g").rename_axis("Name")
    head = f"#1.2\n{gct.shape[0]}\t{gct.shape[1] - 1}\n"
    gct[["Description", *data.tpm.index]].to_csv(tmp_path / "table.txt", sep="\t")
    (tmp_path / "m.gct").write_text(head + (tmp_path / "table.txt").read_text())
    (tmp_path / "n.gct.gz").write_bytes(gzip.compress((tmp_path / "m.gct").read_bytes()))
    lines = (tmp_path / "table.txt").read_text().splitlines()
    ages = "\t".join(["age", "na", *map(str, range(len(data.tpm)))])
    version3 = [
        f"#1.3\n{gct.shape[0]}\t{gct.shape[1] - 1}\t1\t1",
        lines[0].replace("Name", "id"),
        ages,
        *lines[1:],
    ]
    (tmp_path / "v.gct").write_text("\n".join(version3) + "\n")
    data.tpm.to_csv(tmp_path / "m.tsv", sep="\t")
    for name in ("m.gct", "n.gct.gz", "v.gct", "m.tsv"):
        folder = tmp_path / name.replace(".", "_")
        assert run(["explain", *common, "--data", str(tmp_path / name), "--output", str(folder)]) == 0
        np.testing.assert_allclose(
            load(folder / "attributions.nc", "saliency").values, a.values, rtol=1e-4, atol=1e-6
        )
    if find_spec("pyarrow") is not None:
        data.tpm.to_parquet(tmp_path / "m.parquet")
        assert (
            run(["explain", *common, "--data", str(tmp_path / "m.parquet"), "--output", str(tmp_path / "q")])
            == 0
        )
    anndata = pytest.importorskip("anndata")
    sparse = anndata.AnnData(
        csr_matrix(data.tpm.to_numpy("float32")), var=pd.DataFrame(index=data.tpm.columns)
    )
    sparse.write_h5ad(tmp_path / "s.h5ad")
    assert (
        run(["explain", *common, "--data", str(tmp_path / "s.h5ad"), "--output", str(tmp_path / "hs")]) == 0
    )
    np.testing.assert_allclose(
        load(tmp_path / "hs" / "attributions.nc", "saliency"), a.values, rtol=1e-4, atol=1e-6
    )
    obs = pd.DataFrame({"tissue": data.samples.tissue.values}, index=data.tpm.index)
    anndata.AnnData(
        data.tpm.to_numpy("float32"), obs=obs, var=pd.DataFrame(index=data.tpm.columns)
    ).write_h5ad(tmp_path / "m.h5ad")
    assert run(["explain", *common, "--data", str(tmp_path / "m.h5ad"), "--output", str(tmp_path / "h")]) == 0
    back = anndata.read_h5ad(tmp_path / "h" / "attributions.h5ad")
    np.testing.assert_allclose(back.layers["saliency"], a.values, rtol=1e-4, atol=1e-6)
    assert back.obs.tissue.tolist() == data.samples.tissue.tolist()


def test_markers_of_blood_cells_lead(tmp_path: Path) -> None:
    """700 PBMC that scanpy ships; monocytes and dendritic cells share LYZ and CST3 and are one label here."""
    scanpy = pytest.importorskip("scanpy")
    adata = scanpy.datasets.pbmc68k_reduced().raw.to_adata()
    names = adata.obs["bulk_labels"].astype(str)
    adata.obs["cell"] = names.where(~names.isin(["CD14+ Monocyte", "Dendritic"]), "myeloid").to_numpy()
    done = train(
        adata,
        tmp_path / "m",
        label="cell",
        transform="none",
        class_weights=True,
        hidden=(128, 64, 32),
        dropout=0.5,
        decay=0.01,
    )
    out = expression(
        adata,
        load_checkpoint(done.folder),
        tmp_path / "o",
        label="cell",
        split="all",
        methods=["integrated_gradients"],
        pictures="none",
    )
    top = pd.read_csv(out / "top_genes.csv").groupby("label").gene.apply(set)
    assert {"CD79A", "MS4A1"} <= top["CD19+ B"]
    assert {"NKG7", "GNLY"} <= top["CD56+ NK"]
    assert {"LYZ", "CST3"} <= top["myeloid"]
