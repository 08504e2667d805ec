"""What is saved comes back as it was; what cannot be saved or loaded is refused by name and leaves nothing behind."""

import datetime
import re
from pathlib import Path

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from attrib.io import add_group, load, read, save, save_rows
from tests.examples import examples

A = xr.DataArray(np.ones((2, 3)), dims=("sample", "x"), coords={"x": ["a", "b", "c"]}, name="attribution")


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


@examples(40)
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


def cohort() -> xr.DataArray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 2, 4, 3)).astype(np.float32)
    values[1, 0, 2] = np.nan
    coords = {
        "image": [f"cell{k}" for k in range(5)],
        "target": ["WBC", "RBC"],
        "y": ("y", np.arange(4), {"units": "pixel"}),
        "confidence": ("image", np.linspace(0, 1, 5)),
        "label": ("image", list("aabba")),
    }
    attrs = {"units": "output", "complete": True, "nothing": None}
    return xr.DataArray(
        values, dims=("image", "target", "y", "x"), coords=coords, name="attribution", attrs=attrs
    )


@pytest.mark.parametrize("change", [lambda a: a, lambda a: a.rename(None), lambda a: a[:0], lambda a: a[:, 0, 0, 0]])  # fmt: skip
def test_rows_are_the_whole(change, tmp_path: Path) -> None:
    a = change(cohort())
    labels = a.copy(data=np.broadcast_to(np.zeros((), a.dtype), a.shape))
    assert load(save_rows(iter(a.values), labels, tmp_path / "rows.nc")).identical(a)
    assert load(save(a, tmp_path / "whole.nc")).identical(load(tmp_path / "rows.nc"))


def test_wrong_rows_leave_nothing(tmp_path: Path) -> None:
    a = cohort()
    save(a[:1], tmp_path / "a.nc")
    for rows, message in ((a.values[:4], "ends after 4, expected 5"), (a.values[:, 0], r"gives \(4, 3\) as number 1"), (np.concatenate([a.values] * 2), "as number 6")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            save_rows(rows, a, tmp_path / "a.nc")
    assert load(tmp_path / "a.nc").identical(a[:1])
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]
    with pytest.raises(ValueError, match=r"expected a name that ends in \.nc"):
        save_rows(a.values, a, tmp_path / "a.npy")
    with pytest.raises(TypeError, match="`labels` is of dtype bool"):
        save_rows([], a > 0, tmp_path / "a.nc")


def test_memory_is_that_of_a_row(tmp_path: Path) -> None:
    """Traced by Python's allocator, which NumPy tells of its arrays."""
    import tracemalloc

    shape = (60, 2, 200, 200)
    labels = xr.DataArray(np.broadcast_to(np.float32(0), shape), dims=("image", "target", "y", "x"))
    row = int(np.prod(shape[1:])) * 4
    save_rows(iter([]), labels[:0], tmp_path / "warm.nc")
    tracemalloc.start()
    save_rows((np.full(shape[1:], k, np.float32) for k in range(shape[0])), labels, tmp_path / "a.nc")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * row


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("a", "suffix", "error", "words"),
    [
        (A, ".txt", ValueError, "expected a name that ends in one of .nc, .nc4, .zarr, .npy, .csv"),
        (A, "", ValueError, "expected a name that ends in"),
        (np.ones(3), ".nc", TypeError, "`a` is a ndarray, expected a DataArray"),
        ({"a": 1}, ".nc", TypeError, "`a` is a dict"),
        (A.assign_coords(o=("x", [1, "b", None])), ".nc", TypeError, "`o` holds int objects (1)"),
        (A.astype(complex), ".nc", TypeError, "`attribution` is complex128"),
        (A.assign_attrs(f=print), ".nc", TypeError, "attrs['f']` holds a builtin_function_or_method"),
        (A.assign_coords(x=A.x.assign_attrs(f={"g": object()})), ".nc", TypeError, "`x`.attrs['f']` holds a object"),
        (xr.DataArray([1.0], dims=[("a",)]), ".nc", ValueError, "a dim or coord is named ('a',)"),
        (A.rename(x="a/b"), ".nc", ValueError, "a.rename({'a/b': 'name'})"),
        (xr.Dataset({"a": A}), ".npy", TypeError, "is a Dataset, but .npy holds one DataArray"),
        (A.astype(str), ".npy", TypeError, "but .npy holds numbers"),
        (pd.DataFrame({"a": [1]}), ".nc", TypeError, "a DataFrame cannot go to a.nc"),
    ],
)  # fmt: skip
def test_refused(tmp_path, a, suffix, error, words):
    with pytest.raises(error, match=re.escape(words)):
        save(a, tmp_path / f"a{suffix}")
    assert listing(tmp_path) == []


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="create it first"):
        save(A, tmp_path / "no" / "a.nc")


def test_folder_in_the_way(tmp_path):
    (tmp_path / "a.nc").mkdir()
    with pytest.raises(IsADirectoryError, match=r"name a file in it"):
        save(A, tmp_path / "a.nc")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interruption_keeps_the_old_file(tmp_path, monkeypatch, error):
    path = save(A, tmp_path / "a.nc")

    def half_written(ds, file, **options):
        file.write_bytes(b"half")
        raise error

    monkeypatch.setattr(xr.Dataset, "to_netcdf", half_written)
    with pytest.raises(error):
        save(A + 1, path)
    with pytest.raises(error):
        save({"a": A, "b": A}, tmp_path / "b.nc")
    monkeypatch.undo()
    assert listing(tmp_path) == ["a.nc"]
    assert load(path).identical(A)


def test_interruption_keeps_finished_groups(tmp_path, monkeypatch):
    path = add_group(A, tmp_path / "a.nc", "first")

    def half_written(ds, file, **options):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "to_netcdf", half_written)
    with pytest.raises(KeyboardInterrupt):
        add_group(A, path, "second")
    monkeypatch.undo()
    assert listing(tmp_path) == ["a.nc"]
    add_group(A + 1, path, "second")
    found = load(path)
    assert list(found) == ["first", "second"]
    assert found["first"].identical(A)
    assert found["second"].identical(A + 1)
    with pytest.raises(ValueError, match="has a group 'first' already"):
        add_group(A, path, "first")


def test_load_refuses(tmp_path):
    with pytest.raises(ValueError, match="expected a name that ends in"):
        load(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "a.nc")
    path = save({"one": A}, tmp_path / "a.nc")
    with pytest.raises(KeyError, match="has no group 'two', it has: one"):
        load(path, "two")
    np.save(tmp_path / "b.npy", np.ones(2))
    with pytest.raises(FileNotFoundError, match=r"b\.json is missing"):
        load(tmp_path / "b.npy")
    with pytest.raises(ValueError, match="holds one table or array"):
        load(tmp_path / "b.npy", "one")


def test_csv_is_the_long_form(tmp_path):
    """A row per value; values and labels come back, to the last digit."""
    rng = np.random.default_rng(0)
    a = xr.DataArray(
        rng.normal(size=(2, 3)), dims=("cell", "gene"), coords={"cell": ["c1", "c2"], "type": ("cell", ["x", "y"])}, name="attribution"
    )  # fmt: skip
    table = load(save(a, tmp_path / "a.csv"))
    assert list(table.columns) == ["cell", "gene", "type", "attribution"]
    back = table.set_index(["cell", "gene"])["attribution"].to_xarray()
    assert np.array_equal(back.values, a.values)
    assert table.groupby("cell")["type"].first().tolist() == ["x", "y"]
    small = a.astype("float32")
    back = load(save(small, tmp_path / "b.csv"))["attribution"].to_numpy().astype("float32")
    assert np.array_equal(back, small.values.ravel())
    both = load(save({"one": a, "two": 2 * a}, tmp_path / "c.csv"))
    assert both.groupby("result")["attribution"].sum()["two"] == pytest.approx(2 * float(a.sum()))
    ds = load(save(xr.Dataset({"u": a, "v": a}), tmp_path / "d.csv"))
    assert ds.variable.value_counts().to_dict() == {"u": 6, "v": 6}
    assert load(save(xr.DataArray(3.0), tmp_path / "e.csv")).values.tolist() == [[3.0]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_zarr_stores_come_back_identical(tmp_path):
    pytest.importorskip("zarr")
    dates = xr.date_range("2000-02-28", periods=2, calendar="360_day", use_cftime=True)
    a = xr.DataArray(
        np.arange(6, dtype="float32").reshape(2, 3), dims=("cell", "gene"), name="attribution",
        coords={"cell": ["c1", "c2"], "gene": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["s", "n"]), "day": ("cell", dates),
                "kept": ("cell", [True, False]), "when": ("cell", np.array(["2020-01-01", "NaT"], "datetime64[ns]"))},
        attrs={"units": "days since", "none": None, "n": np.int32(3), "list": [1, "b"], "array": np.arange(3)},
    )  # fmt: skip
    for name, value in {
        "a": a,
        "b": a.to_dataset(),
        "c": xr.DataArray([1, 2], dims="x"),
        "d": a.sum(),
    }.items():
        back = load(save(value, tmp_path / f"{name}.zarr"))
        assert back.identical(value)
        assert load(save(value, tmp_path / f"{name}.nc")).identical(value)
    assert load(save(a * 2, tmp_path / "a.zarr")).identical(a * 2)  # takes the place of what was there
    results = {"one": a, "all/two": a + 1}
    several = save(results, tmp_path / "several.zarr")
    assert all(v.identical(results[k]) for k, v in load(several).items())
    assert load(several, "all/two").identical(a + 1)
    with pytest.raises(KeyError, match="no group 'three', it has: one, all/two"):
        load(several, "three")
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_an_error_keeps_the_store_that_was_there(tmp_path):
    pytest.importorskip("zarr")
    path = save(A, tmp_path / "a.zarr")
    with pytest.raises(TypeError):
        save(A.assign_coords(x=np.array([object()] * 3)), path)
    assert load(path).identical(A)
    (tmp_path / "b.zarr").write_text("a file")
    with pytest.raises(NotADirectoryError):
        save(A, tmp_path / "b.zarr")


def test_names_as_characters_and_other_calendars(tmp_path):
    """netCDF as R, MATLAB and IDL write it."""
    netCDF4 = pytest.importorskip("netCDF4")
    with netCDF4.Dataset(tmp_path / "a.nc", "w", format="NETCDF3_CLASSIC") as file:
        for name, size in (("sample", 2), ("x", 3), ("nchar", 8)):
            file.createDimension(name, size)
        v = file.createVariable("v", "f4", ("sample", "x"))
        v[:] = np.ones((2, 3))
        v.coordinates = "name"
        file.createVariable("name", "S1", ("sample", "nchar"))[:] = netCDF4.stringtochar(
            np.array(["S-001", "S-02"], "S8")
        )
    a = read(tmp_path / "a.nc")
    assert a["name"].values.tolist() == ["S-001", "S-02"]
    assert load(save(a, tmp_path / "b.nc")).identical(a)


def test_whole_numbers_with_gaps_are_written_as_whole_numbers(tmp_path):
    table = pd.DataFrame({
        "place": [3.0, np.nan, -2.0], "score": [0.5, np.nan, 2.0], "z": [1.0, 2.0, 3.0], "empty": [np.nan] * 3, "huge": [np.inf, np.nan, 1.0],
    })  # fmt: skip
    file = save(table, tmp_path / "a.csv")
    assert file.read_text().splitlines()[1:] == ["3,0.5,1.0,,inf", ",,2.0,,", "-2,2.0,3.0,,1.0"]
    pd.testing.assert_frame_equal(load(file), table)


def test_table_to_csv(tmp_path):
    table = pd.DataFrame({"method": ["a", "b"], "delta": [0.1, 1 / 3]})
    pd.testing.assert_frame_equal(load(save(table, tmp_path / "a.csv")), table)
