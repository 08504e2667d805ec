"""The judgement of methods on a model from files: the table, the picture, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import zarr
from scipy.stats import spearmanr

from attrib.cli.run import run
from attrib.io import load, save
from attrib.plots import curves
from attrib.testing import legible
from attrib.workflows.data import drawn
from attrib.workflows.demo import cnn
from attrib.workflows.drawing import method_name
from attrib.workflows.folder import Folder
from attrib.workflows.judge import COLUMNS, Judged, Judgement, judge, picture
from attrib.workflows.plan import ALL_METHODS, plan
from attrib.workflows.study import Done, attribute, deletion_curve, write_agreement


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(cnn().state_dict(), folder / "model.pt")
    values = np.random.default_rng(0).random((5, 1, 8, 8)).astype(np.float32)
    save(xr.DataArray(values, dims=("sample", "channel", "y", "x"), name="image"), folder / "x.nc")
    return folder


def test_methods_agree_whichever_comes_first(tmp_path: Path) -> None:
    """Of a map of a layer and two attributions of the input the two are compared."""
    rng = np.random.default_rng(0)
    coords = {"prediction": ("sample", np.zeros(3))}
    results = {
        name: xr.DataArray(rng.normal(size=(3, *size)), dims=("sample", "y", "x"), coords=coords)
        for name, size in (("grad_cam", (2, 2)), ("one", (4, 4)), ("two", (4, 4)))
    }
    with Folder(tmp_path / "out") as folder:
        write_agreement(results, folder)
    table = pd.read_csv(tmp_path / "out" / "agreement.csv").set_index("method")
    r = [
        spearmanr(a.values.ravel(), b.values.ravel()).statistic
        for a, b in zip(results["one"], results["two"], strict=True)
    ]
    assert table.loc["one", "two"] == pytest.approx(np.mean(r))
    assert list(table) == ["one", "two"]


def test_deletion_begins_alike_in_whatever_order_methods_come() -> None:
    x = xr.DataArray(np.ones((2, 3), np.float32), dims=("sample", "gene"))
    several = xr.DataArray(np.full((4, 3), 0.5, np.float32), dims=("baseline", "gene"))
    for methods in (["gradient_shap", "integrated_gradients"], ["integrated_gradients", "gradient_shap"]):
        settings = plan(methods, baselines=0.25, options={"gradient_shap.baselines": several})
        curve = deletion_curve(lambda x: x.sum(1), x, x, settings)
        assert curve.isel(fraction=-1).values.tolist() == [0.75, 0.75]


@pytest.fixture(scope="module")
def judged(files: Path) -> Judged:
    return judge(
        "attrib.workflows.demo:cnn", files / "x.nc", files / "out", weights=files / "model.pt", max_samples=4,
        methods=["integrated_gradients", "grad_cam", "shapley_values", "noise_tunnel"], target="predicted", steps=8,
        n_random=4, options={"shapley_values.n_permutations": 2, "n_steps": 8, "n_samples": 2},
    )  # fmt: skip


def test_table_and_files(judged: Judged) -> None:
    table = judged.table.set_index("method")
    assert list(table.index) == ["integrated_gradients", "grad_cam", "shapley_values", "noise_tunnel"]
    assert bool((table.remarks == "").all())
    measures = table.drop(columns=["remarks", "completeness_error"])
    assert bool(np.isfinite(measures.to_numpy(float)).all())
    assert np.isfinite(table.completeness_error).tolist() == [True, False, True, False]
    assert table.deletion_random_area.nunique() == 1  # the same orders for all methods
    assert bool((table.deletion_z[["integrated_gradients", "shapley_values"]] > 1).all())
    assert {p.name for p in judged.folder.iterdir()} == {
        "attributions.nc",
        "judged.csv",
        "judged.png",
        "index.html",
        "run.json",
    }
    assert pd.read_csv(judged.folder / "judged.csv").method.tolist() == list(table.index)
    page = (judged.folder / "index.html").read_text()
    for word in (
        *table.index,
        *(c for c in table.columns if c != "remarks"),
        "judged.png",
    ):
        assert word in page or word.replace("_", " ") in page, word


ALL = ["input_x_gradient", "grad_cam"]


def judged_in_blocks(files: Path, data: Path, out: str, **more: Any) -> Judged:
    return judge(
        "attrib.workflows.demo:cnn", data, files / out, weights=files / "model.pt", methods=ALL, target="predicted",
        steps=4, n_random=3, **more,
    )  # fmt: skip


def test_blocks_of_samples_say_what_all_say(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random((7, 1, 8, 8)).astype(np.float32)
    x = xr.DataArray(values, dims=("sample", "channel", "y", "x"), name="image")
    save(x, files / "more.zarr")
    save(x.rename("b") * 0.1, files / "baselines.nc")  # one for each sample
    whole = judged_in_blocks(
        files, files / "more.zarr", "whole", baselines=str(files / "baselines.nc"), max_samples=6
    )
    monkeypatch.setattr("attrib.workflows.judge.WHOLE_BYTES", 1024)
    monkeypatch.setattr("attrib.scale.samples.BLOCK_BYTES", 1024)  # 4 samples
    lines: list[str] = []
    parts = judged_in_blocks(
        files,
        files / "more.zarr",
        "parts",
        baselines=str(files / "baselines.nc"),
        max_samples=6,
        say=lines.append,
    )
    assert "2 blocks of samples; the attributions themselves are not written." in lines
    assert {p.name for p in parts.folder.iterdir()} == {"judged.csv", "judged.png", "index.html", "run.json"}
    cost = ["seconds", "evaluations"]  # each block tries the model
    pd.testing.assert_frame_equal(parts.table.drop(columns=cost), whole.table.drop(columns=cost), rtol=1e-4)


def test_data_larger_than_a_block_are_never_whole_in_memory(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, size = 40, 1024
    big = np.random.default_rng(2).random((rows, size // 4), dtype=np.float32)
    save(xr.DataArray(big, dims=("sample", "gene"), name="x"), files / "big.zarr")
    monkeypatch.setattr("attrib.workflows.judge.WHOLE_BYTES", 8 * size)
    monkeypatch.setattr("attrib.scale.samples.BLOCK_BYTES", 8 * size)
    read: list[int] = []
    of_store = zarr.Array.get_orthogonal_selection

    def counted(self: zarr.Array, *arguments: Any, **options: Any) -> Any:
        values = of_store(self, *arguments, **options)
        read.append(np.asarray(values).nbytes)
        return values

    monkeypatch.setattr(zarr.Array, "get_orthogonal_selection", counted)
    done = judge(
        f"{__name__}:linear", files / "big.zarr", files / "of-big", methods=["input_x_gradient"], max_samples=rows - 5, target="0",
        steps=2, n_random=3,
    )  # fmt: skip
    assert max(read) == 8 * size
    assert (
        sum(read) == 2 * (rows - 5) * size + 8 * size
    )  # for the ranges, for the measures, and one block to try the model
    assert np.isfinite(done.table.deletion_z[0])


def test_samples_are_drawn_evenly_over_labels(files: Path) -> None:
    rng = np.random.default_rng(0)
    x = xr.DataArray(rng.random((40, 256), dtype=np.float32), dims=("sample", "gene"), coords={"sample": [f"s{k}" for k in range(40)]})  # fmt: skip
    save(x.assign_coords(label=("sample", ["a"] * 36 + ["b"] * 4)).rename("x"), files / "labelled.nc")
    lines: list[str] = []
    done = judge(
        f"{__name__}:linear", files / "labelled.nc", files / "drawn", methods=["saliency"], max_samples=6, target="0", steps=2,
        n_random=2, say=lines.append,
    )  # fmt: skip
    assert lines[0] == "6 of 40 samples, drawn evenly over label with seed 0."
    explained = load(done.folder / "attributions.nc", "saliency")
    assert explained["label"].values.tolist() == ["a"] * 3 + ["b"] * 3
    assert explained["sample"].values.tolist() != [f"s{k}" for k in (0, 1, 2, 36, 37, 38)]
    assert drawn(x, 5, seed=1) != drawn(x, 5, seed=0) != [0, 1, 2, 3, 4]


def test_what_one_method_learns_of_the_model_the_next_ones_know() -> None:
    x = xr.DataArray(np.ones((1, 256), dtype="f4"), dims=("sample", "gene"))
    done = attribute(linear(), x, plan(["saliency", "input_x_gradient"], target=0))
    first, second = (outcome.evaluations for outcome in done if isinstance(outcome, Done))
    assert first > second == 1


def linear() -> torch.nn.Module:
    """A model of 256 genes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Linear(256, 2)


def test_the_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "judge", "--model", "attrib.workflows.demo:cnn", "--data", str(files / "x.nc"), "--max-samples", "2", "--steps", "4",
        "--n-random", "2", "--methods", "saliency", "--output", str(files / "by-command"),
    ]  # fmt: skip
    assert run([*words, "--target", "3"]) == 0
    assert "randomization: rank correlation" in capsys.readouterr().out
    assert run([*words, "--overwrite", "--target", "1,2"]) == 2
    assert "--target is '1,2', but methods are judged on one target" in capsys.readouterr().err
    assert run([*words, "--overwrite", "--target", "1", "--max-samples", "0"]) == 2
    assert "--max-samples is 0, expected at least 1" in capsys.readouterr().err


def test_curves_of_names() -> None:
    a = xr.DataArray([[1.0, 0.5]], dims=("sample", "layer"), coords={"layer": ["2", "0"]})
    ax = curves({"saliency": a}, "layer", control=a)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2", "0"]
    assert len(ax.lines) == 2
    with pytest.raises(ValueError, match="expected 'fraction' among them"):
        curves({"saliency": a})
    with pytest.raises(ValueError, match="expected at least one curve"):
        curves({})


def test_bands_count_samples_and_not_their_targets() -> None:
    """Ten outputs of four samples are not forty samples."""
    of_sample = np.random.default_rng(0).normal(size=(1, 4, 3))
    a = xr.DataArray(np.repeat(of_sample, 10, 0), dims=("target", "sample", "fraction"), coords={"fraction": [0.0, 0.5, 1.0]})  # fmt: skip
    (band,) = curves({"saliency": a}).collections
    mean, error = of_sample[0].mean(0), of_sample[0].std(0, ddof=1) / 2
    ends = band.get_paths()[0].get_extents()
    assert ends.y1 == pytest.approx((mean + error).max())
    assert ends.y0 == pytest.approx((mean - error).min())


def test_a_picture_of_all_methods_is_legible() -> None:
    rng, names = np.random.default_rng(0), [*ALL_METHODS, "integrated_gradients:normalise"]
    fraction, layer = ("fraction", np.linspace(0, 1, 6)), ("layer", ["head", "blocks.1", "blocks.0"])

    def lines(dim: tuple[str, Any]) -> xr.DataArray:
        return xr.DataArray(
            rng.normal(size=(4, len(dim[1]))), dims=("sample", dim[0]), coords={dim[0]: dim[1]}
        )

    table = pd.DataFrame({"method": names, **{c: rng.normal(size=len(names)) for c in COLUMNS[1:-1]}})
    sizes = ["seconds", "completeness_error", "infidelity", "sensitivity"]
    table[sizes] = table[sizes].abs()
    table["insertion_z"] = -0.2 * table["insertion_z"].abs()  # numbers that are long
    table.loc[0, "completeness_error"] = np.nan
    dims = {"deletion": fraction, "insertion": fraction, "randomization": layer}
    of_methods = {m: {n: lines(dim) for n in names} for m, dim in dims.items()}
    controls = {"deletion": lines(fraction), "insertion": lines(fraction)}
    drawn = picture(Judgement(table, of_methods, controls))
    legible(drawn)
    titles = [ax.get_title() for ax in drawn.axes]
    for word in (
        "completeness error",
        "deletion",
        "insertion",
        "infidelity",
        "sensitivity",
        "randomization",
        "seconds",
    ):
        assert any(t.startswith(word) for t in titles), word
    seconds = next(ax for ax in drawn.axes if ax.get_title() == "seconds")
    assert [t.get_text() for t in seconds.get_yticklabels()] == [method_name(n) for n in names]
    assert [p.get_width() for p in seconds.patches] == pytest.approx(table.seconds.tolist())
    assert (
        len([t for t in drawn.axes[3].texts if t.get_text() == "none"]) == 1
    )  # the method without an error of completeness
    del of_methods["randomization"][names[0]]  # the others keep their colours
    drawn = picture(Judgement(table, of_methods, controls))
    colours = [{str(line.get_label()): line.get_color() for line in ax.get_lines()} for ax in drawn.axes[:3]]
    assert {
        n: c for n, c in colours[0].items() if n != "random order" and n in colours[2]
    }.items() <= colours[2].items()
    nothing = picture(Judgement(table, {m: {} for m in dims}, {}))
    assert sum("no method allows it here" in t.get_text() for ax in nothing.axes for t in ax.texts) == 3
