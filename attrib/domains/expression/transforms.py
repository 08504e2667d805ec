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


CLIP = 10.0  # standard deviations; a gene that is silent in training can be anything in a test sample


def scaled(x: xr.DataArray, mean: np.ndarray, sd: np.ndarray) -> xr.DataArray:
    """Genes in standard deviations from a mean, cut off at ten.

    ``z = (x - mean) / sd``, at least -10 and at most 10

    Parameters
    ----------
    x : DataArray
        Samples by genes.
    mean, sd : array (genes,)
        Genes whose `sd` is 0 become 0.

    Returns
    -------
    DataArray
        float32, in the unit ``sd``.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.domains.expression import scaled
    >>> scaled(xr.DataArray([[3.0, 5.0, 99.0]], dims=("sample", "gene")), np.array([1.0, 5, 0]), np.array([2.0, 0, 1])).values
    array([[ 1.,  0., 10.]], dtype=float32)
    """
    still = sd <= 0
    values = (np.asarray(x.values, dtype=np.float32) - mean.astype(np.float32)) / np.where(
        still, 1, sd
    ).astype(np.float32)
    values[:, still] = 0.0
    return x.copy(data=np.clip(values, -CLIP, CLIP)).assign_attrs(units="sd")
