"""Tables and arrays with labels, wherever they stand: matched by them, never by place."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import attrib
from attrib.io import load, save

GENES, CELLS = ["a", "b", "c"], ["s1", "s2"]


def weighted(x: torch.Tensor) -> torch.Tensor:
    """Its attributions are x times 1, 10 and 100 where the baseline is 0."""
    return x @ torch.tensor([1.0, 10.0, 100.0], dtype=x.dtype)


def table(index: list[str] = CELLS) -> pd.DataFrame:
    return pd.DataFrame([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]], index=index, columns=pd.Index(GENES, name="gene"))


def test_columns_without_a_name_have_the_name_of_any_nameless_dim() -> None:
    plain = table().rename_axis(columns=None)
    a = attrib.integrated_gradients(weighted, plain)
    assert a.dims == ("sample", "dim_1")
    assert a.dim_1.values.tolist() == GENES
    one, other = attrib.saliency(lambda x, y: x.sum(1) + y.sum(1), (plain, plain[["a", "b"]]))
    assert (one.dim_1.size, other.dim_1.size) == (3, 2)


def named(frame: pd.DataFrame) -> xr.DataArray:
    return xr.DataArray(frame.values, dims=("sample", "gene"), coords={"sample": frame.index.values, "gene": frame.columns.values})  # fmt: skip


@pytest.mark.parametrize("form", [table, lambda: named(table())])
@pytest.mark.parametrize(
    "of", [lambda b: b, lambda b: b.iloc[0], lambda b: named(b).isel(sample=0, drop=True)]
)
def test_baselines_are_matched_by_labels(form: Any, of: Any) -> None:
    x, row = form(), table().iloc[:1]
    a = attrib.integrated_gradients(weighted, x, baselines=of(row[["c", "b", "a"]]))
    np.testing.assert_allclose(a, [[0, 0, 0], [4, 40, 400]], atol=1e-9)


def test_a_row_of_a_table_for_each_sample_goes_by_its_label() -> None:
    x = table()
    a = attrib.integrated_gradients(weighted, x, baselines=x.iloc[::-1][["b", "a", "c"]])
    np.testing.assert_allclose(a, np.zeros((2, 3)), atol=1e-9)


def test_rows_of_a_table_are_a_distribution_where_the_method_takes_one() -> None:
    x, pool = table(), table(["p", "q"])
    a = attrib.deep_lift_shap(weighted, x, baselines=pool[["c", "a", "b"]])
    np.testing.assert_allclose(a, (x.values - pool.values.mean(0)) * [1, 10, 100], atol=1e-9)


@pytest.mark.parametrize(
    ("baselines", "text"),
    [
        (table().rename(columns={"c": "d"}), r"different labels along 'gene': `baselines` lacks 'c' and `baselines` has 'd'"),
        (table().iloc[0][["a", "b"]], r"along 'gene': `baselines` lacks 'c'; select"),
        (table(["s1", "s3"]), r"along 'sample': `baselines` lacks 's2' and `baselines` has 's3'"),
        (xr.DataArray([1.0], dims="gene", coords={"gene": ["b"]}), "`baselines` lacks 'a', 'c'"),
        (table()[["a", "b", "b"]], "`baselines` lacks 'c'"),
    ],
)  # fmt: skip
def test_other_and_missing_labels_are_named(baselines: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        attrib.integrated_gradients(weighted, table(), baselines=baselines)


def test_labels_that_come_twice_cannot_be_matched() -> None:
    x = table()[["a", "b", "b"]]
    a = attrib.integrated_gradients(weighted, x, baselines=x)
    np.testing.assert_allclose(a, np.zeros((2, 3)), atol=1e-9)
    with pytest.raises(ValueError, match="`baselines` has labels along 'gene' more than once: 'b'"):
        attrib.integrated_gradients(weighted, x, baselines=x.iloc[:, ::-1])


def test_targets_of_a_series_go_by_sample() -> None:
    x = table()
    double = lambda x: torch.stack([x[:, 0], 3 * x[:, 2]], 1)
    target = pd.Series(["late", "early"], index=["s2", "s1"])
    for form in (target, xr.DataArray(target.values, dims="sample", coords={"sample": target.index.values})):
        a = attrib.saliency(double, x, target=form, classes=["early", "late"])
        assert a.target.values.tolist() == ["early", "late"]
        np.testing.assert_array_equal(a, [[1, 0, 0], [0, 0, 3]])
    with pytest.raises(
        ValueError, match="`target` and `x` have different labels along 'sample': `target` lacks 's1'"
    ):
        attrib.saliency(double, x, target=target.rename({"s1": "s9"}), classes=["early", "late"])
    with pytest.raises(ValueError, match="`target` lacks 's1', 's2' and `target` has 0, 1"):
        attrib.saliency(double, x, target=target.reset_index(drop=True), classes=["early", "late"])


def test_targets_of_a_series_where_samples_have_two_dims() -> None:
    x = xr.DataArray(
        np.ones((2, 2, 2)), dims=("subject", "visit", "gene"), coords={"subject": ["p", "q"], "visit": [1, 2]}
    )
    index = pd.MultiIndex.from_tuples([(2, "q"), (1, "q"), (2, "p"), (1, "p")], names=["visit", "subject"])
    target = pd.Series([1, 0, 0, 1], index=index)
    a = attrib.saliency(
        lambda x: x * torch.tensor([1.0, 5.0]), x, target=target, sample_dims=("subject", "visit")
    )
    assert a.target.values.tolist() == [[1, 0], [0, 1]]
    np.testing.assert_array_equal(a.sel(subject="q", visit=2), [0, 5])
    with pytest.raises(ValueError, match=r"`target` lacks \('p', 1\)"):
        attrib.saliency(lambda x: x, x, target=target.iloc[:3], sample_dims=("subject", "visit"))


def test_groups_of_a_series_go_by_feature() -> None:
    x = table()
    groups = pd.Series(["u", "v", None], index=["c", "a", "b"])
    a = attrib.feature_ablation(lambda x: x.prod(1), x, groups=groups)
    np.testing.assert_array_equal(a, [[6, np.nan, 6], [210, np.nan, 210]])
    pair = pd.Series([0, 1, 1], index=["b", "c", "a"])
    np.testing.assert_array_equal(
        attrib.feature_ablation(lambda x: x.sum(1), x, groups=pair), [[4, 2, 4], [12, 6, 12]]
    )
    shuffled = named(x).gene.isel(gene=[2, 0, 1]).copy(data=["u", "v", "v"])
    np.testing.assert_array_equal(
        attrib.feature_ablation(lambda x: x.sum(1), named(x), groups=shuffled), [[3, 3, 3], [11, 11, 7]]
    )
    with pytest.raises(ValueError, match="`groups` lacks 'b'"):
        attrib.feature_ablation(lambda x: x.sum(1), x, groups=pair.drop("b"))


def test_levels_of_columns_and_rows_are_coords_that_can_be_saved(tmp_path: Any) -> None:
    levels = pd.MultiIndex.from_arrays([["E1", "E2", "E3"], ["INS", None, "SST"]], names=["id", "symbol"])
    x = (
        table()
        .set_axis(levels, axis=1)
        .set_axis(pd.MultiIndex.from_arrays([["a", "b"], [1, 2]], names=["donor", None]))
    )
    a = attrib.integrated_gradients(weighted, x, baselines=x.iloc[0])
    np.testing.assert_allclose(a, [[0, 0, 0], [4, 40, 400]], atol=1e-9)
    assert a.id.values.tolist() == ["E1", "E2", "E3"]
    assert a.symbol.values.tolist() == ["INS", "", "SST"]
    assert a.donor.values.tolist() == ["a", "b"]
    assert a.sample_level_1.values.tolist() == [1, 2]
    save(a, tmp_path / "a.nc")
    assert load(tmp_path / "a.nc").identical(a)


def test_labels_of_a_table_are_its_own(tmp_path: Any) -> None:
    x = pd.DataFrame(np.ones((2, 2)), index=pd.to_datetime(["2020-01-01", "2020-01-02"]), columns=pd.CategoricalIndex(["u", "v"], name="gene"))  # fmt: skip
    a = attrib.saliency(lambda x: x.sum(1), x)
    assert a.dims == ("sample", "gene")
    assert a.gene.values.tolist() == ["u", "v"]
    save(a, tmp_path / "a.nc")
    assert load(tmp_path / "a.nc").identical(a)
    assert attrib.saliency(lambda x: x**2, pd.Series([1.0, 3.0], index=["p", "q"])).sel(sample="q") == 6


@pytest.mark.parametrize(
    ("x", "error", "text"),
    [
        (table().rename_axis(columns="sample"), ValueError, "`x` has columns called 'sample'"),
        (table().set_axis(["u", None], axis=0), ValueError, r"no label for 1 of 2 entries along 'sample' \(numbers 1\)"),
        (table().assign(kind=["k", "l"]), TypeError, "columns that are no numbers: kind;"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_inputs(x: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        attrib.saliency(lambda x: x.sum(1), x)


def test_sparse_columns_are_numbers() -> None:
    x = table().astype(pd.SparseDtype("float64", 0))
    a = attrib.integrated_gradients(weighted, x, baselines=x.iloc[:1])
    np.testing.assert_allclose(a, [[0, 0, 0], [4, 40, 400]], rtol=1e-12)


def test_missing_numbers_of_nullable_columns_are_named_by_sample() -> None:
    x = table().astype("Float64")
    x.iloc[1, 0] = pd.NA
    with pytest.raises(ValueError, match="`x` has NaN or infinite values in 1 of 2 samples: sample s2"):
        attrib.saliency(weighted, x)


class Frame:
    """A table as polars has it: columns by name, and no index."""

    columns, dtypes = GENES, ["f8"] * 3

    def to_pandas(self) -> pd.DataFrame:
        return table()


def test_tables_of_other_packages() -> None:
    with pytest.raises(TypeError, match=r"`x` is a Frame of .*; pass x.to_pandas\(\)"):
        attrib.saliency(weighted, Frame())


def test_nullable_columns_are_numbers() -> None:
    x = pd.DataFrame({"a": pd.array([1, 2], dtype="Int64"), "b": pd.array([0.5, 1.5], dtype="Float32")})
    a = attrib.input_x_gradient(lambda x: x.sum(1), x)
    np.testing.assert_array_equal(a, [[1, 0.5], [2, 1.5]])


def test_a_target_of_each_subject_is_that_of_all_its_slices() -> None:
    x = xr.DataArray(
        np.arange(24.0).reshape(2, 3, 4), dims=("subject", "slice", "y"), coords={"subject": ["p", "q"]}
    )
    label = pd.Series(["B", "A"], index=pd.Index(["q", "p"], name="subject"))
    weight = pd.Series([5.0, 1.0], index=label.index)

    def f(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.sum(1), 10 * x.sum(1)], 1) * weight[:, None]

    for target, beside in ((label, weight), (label.to_xarray(), weight.to_xarray())):
        a = attrib.saliency(
            f, x, target=target, classes=["A", "B"], sample_dims=("subject", "slice"), additional_forward_args=(beside,)
        )  # fmt: skip
        assert a.target.values.tolist() == [["A"] * 3, ["B"] * 3]
        np.testing.assert_array_equal(a, np.broadcast_to([[[1.0]], [[50.0]]], x.shape))
    with pytest.raises(ValueError, match="give its index one level for each, or the name of one"):
        attrib.saliency(
            f, x, target=label.rename_axis(None), classes=["A", "B"], sample_dims=("subject", "slice")
        )
    with pytest.raises(ValueError, match="`target` lacks 'p'"):
        attrib.saliency(
            f, x, target=label.rename({"p": "r"}), classes=["A", "B"], sample_dims=("subject", "slice")
        )
