"""What goes into a model beside the inputs, from files: the right row for each sample, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import attrib
from attrib.cli.run import OK, REFUSED, run
from attrib.io import load, save
from attrib.workflows.data import drawn
from attrib.workflows.explain import explain
from attrib.workflows.judge import judge
from attrib.workflows.plan import read_context

CODE = "tests.workflows.test_context"
SAMPLES = ["a", "b", "c", "d"]
X = xr.DataArray(
    np.random.default_rng(0).normal(size=(4, 3)),
    dims=("sample", "gene"),
    coords={"sample": SAMPLES},
    name="x",
)
AGE = np.array([2.0, 3.0, 5.0, 7.0])
BATCH = np.array([0, 1, 1, 0])


class WithAge(nn.Module):
    """A score that the age multiplies, and the batch shifts."""

    def forward(self, x: Tensor, age: Tensor, batch: Tensor | None = None) -> Tensor:
        """Scores (N,)."""
        shift = 0 if batch is None else torch.tensor([0.0, 4.0], dtype=x.dtype)[batch]
        return (x**2).sum(1) * age.reshape(-1) + shift


def model() -> nn.Module:
    return WithAge().double()


def matrix() -> nn.Module:
    class Two(nn.Module):
        def forward(self, x: Tensor, covariates: Tensor) -> Tensor:
            """Scores (N,)."""
            return (x**2).sum(1) * covariates[:, 0] + covariates[:, 1]

    return Two().double()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    save(X, tmp_path / "x.nc")
    order = [3, 1, 0, 2]
    table = pd.DataFrame({"id": SAMPLES, "age": AGE, "batch": BATCH}).iloc[order]
    table.to_csv(tmp_path / "both.csv", index=False)
    table[["id", "age"]].to_csv(tmp_path / "age.tsv", sep="\t", index=False)
    np.save(tmp_path / "age.npy", AGE)
    np.save(tmp_path / "batch.npy", BATCH)
    np.save(tmp_path / "x.npy", X.values)
    both = xr.Dataset({"age": ("sample", AGE), "batch": ("sample", BATCH)}, coords={"sample": SAMPLES})
    both.isel(sample=order).to_netcdf(tmp_path / "both.nc")
    return tmp_path


WANTED = (2 * X * X * xr.DataArray(AGE, dims="sample")).rename("attribution")


@pytest.mark.parametrize(
    ("words", "factory"),
    [
        (["both.csv"], "model"),  # columns called like parameters
        (["both.nc"], "model"),
        (["age.tsv"], "model"),
        (["age.npy"], "model"),
        (["age=age.npy", "batch=batch.npy"], "model"),
        (["age.npy", "batch=batch.npy"], "model"),
        (["both.csv"], "matrix"),  # columns of one array
        (["covariates=both.csv"], "matrix"),
    ],
)
def test_each_sample_gets_its_own_row(files: Path, words: list[str], factory: str) -> None:
    words = [str(files / w) if "=" not in w else w.replace("=", f"={files}/") for w in words]
    out = files / "out"
    command = ["explain", "--model", f"{CODE}:{factory}", "--data", str(files / "x.nc"), "--output", str(out)]
    given = [
        "--context",
        ",".join(words),
        "--methods",
        "input_x_gradient,occlusion",
        "--set",
        'window={"gene": 1}',
    ]
    assert run([*command, *given]) == OK
    a = load(out / "attributions.nc")["input_x_gradient"]
    np.testing.assert_allclose(a.transpose("sample", "gene"), WANTED, rtol=1e-12)
    np.testing.assert_allclose(load(out / "attributions.nc")["occlusion"], WANTED / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "words", [["both.csv"], ["age=age.npy", "batch=batch.npy"], ["both.nc"], ["age.npy", "batch=batch.npy"]]
)
def test_stores_take_it_too(files: Path, words: list[str]) -> None:
    words = [str(files / w) if "=" not in w else w.replace("=", f"={files}/") for w in words]
    command = ["explain", "--model", f"{CODE}:model", "--data", str(files / "x.nc"), "--block", "3"]
    out = files / "out.zarr"
    assert (
        run(
            [
                *command,
                "--output",
                str(out),
                "--context",
                *words[:1],
                *(f"--context={w}" for w in words[1:]),
                "--methods",
                "input_x_gradient",
            ]
        )
        == OK
    )
    with xr.open_datatree(out, engine="zarr", chunks=None) as tree:
        np.testing.assert_allclose(tree["attribution"].values, WANTED, rtol=1e-12)


def test_variables_of_the_data_are_read_with_their_blocks(files: Path) -> None:
    ds = xr.Dataset({"x": X, "years": ("sample", AGE), "batch": ("sample", BATCH)})
    ds.to_netcdf(files / "all.nc")
    command = [
        "explain",
        "--model",
        f"{CODE}:model",
        "--data",
        str(files / "all.nc"),
        "--methods",
        "input_x_gradient",
    ]
    assert (
        run(
            [
                *command,
                "--output",
                str(files / "s.zarr"),
                "--block",
                "3",
                "--context",
                "age=years",
                "--context",
                "batch=batch",
            ]
        )
        == OK
    )
    with xr.open_datatree(files / "s.zarr", engine="zarr", chunks=None) as tree:
        np.testing.assert_allclose(tree["attribution"].values, WANTED, rtol=1e-12)
    assert run([*command, "--output", str(files / "f"), "--variables", "x", "--context", "years"]) == OK
    np.testing.assert_allclose(load(files / "f" / "attributions.nc")["input_x_gradient"], WANTED, rtol=1e-12)


def test_a_judgement_has_the_same_model(files: Path) -> None:
    done = judge(
        f"{CODE}:model", files / "x.nc", files / "out", context=[str(files / "age.tsv")], max_samples=3,
        methods=["input_x_gradient", "integrated_gradients"], steps=3, n_random=2,
    )  # fmt: skip
    some = drawn(X, 3, seed=0)
    f, x, age = model(), X[some], xr.DataArray(AGE[some], dims="sample")
    a = attrib.integrated_gradients(f, x, additional_forward_args=(age,))
    curve = attrib.deletion(f, x, a, steps=3, additional_forward_args=(age,))
    table = done.table.set_index("method")
    assert table.remarks.str.startswith("randomization: ").all()  # it has no parameters
    assert not table.remarks.str.contains("sensitivity|infidelity|deletion").any()
    np.testing.assert_allclose(table.deletion_area["integrated_gradients"], curve["area"].mean(), rtol=1e-9)
    unlabelled = judge(
        f"{CODE}:model", files / "x.npy", files / "other", context=[str(files / "age.npy")], max_samples=3,
        methods=["input_x_gradient", "integrated_gradients"], steps=3, n_random=2,
    )  # fmt: skip
    pd.testing.assert_frame_equal(
        unlabelled.table.drop(columns="seconds"), done.table.drop(columns="seconds")
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: pd.DataFrame({"id": ["a", "b", "c"], "age": [1, 2, 3]}).to_csv(p / "c.csv", index=False), r"--context: c.csv lacks the samples 'd'; it has 'a', 'b', 'c'"),
        (lambda p: pd.DataFrame({"id": [*"abcda"], "age": range(5)}).to_csv(p / "c.csv", index=False), "--context: c.csv has 'a' more than once"),
        (lambda p: pd.DataFrame({"id": [*"abcd"], "age": [1, 2, None, 4]}).to_csv(p / "c.csv", index=False), "column 'age' of c.csv has empty cells"),
        (lambda p: pd.DataFrame({"id": [*"abcd"], "age": [*"xyzw"]}).to_csv(p / "c.csv", index=False), "column 'age' of c.csv is no number"),
        (lambda p: pd.DataFrame({"id": [*"abcd"]}).to_csv(p / "c.csv", index=False), "c.csv has one column"),
        (lambda p: None, "--context: there is no file"),
    ],
)  # fmt: skip
def test_ids_that_do_not_fit_are_refused(
    files: Path, make: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(files)
    out = files / "refused"
    words = ["explain", "--model", f"{CODE}:model", "--data", str(files / "x.nc"), "--output", str(out)]
    assert run([*words, "--context", str(files / "c.csv")]) == REFUSED
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not out.exists()


def test_rows_without_labels_are_found_by_those_of_the_data(files: Path) -> None:
    for name in ("age.tsv", "age.npy"):
        (age,) = read_context([str(files / name)]).labelled(X).of(X[[2, 0]]).positional
        assert age.values.tolist() == AGE[[2, 0]].tolist()


def test_rows_without_labels_must_be_as_many_and_labels_need_labels(files: Path) -> None:
    np.save(files / "short.npy", AGE[:3])
    with pytest.raises(ValueError, match=r"short.npy has 3 rows without labels, the data have 4 samples"):
        explain(f"{CODE}:model", files / "x.nc", files / "o", context=[str(files / "short.npy")])
    with pytest.raises(ValueError, match=r"age.tsv names its samples, but the data have no labels"):
        explain(f"{CODE}:model", files / "x.npy", files / "o", context=[str(files / "age.tsv")])
    with pytest.raises(ValueError, match="expected a file, or a variable"):
        explain(f"{CODE}:model", files / "x.nc", files / "o", context=["nothing"])
    with pytest.raises(ValueError, match="age twice"):
        read_context([f"age={files}/age.npy", str(files / "both.nc")])
    with pytest.raises(ValueError, match=r"`context` batch: both.nc has 2 variables \(age, batch\)"):
        read_context([f"batch={files}/both.nc"])
    with pytest.raises(ValueError, match="the model fails on one sample"):
        explain(f"{CODE}:model", files / "x.nc", files / "o", context=[f"height={files}/age.npy"])
