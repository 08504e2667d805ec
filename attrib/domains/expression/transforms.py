"""Expression as a network takes it."""

from __future__ import annotations

import numpy as np
import xarray as xr

TRANSFORMS = ("log1p", "none")


def transformed(x: xr.DataArray, transform: str) -> xr.DataArray:
    """Expression after a transform.

    Parameters
    ----------
    x : DataArray
        Expression, such as TPM.
    transform : {"log1p", "none"}
        ``log(1 + x)``, natural; or as it is.

    Returns
    -------
    DataArray
        With `units` that name the logarithm.

    Raises
    ------
    ValueError
        For another name, and for negative values under a logarithm.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.expression import transformed
    >>> transformed(xr.DataArray([0.0, 1.0]), "log1p").values.round(3)
    array([0.   , 0.693])
    """
    if transform not in TRANSFORMS:
        raise ValueError(f"`transform` is {transform!r}, expected {' or '.join(TRANSFORMS)}")
    if transform == "none":
        return x
    values = np.asarray(x.values)
    if values.size and values.min() < 0:
        raise ValueError(
            f"`transform` is log1p, but the smallest value is {float(values.min()):.3g}; the data may be logarithms or "
            'z-scores already: transform="none"'
        )
    units = x.attrs.get("units", "expression")
    return x.copy(data=np.log1p(values)).assign_attrs(units=f"log(1 + {units})")
