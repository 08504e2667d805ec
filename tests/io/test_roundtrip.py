"""What is saved comes back as it was."""

import datetime

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from attrib.io import load, save


def result() -> xr.DataArray:
    rng = np.random.default_rng(0)
    return xr.DataArray(
        rng.normal(size=(2, 3, 4)).astype("float32"),
        dims=("target", "sample", "gene"),
        coords={
            "target": ["alpha", "beta"],
            "sample": ["s1", "s22", ""],
            "gene": np.array(["INS", "GCG", "SST", "é☃"], dtype=object),
            "prediction": (("target", "sample"), rng.normal(size=(2, 3))),
            "delta": (("target", "sample"), np.array([[0.0, np.nan, np.inf], [1, 2, 3]])),
            "time": ("sample", np.array(["2020-01-01T00:00:00.123456789", "NaT", "2021-05-05"], "M8[ns]")),
            "day": ("sample", np.array([-3, 0, 100_000], "M8[s]")),
            "took": ("sample", np.array([1, 2, "NaT"], "m8[ms]")),
            "marker": ("gene", np.array([True, False, True, False])),
            "weight": ("gene", np.arange(4, dtype="float16")),
            "count": ("gene", np.arange(4, dtype="uint8")),
            "site": "Tübingen",
            "age": 3.5,
        },
        name="attribution",
        attrs={"method": "saliency", "params": '{"absolute": true}', "units": "output units"},
    )


ATTRS = {
    "none": None,
    "yes": True,
    "numpy_bool": np.bool_(False),
    "int": 3,
    "big": 2**70,
    "float": 0.1,
    "int8": np.int8(3),
    "text": "text",
    "empty": "",
    "nul": "a\0b",
    "list": [1, [2.5, None], {"a": ("b",)}],
    "texts": ["a"],
    "tuple": ("a", 1),
    "dict": {"a": {"b": [True]}, 3: "int key"},
    "complex": 1 + 2j,
    "matrix": np.arange(6.0).reshape(2, 3),
    "one": np.array([1.0]),
    "no": np.array([], dtype="int32"),
    "vector": np.arange(3),
    "objects": np.array(["a", None], dtype=object),
    "stamp": pd.Timestamp("2020-01-01T00:00:00.000000001"),
    "moment": datetime.datetime(2020, 1, 1, 12),
    "date": datetime.date(2020, 1, 1),
    "M8": np.datetime64("2020-01-01", "s"),
    "bytes": b"\x00\xff",
    "_FillValue": -1,
    "scale_factor": 2.0,
    "coordinates": "nothing",
    "dtype": "bool",
    "units": "days since 2000-01-01",
    "with space / slash": 1,
    3: "an int as a name",
    "": "no name",
}


def same(b, a) -> None:
    """Identical, dtypes and types of attributes included."""
    assert b.identical(a)
    assert type(b) is type(a)
    for name in a.coords:
        assert b[name].dtype == a[name].dtype, name
        for k, v in a[name].attrs.items():
            assert type(b[name].attrs[k]) is type(v), (name, k)
    for k, v in a.attrs.items():
        assert type(b.attrs[k]) is type(v), k
    assert set(b.xindexes) == set(a.xindexes)


@pytest.mark.parametrize("suffix", [".nc", ".nc4", ".npy"])
def test_result(tmp_path, suffix):
    a = result()
    b = load(save(a, tmp_path / f"a{suffix}"))
    same(b, a)
    assert b.dtype == a.dtype


@pytest.mark.parametrize("suffix", [".nc", ".npy"])
def test_attributes_of_every_kind(tmp_path, suffix):
    a = result().assign_attrs(ATTRS)
    for name in a.coords:
        a[name].attrs.update(ATTRS)
    same(load(save(a, tmp_path / f"a{suffix}")), a)


def test_units_of_the_user_on_times(tmp_path):
    a = result()
    for name in ("time", "day", "took"):
        a[name].attrs = {"units": "UTC", "calendar": "mine", "_FillValue": None}
    same(load(save(a, tmp_path / "a.nc")), a)


def test_dataset(tmp_path):
    a = result()
    atac = a.drop_vars(["marker", "weight", "count"]).rename(gene="peak")
    ds = xr.Dataset({"rna": a, "atac": atac}, attrs=ATTRS)
    same(load(save(ds, tmp_path / "a.nc")), ds)


@pytest.mark.parametrize("name", [None, "gene", 3, "", "attribution"])
def test_names(tmp_path, name):
    a = result().drop_vars("sample").rename(name)
    same(load(save(a, tmp_path / "a.nc")), a)


def test_multi_index(tmp_path):
    a = result().stack(row=("sample", "gene"))
    same(load(save(a, tmp_path / "a.nc")), a)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("categories", [["a", "b", "unused"], [2, 1, 3]])
def test_categories(tmp_path, ordered, categories):
    values = pd.Categorical.from_codes([0, -1, 1], categories, ordered)
    a = result().assign_coords(kind=("sample", values))
    b = load(save(a, tmp_path / "a.nc"))
    assert b["kind"].dtype == a["kind"].dtype
    same(b, a)


def test_dim_without_index(tmp_path):
    a = result().drop_indexes("gene")
    same(load(save(a, tmp_path / "a.nc")), a)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_small(tmp_path, shape):
    a = xr.DataArray(np.zeros(shape), dims=("sample", "x")[: len(shape)])
    same(load(save(a, tmp_path / "a.nc")), a)
    same(load(save(a, tmp_path / "a.npy")), a)


def test_lazy_is_computed(tmp_path):
    a = result()
    lazy = a.copy(data=dask.array.from_array(a.values, chunks=1))
    same(load(save(lazy, tmp_path / "a.nc")), a)


def test_encoding_of_the_source_does_not_round(tmp_path):
    a = result()
    a["delta"].encoding = a.encoding = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -1}
    same(load(save(a, tmp_path / "a.nc")), a)


def test_other_programs_read_times_and_flags(tmp_path):
    a = result()
    ds = xr.load_dataset(save(a, tmp_path / "a.nc"))
    for name in ("time", "took", "marker", "gene", "delta"):
        np.testing.assert_array_equal(ds[name].values.astype(a[name].dtype), a[name].values)


def test_compressed(tmp_path):
    a = xr.DataArray(np.zeros((100, 100, 10)), dims=("sample", "y", "x"))
    assert save(a, tmp_path / "a.nc").stat().st_size < 60_000


def test_groups(tmp_path):
    a = result()
    results = {"predicted/saliency": a.isel(target=0), "all/saliency": a, "b": xr.Dataset({"v": a})}
    path = save(results, tmp_path / "a.nc")
    found = load(path)
    assert list(found) == list(results)
    for name, expected in results.items():
        same(found[name], expected)
        same(load(path, name), expected)


def test_foreign_file(tmp_path):
    ds = xr.Dataset({"v": ("x", [1.0, np.nan])}, coords={"x": pd.date_range("2020", periods=2)})
    ds.to_netcdf(tmp_path / "a.nc")
    assert load(tmp_path / "a.nc").identical(ds)


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars, lambda s: st.lists(s, max_size=3) | st.dictionaries(texts, s, max_size=3), max_leaves=6
)
arrays = st.sampled_from(["f2", "f4", "f8", ">f4", "i1", "i8", "u4", "?", "U3", "M8[ns]", "m8[us]"]).flatmap(
    lambda d: hnp.arrays(d, 4)
)


@settings(max_examples=40, deadline=None)
@given(
    data=hnp.arrays(st.sampled_from(["f4", "f8", "i4", "?"]), (4, 2)),
    coord=arrays,
    attrs=st.dictionaries(texts, values),
)
def test_anything(tmp_path_factory, data, coord, attrs):
    if coord.dtype.kind == "U":
        coord = np.char.replace(coord, "\0", "-")
    a = xr.DataArray(data, dims=("sample", "x"), coords={"c": ("sample", coord, attrs)}, attrs=attrs)
    folder = tmp_path_factory.mktemp("any")
    assert load(save(a, folder / "a.nc")).identical(a)
    assert load(save(a, folder / "a.npy")).identical(a)
