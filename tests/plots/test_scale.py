"""Limits of colours; and matplotlib's global state is left alone."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from attrib.plots import robust_limit


def test_robust_limit() -> None:
    a = xr.DataArray([*[1.0] * 99, 100.0, np.nan, np.inf])
    assert robust_limit(a, 100) == 100
    assert 1 <= robust_limit(a, 98) < 2
    assert robust_limit(xr.zeros_like(a)) == 1
    assert robust_limit(xr.DataArray([0.0] * 999 + [5.0])) == 5
    with pytest.raises(ValueError, match="`percentile` is 0"):
        robust_limit(a, 0)


def test_pyplot_is_never_loaded() -> None:
    code = (
        "import sys, io, numpy as np, xarray as xr; from attrib.plots import *; a = xr.DataArray(np.eye(3), dims=('y', 'x'));"
        "image(a).figure.savefig(io.BytesIO()); bars(a[0]).figure.savefig(io.BytesIO());"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
