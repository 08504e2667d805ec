"""Arrays to draw, and what a figure says."""

import io

import numpy as np
import xarray as xr

from attrib.testing import legible
from tests.jaspar import one_hot

SEQUENCE = one_hot(np.array([[0, 1, 2, 3, 4, 0]]))[0]


def plane(values: object, **attrs: str) -> xr.DataArray:
    a = np.asarray(values, dtype=float)
    coords = {"y": ("y", 10 * np.arange(a.shape[-2]), {"units": "µm"})}
    return xr.DataArray(a, dims=("sample", "y", "x")[-a.ndim :], coords=coords, attrs=attrs)


def along(values: list[float]) -> xr.DataArray:
    attrs = {"long_name": "attribution", "units": "output"}
    return xr.DataArray(values, dims="position", coords={"position": np.arange(10, 16)}, attrs=attrs)


def drawn(figure: object) -> bytes:
    """The picture's file; its texts have to be legible."""
    legible(figure)  # type: ignore[arg-type]
    file = io.BytesIO()
    figure.savefig(file)  # type: ignore[attr-defined]
    return file.getvalue()


def texts(figure: object) -> str:
    import matplotlib.text

    return "\n".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))  # type: ignore[attr-defined]
