"""What cannot be saved or loaded is refused by name, and nothing is left behind."""

import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from attrib.io import add_group, load, replacing, save, write_json

A = xr.DataArray(np.ones((2, 3)), dims=("sample", "x"), coords={"x": ["a", "b", "c"]}, name="attribution")


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("a", "suffix", "error", "words"),
    [
        (A, ".txt", ValueError, "expected a name that ends in one of .nc, .nc4, .npy, .csv"),
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


def test_csv_is_the_summary(tmp_path):
    table = load(save(A.assign_attrs(method="saliency"), tmp_path / "a.csv"))
    assert table["sum"].tolist() == [3.0, 3.0]
    assert table["method"].tolist() == ["saliency", "saliency"]


def test_table_to_csv(tmp_path):
    table = pd.DataFrame({"method": ["a", "b"], "delta": [0.1, 1 / 3]})
    pd.testing.assert_frame_equal(load(save(table, tmp_path / "a.csv")), table)


def test_replacing_replaces_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(str(1 / 0))
    assert path.read_text() == "old"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert listing(tmp_path) == ["a.txt"]


def test_write_json(tmp_path):
    path = write_json({"a": 1, "p": tmp_path, "name": "é"}, tmp_path / "a.json")
    assert '"name": "é"' in path.read_text(encoding="utf-8")
