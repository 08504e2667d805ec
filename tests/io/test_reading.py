"""The user's own data files, with the labels they have or are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from attrib.io import read, save

A = xr.DataArray(
    np.arange(6.0).reshape(2, 3),
    dims=("cell", "gene"),
    coords={"gene": ["a", "b", "c"]},
    name="rna",
    attrs={"units": "CPM"},
)


@pytest.mark.parametrize("name", ["a.nc", "saved.nc", "a.zarr"])
def test_labelled_files(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    if name == "a.nc":
        A.to_netcdf(file)
    elif name == "saved.nc":
        save(A, file)
    else:
        A.to_dataset().to_zarr(file, zarr_format=2)
    assert read(file).identical(A)
    assert read(file, dims=["gene", "cell"]).identical(A.transpose())
    with pytest.raises(ValueError, match="has the dims cell, gene; give these names"):
        read(file, dims=["cell", "peak"])


def test_plain_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", A.values)
    assert read(tmp_path / "a.npy").dims == ("sample", "dim_1")
    named = read(tmp_path / "a.npy", dims=["cell", "gene"])
    assert named.dims == ("cell", "gene")
    np.testing.assert_array_equal(named.values, A.values)
    np.savez(tmp_path / "a.npz", rna=A.values, atac=A.values[:, :2])
    both = read(tmp_path / "a.npz", variables=["atac", "rna"])
    assert list(both.data_vars) == ["atac", "rna"]
    assert both["rna"].dims == ("sample", "rna_1")
    assert read(tmp_path / "a.npz", variables=["rna"], dims=["cell", "gene"]).dims == ("cell", "gene")


def test_no_code_is_run(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": print}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy cannot be read as \.npy: it holds Python objects"):
        read(tmp_path / "a.npy")


def test_results_are_no_input(tmp_path: Path) -> None:
    save({"saliency": A}, tmp_path / "a.nc")
    with pytest.raises(ValueError, match="holds several results"):
        read(tmp_path / "a.nc")


def test_plain_hdf5_takes_names_of_dims(tmp_path: Path) -> None:
    """HDF5 without dimension scales; netCDF4 makes names up, one for each size."""
    netCDF4 = pytest.importorskip("netCDF4")
    h5py = pytest.importorskip("h5py")
    values = np.arange(24.0).reshape(2, 3, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = values
    assert netCDF4 is not None
    a = read(tmp_path / "a.h5", dims=["sample", "channel", "x"])
    assert a.dims == ("sample", "channel", "x")
    assert np.array_equal(a, values)
    assert read(tmp_path / "a.h5").dims == ("sample", "dim_1", "dim_2")


def test_made_up_names_of_dims_are_none(tmp_path: Path) -> None:
    file = tmp_path / "a.nc"
    xr.Dataset({"x": (("phony_dim_0", "phony_dim_1"), np.ones((2, 3)))}).to_netcdf(file)
    assert read(file, dims=["sample", "gene"]).dims == ("sample", "gene")
    assert read(file).dims == ("sample", "dim_1")


def test_some_dims_have_names(tmp_path: Path) -> None:
    """HDF5 with a scale on one axis: the others take the names that are left."""
    a = xr.DataArray(
        np.arange(6.0).reshape(2, 3), dims=["phony_dim_0", "gene"], coords={"gene": ["a", "b", "c"]}
    )
    a.to_netcdf(tmp_path / "a.nc")
    assert read(tmp_path / "a.nc").dims == ("sample", "gene")
    turned = read(tmp_path / "a.nc", dims=["gene", "cell"])
    assert turned.identical(
        a.rename(phony_dim_0="cell", gene="gene").transpose("gene", "cell").rename(turned.name)
    )
    with pytest.raises(ValueError, match="has the dims phony_dim_0, gene; give these names"):
        read(tmp_path / "a.nc", dims=["cell", "peak"])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["array", "group"])
def test_bare_zarr_takes_names_of_dims(version: int, kind: str, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    values = np.arange(6.0).reshape(2, 3)
    store = tmp_path / "a.zarr"
    if kind == "array":
        zarr.save_array(str(store), values, zarr_format=version)
    else:
        zarr.open_group(str(store), mode="w", zarr_format=version).create_array("x", data=values)
    a = read(store, dims=["sample", "gene"])
    assert a.dims == ("sample", "gene")
    assert np.array_equal(a, values)
    assert read(store).dims == ("sample", "dim_1")
