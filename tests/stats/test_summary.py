"""Tables of attributions."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from attrib.stats import describe, mean_by, sample_dims, summary


def attribution() -> xr.DataArray:
    values = np.zeros((2, 3, 2, 4))
    values[0, 1, 1, 2] = -5
    values[0, 1, 0, 0] = 2
    values[1, 2, 0, 3] = 7
    return xr.DataArray(
        values,
        dims=("target", "sample", "y", "gene"),
        coords={
            "target": ["cat", "dog"],
            "sample": ["a", "b", "c"],
            "gene": list("ACGT"),
            "digit": ("sample", [1, 1, 0]),
            "prediction": (("target", "sample"), np.arange(6.0).reshape(2, 3)),
            "delta": (("target", "sample"), np.arange(6.0).reshape(2, 3) / 10),
        },
        attrs={"method": "integrated_gradients", "params": '{"targets": "all"}'},
    )


def test_columns_and_rows():
    table = summary(attribution())
    assert list(table.columns) == [
        "method", "target", "sample", "prediction", "delta", "sum", "absolute_sum", "largest", "at_y", "at_gene",
    ]  # fmt: skip
    assert list(table["target"]) == ["cat"] * 3 + ["dog"] * 3
    row = table[(table["target"] == "cat") & (table["sample"] == "b")].iloc[0]
    assert (row["prediction"], row["delta"]) == (1.0, 0.1)
    assert (row["sum"], row["absolute_sum"], row["largest"]) == (-3.0, 7.0, -5.0)
    assert (row["at_y"], row["at_gene"]) == (1, "G")
    row = table[(table["target"] == "dog") & (table["sample"] == "c")].iloc[0]
    assert (row["prediction"], row["largest"], row["at_gene"]) == (5.0, 7.0, "T")


@pytest.mark.parametrize("order", [("gene", "sample", "y", "target"), ("sample", "target", "gene", "y")])
def test_order_of_dims_does_not_matter(order):
    columns = ["target", "sample", "prediction", "delta", "sum", "largest", "at_y", "at_gene"]
    a = attribution()
    pd.testing.assert_frame_equal(summary(a.transpose(*order))[columns], summary(a)[columns])


def test_one_target_from_parameters_or_per_sample():
    a = attribution().isel(target=0, drop=True)
    assert set(summary(a.assign_attrs(params='{"target": "cat"}'))["target"]) == {"cat"}
    assert set(summary(a.assign_attrs(params="no json"))["target"]) == {""}
    varying = a.assign_coords(target=("sample", ["x", "y", "z"]))
    assert list(summary(varying)["target"]) == ["x", "y", "z"]


def test_several_sample_dims():
    a = xr.DataArray(
        np.arange(12.0).reshape(2, 2, 3),
        dims=("subject", "slice", "x"),
        coords={"prediction": (("slice", "subject"), [[1, 2], [3, 4]])},
    )
    table = summary(a)
    assert sample_dims(a) == ("subject", "slice")
    assert table[["subject", "slice", "prediction", "sum"]].to_numpy().tolist() == [
        [0, 0, 1, 3], [0, 1, 3, 12], [1, 0, 2, 21], [1, 1, 4, 30],
    ]  # fmt: skip


def test_several_inputs_and_results():
    a = attribution()
    both = summary(xr.Dataset({"rna": a, "atac": -a}))
    assert list(both.columns[:2]) == ["method", "input"]
    assert both.groupby("input")["sum"].sum().to_dict() == {"atac": -4.0, "rna": 4.0}
    assert "result" not in summary({"integrated_gradients": a})
    table = summary({"all/integrated_gradients": a, "one": a.isel(target=0)})
    assert list(table["result"].value_counts().sort_index()) == [6, 3]
    with pytest.raises(ValueError, match="empty"):
        summary({})


def test_nan_is_shown():
    a = attribution()
    a[0, 1, 0, 1] = np.nan
    row = summary(a).iloc[1]
    assert np.isnan(row["sum"])
    assert row["largest"] != row["largest"]


def test_no_entries_per_sample():
    a = xr.DataArray([1.0, 2.0], dims="sample")
    assert summary(a)[["sum", "largest"]].to_numpy().tolist() == [[1, 1], [2, 2]]


def test_multi_index_labels():
    a = attribution().isel(target=0, drop=True).stack(place=("y", "gene"))
    assert summary(a)["at_place"].tolist()[1] == "1 / G"


def test_mean_by_equals_the_loop():
    rng = np.random.default_rng(0)
    a = attribution().copy(data=rng.normal(size=(2, 3, 2, 4))).astype("float32")
    m = mean_by(a, "digit")
    assert m.dims == ("target", "digit", "y", "gene")
    assert m.dtype == a.dtype
    assert m["digit"].values.tolist() == [0, 1]
    assert m["count"].values.tolist() == [1, 2]
    for digit in (0, 1):
        chosen = a.values[:, a["digit"].values == digit]
        np.testing.assert_allclose(m.sel(digit=digit).values, chosen.mean(1), rtol=1e-6)
    assert "prediction" not in m.coords
    assert m.attrs == a.attrs


def test_mean_by_leaves_missing_labels_out():
    a = xr.DataArray([1.0, 2.0, 4.0], dims="s", coords={"g": ("s", [1.0, np.nan, 1.0])})
    assert mean_by(a, "g").values.tolist() == [2.5]


def test_mean_by_refuses():
    with pytest.raises(ValueError, match=r"`by` is 'no', expected a coord along one dim; there are .*digit"):
        mean_by(attribution(), "no")
    with pytest.raises(ValueError, match="`by` is 'prediction'"):
        mean_by(attribution(), "prediction")


def test_descriptions_against_numpy() -> None:
    values = np.random.default_rng(6).normal(size=(9, 2, 3))
    values[0, 0, 0] = np.nan
    a = xr.DataArray(values, dims=("sample", "y", "x"))
    found = describe(a)
    assert np.allclose(found["mean"], np.nanmean(values, 0))
    assert np.allclose(found["std"], np.nanstd(values, 0, ddof=1))
    assert np.allclose(found.minimum, np.nanmin(values, 0))
    assert np.allclose(found.maximum, np.nanmax(values, 0))
    assert np.allclose(found.magnitude, np.nanmean(np.abs(values), 0))
    assert found["count"].values.tolist() == [[8, 9, 9], [9, 9, 9]]
    assert np.allclose(found.positive, (values > 0).sum(0) / found["count"])
    assert describe(a, "y")["mean"].dims == ("sample", "x")
    with pytest.raises(ValueError, match="`dim` is 'cell'"):
        describe(a, "cell")
