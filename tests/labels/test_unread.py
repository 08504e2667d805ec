"""Arrays that are still on disk are labelled without being read."""

from pathlib import Path

import numpy as np
import xarray as xr

from attrib.labels import labelled_inputs


def test_labels_are_found_without_the_numbers(tmp_path: Path) -> None:
    xr.Dataset({"x": (("sample", "gene"), np.ones((3, 2)))}).to_netcdf(tmp_path / "x.nc")
    with xr.open_dataset(tmp_path / "x.nc") as ds:
        assert labelled_inputs(ds["x"]).sample_dims == ("sample",)
        assert not ds["x"].variable._in_memory
