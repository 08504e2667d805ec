"""The demonstration, whole."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from attrib.io import load
from attrib.workflows.demo import Demo, accuracy, cnn, demo, digits, trained
from attrib.workflows.plan import ALL_METHODS


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Of fewer images than the command explains and judges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attrib.workflows.demo.EXPLAINED", 60)
        patch.setattr("attrib.workflows.demo.JUDGED", 6)
        return demo(tmp_path_factory.mktemp("demo") / "out")


def test_reads_digits(done: Demo) -> None:
    assert done.accuracy >= 0.95
    assert json.loads((done.folder / "run.json").read_text())["test_accuracy"] == done.accuracy


def test_files(done: Demo) -> None:
    names = {
        "attributions.nc",
        "summary.csv",
        "run.json",
        "comparison.png",
        "mean_per_class.png",
        "judged.csv",
        "judged.png",
        "index.html",
        "digits.nc",
        "model.pt",
    }
    assert {p.name for p in done.folder.iterdir()} == names
    assert set(done.files) | {"run.json"} == names


def test_every_method_is_there_or_says_why_not(done: Demo) -> None:
    results = load(done.folder / "attributions.nc")
    ran = set(done.table[done.table["skipped"].isna()]["method"])
    assert set(done.table["method"]) == set(ALL_METHODS)
    assert {
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "smooth_grad",
        "gradient_shap",
        "noise_tunnel",
        "grad_cam",
        "grad_cam_plus_plus",
        "layer_cam",
        "hires_cam",
        "guided_grad_cam",
    } <= ran
    assert set(results) == {f"{group}/{m}" for group in ("predicted", "all") for m in ran}


def test_predicted_is_one_of_the_ten(done: Demo) -> None:
    results = load(done.folder / "attributions.nc")
    for method in ("saliency", "integrated_gradients", "layer_cam"):
        predicted, every = results[f"predicted/{method}"], results[f"all/{method}"]
        assert every.sizes["target"] == 10
        chosen = every.sel(target=predicted["target"])
        np.testing.assert_allclose(chosen.values, predicted.values, atol=1e-4)
        np.testing.assert_allclose(chosen["prediction"].values, predicted["prediction"].values, atol=1e-5)


def test_tables(done: Demo) -> None:
    results = load(done.folder / "attributions.nc")
    table = pd.read_csv(done.folder / "summary.csv")
    assert len(table) == sum(a["prediction"].size for a in results.values())
    row = done.table.set_index("method").loc["integrated_gradients"]
    delta = np.abs(results["predicted/integrated_gradients"]["delta"].values)
    assert (row["error_median"], row["error_max"]) == (np.median(delta), delta.max())
    assert row["error_median"] < 0.1
    assert (
        row["all_evaluations"] <= 1.1 * row["evaluations"]
    )  # ten classes cost no more forward passes than one


def test_the_weights_are_the_model(done: Demo) -> None:
    model = cnn()
    model.load_state_dict(torch.load(done.folder / "model.pt"))
    x = load(done.folder / "digits.nc")
    results = load(done.folder / "attributions.nc", "predicted/saliency")
    with torch.no_grad():
        largest = model(torch.from_numpy(x.values)).amax(1)
    np.testing.assert_allclose(results["prediction"], largest, rtol=1e-5)


def test_training_repeats_and_leaves_the_generator() -> None:
    data = digits(1)
    before = torch.random.get_rng_state()
    first, second, other = (trained(data, seed=s, epochs=1) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
    assert accuracy(first, data.test) == accuracy(second, data.test)
    assert set(data.train["sample"].values).isdisjoint(data.test["sample"].values)
