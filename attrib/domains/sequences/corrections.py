"""Corrections of attributions of one-hot sequences, whose letters exclude each other."""

from __future__ import annotations

import xarray as xr


def gradient_correction(attribution: xr.DataArray) -> xr.DataArray:
    """Gradients without their component off the simplex: minus each position's mean over the nucleotides.

    ``c[letter, position] = g[letter, position] - mean over letters of g[., position]``

    In every sequence that a model has seen, the letters of a position add up to 1. So data do not determine the function
    along the direction in which all letters grow together, and the gradient along it is noise.

    Parameters
    ----------
    attribution : DataArray
        Gradients or multipliers, with a dim nucleotide and any others.

    Returns
    -------
    DataArray
        Like `attribution`; the entries of each position add up to 0.

    Raises
    ------
    ValueError
        If there is no dim nucleotide.

    References
    ----------
    Majdandzic, Rajesh, Koo (2023), Correcting gradient-based interpretations of deep neural networks for genomics.
    doi:10.1186/s13059-023-02956-3

    Examples
    --------
    >>> g = xr.DataArray([[4.0], [0.0], [0.0], [0.0]], dims=("nucleotide", "position"))
    >>> gradient_correction(g).values.ravel().tolist()
    [3.0, -1.0, -1.0, -1.0]
    """
    _refuse_without_letters(attribution, "attribution")
    corrected = attribution - attribution.mean("nucleotide", skipna=False)
    return _with_history(corrected.transpose(*attribution.dims), attribution, "gradient correction")


def hypothetical(multipliers: xr.DataArray, baselines: xr.DataArray | float = 0.0) -> xr.DataArray:
    """Contributions that each letter would have at each position.

    ``h[letter, position] = m[letter, position] - sum over letters k of m[k, position] b[k, position]``

    Parameters
    ----------
    multipliers : DataArray
        Results of `deep_lift` or `integrated_gradients` with `multiply_by_inputs=False`: dims nucleotide, position and any
        others. A dim `baseline` is averaged in the result.
    baselines : DataArray or float, default 0.0
        The baselines of the multipliers.

    Returns
    -------
    DataArray
        Dims of `multipliers` without `baseline`. At the sequence's own letter it is the contribution of the position:
        ``(x * h).sum("nucleotide")`` is the attribution summed over the letters.

    Raises
    ------
    ValueError
        If there is no dim nucleotide, or if there are several baselines and the multipliers are already a mean over them: a
        mean of products is not the product of the means.

    Notes
    -----
    The multipliers of the sequence stand in for those of the sequences with another letter. The model is not evaluated.

    References
    ----------
    Shrikumar et al. (2018), Technical note on transcription factor motif discovery from importance scores (TF-MoDISco).
    arXiv:1811.00416

    Examples
    --------
    >>> m = xr.DataArray([[4.0], [0.0], [2.0], [0.0]], dims=("nucleotide", "position"))
    >>> hypothetical(m, 0.25).values.ravel().tolist()
    [2.5, -1.5, 0.5, -1.5]
    """
    _refuse_without_letters(multipliers, "multipliers")
    if isinstance(baselines, xr.DataArray):
        several = baselines.sizes.get("baseline", 1) > 1
        if several and "baseline" not in multipliers.dims:
            raise ValueError(
                "`baselines` has several, and `multipliers` no dim 'baseline'; compute them one by one: "
                "xr.concat([deep_lift(f, x, baselines=baselines.isel(baseline=k), ...) for k in ...], 'baseline')"
            )
        bare = baselines.drop_vars([c for c in baselines.coords if c not in baselines.indexes])
    else:
        bare = xr.DataArray(float(baselines)).expand_dims(nucleotide=multipliers.sizes["nucleotide"])
    contributions = multipliers - (multipliers * bare).sum("nucleotide", skipna=False)
    if "baseline" in contributions.dims:
        contributions = contributions.mean("baseline", skipna=False)
    dims = [d for d in multipliers.dims if d != "baseline"]
    return _with_history(contributions.transpose(*dims), multipliers, "hypothetical contributions")


def _refuse_without_letters(a: xr.DataArray, name: str) -> None:
    if "nucleotide" not in getattr(a, "dims", ()):
        raise ValueError(
            f"`{name}` has the dims {getattr(a, 'dims', None)}, expected nucleotide among them; "
            "pass a DataArray, such as the functions of attrib return for sequences of one_hot"
        )


def _with_history(a: xr.DataArray, source: xr.DataArray, step: str) -> xr.DataArray:
    """`a` with the name and attrs of `source`, and a step added to the history."""
    before = str(source.attrs.get("history", ""))
    return a.assign_attrs(source.attrs, history=f"{before}\n{step}".strip()).rename(source.name)
