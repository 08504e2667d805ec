"""The table of ops: named, located, and adding up."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

import attrib


def test_report_of_labelled_inputs(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 2)).double()
    x = xr.DataArray(np.random.default_rng(0).normal(size=(2, 3)), dims=("cell", "gene"))
    report = attrib.deep_lift_report(model, x, x.mean("cell"), target="on", classes=["off", "on"])
    a = attrib.deep_lift(model, x, baselines=x.mean("cell"), target=1)
    assert report.name.values.tolist()[:2] == ["aten.addmm.default", "aten.gelu.default"]
    assert report["shape"].values.tolist()[0] == "2x4"
    np.testing.assert_allclose(report.change[-1] - report.residual.sum(), a.sum(), atol=1e-14)
    np.testing.assert_allclose(
        report.share, np.ones(report.sizes["op"]), atol=1e-12
    )  # a chain: all passes through all
    assert len(report.to_dataframe()) == report.sizes["op"]
    report.to_netcdf(tmp_path / "report.nc")
    assert xr.load_dataset(tmp_path / "report.nc").equals(report)
