"""Training of a classifier of expression: honest splits, files, checkpoints that come back the same."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from attrib.io import load
from attrib.workflows import expression as study
from attrib.workflows.expression import load_checkpoint
from attrib.workflows.expression import training as module
from attrib.workflows.expression.network import Dense
from attrib.workflows.fitting import Fit, Rows, fitted
from tests.expression import expression, made, train

pytest.importorskip("skorch")
pytest.importorskip("safetensors")
SETTINGS = {"label": "tissue", "group": "donor", "hidden": (32, 16, 16), "epochs": 12, "lr": 3e-3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("expression")
    data = made(4, 60, 24)
    data.tpm.to_csv(folder / "tpm.csv")
    data.samples.iloc[::-1].to_csv(folder / "samples.csv", index=False)
    done = train(
        folder / "tpm.csv",
        folder / "model",
        sample_table=folder / "samples.csv",
        min_samples=30,
        augment="smote",
        **SETTINGS,
    )
    return folder, data, done


def test_files_and_figures(trained) -> None:
    folder, data, done = trained
    assert {p.name for p in (folder / "model").iterdir()} == {
        "model.safetensors", "model.json", "label_means.nc", "metrics.csv", "metrics.json", "confusion_matrix.csv", "confusion_matrix.png",
        "history.csv", "training.png", "split.csv", "predictions.csv", "pca_original.png", "pca_augmented.png", "run.json",
    }  # fmt: skip
    assert done.metrics.loc["accuracy", "recall"] > 0.9
    metrics = pd.read_csv(folder / "model" / "metrics.csv").set_index("label")
    assert metrics.loc["accuracy", "recall_lower"] <= metrics.loc["accuracy", "recall"]
    settings = json.loads((folder / "model" / "model.json").read_text())
    assert settings["classes"] == sorted(data.samples.tissue.unique())
    assert settings["genes"] == [g.split(".")[0] for g in data.tpm.columns]
    history = pd.read_csv(folder / "model" / "history.csv")
    assert history.best.sum() == 1
    assert history.validation_loss[history.best].item() == history.validation_loss.min()


def test_the_epoch_of_the_least_loss_is_kept_where_it_fell_by_less_than_delta() -> None:
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    rows = Rows(x, (x[:, 0] > 0).astype(np.int64))
    shape = {"genes": 2, "classes": 2, "hidden": (4,), "dropout": 0.0}
    fit = Fit(epochs=4, patience=9, batch_size=8, lr=0.01, decay=0.0, seed=0, device=None, delta=5.0)
    network, history = fitted(Dense, shape, rows, rows, fit, extra="expression")
    assert history.best.tolist() == [False, False, False, True]
    with torch.no_grad():
        loss = nn.functional.cross_entropy(network(torch.from_numpy(x)), torch.from_numpy(rows.y))
    assert float(loss) == pytest.approx(history.validation_loss.min(), rel=1e-5)
    with pytest.raises(ValueError, match="no number, from the first epoch on; take a smaller learning rate"):
        fitted(Dense, shape, rows, rows, fit._replace(lr=1e30), extra="expression")


def test_no_donor_is_in_two_splits_and_nothing_made_is_tested(trained) -> None:
    folder, data, done = trained
    split = pd.read_csv(folder / "model" / "split.csv")
    assert split.groupby("group").split.nunique().max() == 1
    assert set(split["sample"]) == set(data.tpm.index)  # measured samples alone
    record = json.loads((folder / "model" / "run.json").read_text())
    counts = split[split.split == "train"].label.value_counts()
    assert record["made"] == (30 - counts).clip(lower=0).sum() > 0
    assert done.metrics.loc["accuracy", "support"] == (split.split == "test").sum()
    with pytest.raises(AssertionError, match="augmentation made"):
        module._refuse_made_ones(np.array([False, True, True]), np.array(["train", "train", "test"]))


def test_standardised_by_the_training_samples_alone(trained) -> None:
    folder, data, done = trained
    split = pd.read_csv(folder / "model" / "split.csv").set_index("sample").split
    logs = np.log1p(data.tpm[split[data.tpm.index] == "train"])
    np.testing.assert_allclose(done.classifier.mean, logs.to_numpy().mean(0), rtol=1e-5)
    np.testing.assert_allclose(done.classifier.sd, logs.std(ddof=0), rtol=1e-4)
    np.testing.assert_allclose(done.classifier.median, logs.median(), rtol=1e-5)
    means = load(folder / "model" / "label_means.nc")
    tissue = data.samples.set_index("id").tissue[logs.index]
    np.testing.assert_allclose(means.sel(label="tissue_01"), logs[tissue == "tissue_01"].mean(), rtol=1e-4)


def test_checkpoint_comes_back_the_same_whatever_the_order_of_genes(trained) -> None:
    folder, data, _ = trained
    back = load_checkpoint(folder / "model")
    predictions = pd.read_csv(folder / "model" / "predictions.csv").set_index("sample")
    order = np.random.default_rng(0).permutation(data.tpm.shape[1])
    logits = []
    for table in (data.tpm, data.tpm.iloc[:, order]):
        x = study.training.read_expression(table, genes=back.genes).x
        logits.append(back.logits(back.prepared(x)[0]))
    np.testing.assert_array_equal(*logits)
    predicted = np.array(back.classes)[logits[0].argmax(1)]
    assert (predicted == predictions.predicted[data.tpm.index]).all()
    assert load_checkpoint(folder / "model" / "model.safetensors").source == back.source


def test_the_same_seed_gives_the_same_weights(trained, tmp_path: Path) -> None:
    _, data, done = trained
    again = train(
        data.tpm, tmp_path / "m", sample_table=data.samples, min_samples=30, augment="smote", **SETTINGS
    )
    for a, b in zip(again.classifier.model.parameters(), done.classifier.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_early_stopping_by_delta(tmp_path: Path) -> None:
    data = made(3, 30, 12)
    done = train(
        data.tpm,
        tmp_path / "m",
        sample_table=data.samples,
        **SETTINGS | {"epochs": 30, "patience": 2, "delta": 100.0},
        class_weights=True,
    )
    assert len(done.history) == 3  # the first, and two that are not better by 100


def test_a_split_of_ones_own_that_divides_a_donor_is_refused(tmp_path: Path) -> None:
    data = made(3, 30, 12)
    place = np.array(["train", "validation", "test"] * 12)
    with pytest.raises(ValueError, match=r"samples of D\d+ are in \w+ and in \w+"):
        train(
            data.tpm, tmp_path / "m", sample_table=data.samples.assign(fold=place), split="fold", **SETTINGS
        )
    assert not (tmp_path / "m").exists()
    by_donor = data.samples.donor.map(lambda d: ["train", "train", "validation", "test"][int(d[1:]) % 4])
    done = train(
        data.tpm,
        tmp_path / "m",
        sample_table=data.samples.assign(fold=by_donor),
        split="fold",
        **SETTINGS | {"epochs": 1},
    )
    split = pd.read_csv(done.folder / "split.csv").set_index("sample").split
    assert (split[data.samples.id].to_numpy() == by_donor.to_numpy()).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": None}, "`label` is missing"),
        ({"label": "tisue"}, "did you mean 'tissue'"),
        ({"epochs": 0}, "`epochs` is 0"),
        ({"hidden": ()}, "`hidden` is"),
        ({"augment": "flip"}, "`augment` is 'flip'"),
        ({"min_samples": -1}, "`min_samples` is -1, expected 0 or more"),
        ({"input_filter": ["ENSG1"]}, "`input_filter`: none of its 1 genes is in `data`"),
        ({"transform": "sqrt"}, "`transform` is 'sqrt'"),
        ({"test": 1.0}, "`test` is 1.0"),
        ({"device": "gpu"}, "`device` is 'gpu'"),
        ({"batch_size": 10**20}, "`batch_size` is 1"),
        ({"delta": float("nan")}, "`delta` is nan"),
        ({"decay": float("inf")}, "`decay` is inf"),
        ({"augment": "smote"}, "`min_samples` is 0, so that no sample is made"),
        ({"min_samples": 10**15}, "`min_samples`: .* would take"),
        ({"hidden": (10**11,)}, "sizes of at most 100,000"),
    ],
)
def test_wrong_arguments_leave_no_folder(tmp_path: Path, change: dict, words: str) -> None:
    data = made(3, 30, 6)
    with pytest.raises(ValueError, match=words):
        train(data.tpm, tmp_path / "m", sample_table=data.samples, **SETTINGS | change)
    assert not (tmp_path / "m").exists()


def test_labels_of_one_sample_are_left_out_and_told(tmp_path: Path) -> None:
    data = made(3, 30, 6)
    data.samples.loc[0, "tissue"] = "rare"
    done = train(data.tpm, tmp_path / "m", sample_table=data.samples, **SETTINGS | {"epochs": 1})
    assert done.classifier.classes == ("tissue_00", "tissue_01", "tissue_02")
    assert "rare" in done.problems["labels with few samples"]


def test_a_log_for_tensorboard(tmp_path: Path) -> None:
    data = made(3, 20, 6)
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(ImportError, match=r"needs tensorboard here: .*\[tensorboard\]"):
            train(data.tpm, tmp_path / "m", sample_table=data.samples, tensorboard=True, **SETTINGS)
        assert not (tmp_path / "m").exists()
        return
    train(data.tpm, tmp_path / "m", sample_table=data.samples, tensorboard=True, **SETTINGS | {"epochs": 2})
    assert list((tmp_path / "m" / "tensorboard").glob("events*"))


def test_data_that_are_logarithms_already(tmp_path: Path) -> None:
    data = made(3, 30, 9)
    done = train(
        np.log1p(data.tpm) - 1,
        tmp_path / "m",
        sample_table=data.samples,
        transform="none",
        **SETTINGS | {"epochs": 2},
    )
    out = expression(np.log1p(data.tpm) - 1, load_checkpoint(done.folder), tmp_path / "o", sample_table=data.samples, label="tissue", split="all", every=True, methods=["saliency"], pictures=1)  # fmt: skip
    table = pd.read_csv(out / "top_genes.csv")
    row = table.iloc[0]
    gene = next(g for g in data.tpm.columns if g.startswith(row.gene))
    samples = pd.read_csv(out / "samples.csv").set_index("sample")
    inside = (samples.predicted == row.label)[data.tpm.index].to_numpy()
    logs = np.log1p(data.tpm[gene].to_numpy())
    assert row.expression_difference == pytest.approx(logs[inside].mean() - logs[~inside].mean(), rel=1e-3)


def own() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(30, 3))


def test_models_of_ones_own(tmp_path: Path) -> None:
    weights = own().state_dict()
    torch.save({"state_dict": {f"model.{k}": v for k, v in weights.items()}, "epoch": 3}, tmp_path / "w.ckpt")
    spec = f"{__name__}:own"
    loaded = load_checkpoint(model=spec, weights=tmp_path / "w.ckpt", classes=["a", "b", "c"])
    assert loaded.genes is None
    data = made(3, 30, 6)
    x = study.training.read_expression(data.tpm).x
    np.testing.assert_allclose(
        loaded.logits(loaded.prepared(x)[0]),
        x.values @ weights["0.weight"].numpy().T + weights["0.bias"].numpy(),
        rtol=1e-4,
        atol=1e-4,
    )
    (tmp_path / "w.json").write_text(json.dumps({"classes": ["a", "b", "c"], "transform": "log1p", "genes": x.gene.values[::-1].tolist(), "mean": [1.0] * 30, "sd": [2.0] * 30}))  # fmt: skip
    loaded = load_checkpoint(model=spec, weights=tmp_path / "w.ckpt")
    expected = (np.log1p(x.values[:, ::-1]) - 1) / 2
    np.testing.assert_allclose(loaded.prepared(x)[0].values, expected, rtol=1e-4, atol=1e-5)
    wrong = load_checkpoint(model=spec, classes=["a", "b"])
    with pytest.raises(ValueError, match="`classes` has 2 names"):
        wrong.logits(wrong.prepared(x)[0])
    with pytest.raises(ValueError, match="`classes` is missing"):
        load_checkpoint(model=spec)
    with pytest.raises(ValueError, match="either `checkpoint`"):
        load_checkpoint()
    with pytest.raises(FileNotFoundError, match=r"lacks model.safetensors, model.json"):
        load_checkpoint(tmp_path)


def test_downloads_from_a_server(tmp_path: Path) -> None:
    pytest.importorskip("pooch")
    import functools
    import http.server
    import threading

    from attrib.workflows.expression.download import MATRIX, SAMPLES, download, local_files

    data = made(3, 12, 4)
    for path in (MATRIX, SAMPLES):
        (tmp_path / "server" / path).parent.mkdir(parents=True, exist_ok=True)
    import gzip

    lines = ["#1.2", "12\t12", "\t".join(["Name", "Description", *data.tpm.index])]
    lines += ["\t".join([g, g, *map(str, data.tpm[g])]) for g in data.tpm.columns]
    (tmp_path / "server" / MATRIX).write_bytes(gzip.compress("\n".join(lines).encode()))
    table = data.samples.rename(columns={"id": "SAMPID", "tissue": "SMTSD"}).drop(columns="donor")
    table.to_csv(tmp_path / "server" / SAMPLES, sep="\t", index=False)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            """A matrix of which half comes, or one letter of it is another, and nothing says so."""
            fault, path = self.path.strip("/").split("/", 1)
            if fault not in ("cut", "damaged"):
                return super().do_GET()
            body = bytearray((tmp_path / "server" / path).read_bytes())
            body[len(body) // 2] ^= 255
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body if fault == "damaged" else body[: len(body) // 2])
            return None

    handler = functools.partial(Quiet, directory=str(tmp_path / "server"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        files = download(tmp_path / "gtex", address)
        with pytest.raises(OSError, match="cannot be fetched"):
            download(tmp_path / "other", f"{address}/nowhere")
        for fault in ("cut", "damaged"):
            with pytest.raises(OSError, match="cannot be fetched"):
                download(tmp_path / "other", f"{address}/{fault}")
            assert not list((tmp_path / "other").glob("*"))
        server.shutdown()
    assert download(tmp_path / "gtex", "http://127.0.0.1:9") == files  # what is there is not fetched again
    assert local_files(tmp_path / "gtex") == files
    x = study.training.read_expression(tmp_path / "gtex").x
    assert x.label.values.tolist() == data.samples.tissue.tolist()
    assert x.group.values[0] == "-".join(x["sample"].values[0].split("-")[:2])
