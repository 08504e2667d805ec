"""One number per position: a method's attribution of the letter in the sequence."""

from __future__ import annotations

import xarray as xr

from attrib.workflows.drawing import name as long_name
from attrib.workflows.sequence.asked import MUTATIONS

LETTER_ONLY = (
    "saliency",
    "smooth_grad",
    "noise_tunnel",
)  # gradients: those of absent letters do not describe the sequence
FIRST = ("deep_lift", "deep_lift_shap", "integrated_gradients", "gradient_shap", "input_x_gradient")


def importance(method: str, a: xr.DataArray, x: xr.DataArray) -> xr.DataArray:
    """Attribution of each position.

    Parameters
    ----------
    method : str
    a : DataArray
        Its attributions: dims `nucleotide`, `position` and the samples'.
    x : DataArray
        The sequences.

    Returns
    -------
    DataArray
        Without `nucleotide`. For mutagenesis the mean loss of the score over the absent letters; for gradients the entry
        of the letter in the sequence; for other methods the sum.
    """
    if method == MUTATIONS:
        by_position = -(a * (1 - x)).sum("nucleotide", skipna=False) / (4 - x.sum("nucleotide"))
    elif method in LETTER_ONLY:
        by_position = (a * x).sum("nucleotide", skipna=False)
    else:
        by_position = a.sum("nucleotide", skipna=False)
    title = f"{long_name(a, method)}" + (", mean loss" if method == MUTATIONS else "")
    return by_position.assign_attrs(long_name=title, units=a.attrs.get("units", ""))


def leading(methods: tuple[str, ...]) -> str:
    """The method that seqlets are taken from: the first complete one, else mutagenesis, else the first."""
    usable = [m for m in FIRST if m in methods] or [m for m in methods if m == MUTATIONS]
    return usable[0] if usable else methods[0]
