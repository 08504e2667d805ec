"""Attributions of one-hot sequences, seen for what they are: of letters that exclude each other."""

from __future__ import annotations

import xarray as xr


def gradient_correction(attribution: xr.DataArray) -> xr.DataArray:
    """Gradients without what points off the simplex: minus each position's mean over the nucleotides.

    ``c[letter, position] = g[letter, position] - mean over letters of g[., position]``

    The letters of a position add up to 1 in every sequence a model has seen. Along the direction in which all of them
    grow together its function is not determined by data, and its gradient there is noise.

    Parameters
    ----------
    attribution : DataArray
        Gradients or multipliers, with a dim nucleotide and any others.

    Returns
    -------
    DataArray
        Like `attribution`; entries of each position add up to 0.

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
    return _told(corrected.transpose(*attribution.dims), attribution, "gradient correction")


def hypothetical(multipliers: xr.DataArray, baselines: xr.DataArray | float = 0.0) -> xr.DataArray:
    """What each letter would contribute if it stood there.

    ``h[letter, position] = m[letter, position] - sum over letters k of m[k, position] b[k, position]``

    Parameters
    ----------
    multipliers : DataArray
        Of `deep_lift` or `integrated_gradients` with `multiply_by_inputs=False`: dims nucleotide, position and any others.
        With a dim `baseline`, one for each baseline; the mean over them is returned.
    baselines : DataArray or float, default 0.0
        What they were computed with.

    Returns
    -------
    DataArray
        Dims of `multipliers` without `baseline`. At the letter that is there it is the position's contribution:
        ``(x * h).sum("nucleotide")`` is the attribution summed over the letters.

    Raises
    ------
    ValueError
        If there is no dim nucleotide, or several baselines meet multipliers that are a mean over them: a mean of products
        is not the product of the means.

    Notes
    -----
    The multipliers of the sequence that is there are taken for those of the others. No further evaluation of the model.

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
    found = multipliers - (multipliers * bare).sum("nucleotide", skipna=False)
    rest = [d for d in multipliers.dims if d != "baseline"]
    found = found.mean("baseline", skipna=False) if "baseline" in found.dims else found
    return _told(found.transpose(*rest), multipliers, "hypothetical contributions")


def _refuse_without_letters(a: xr.DataArray, name: str) -> None:
    if "nucleotide" not in getattr(a, "dims", ()):
        raise ValueError(
            f"`{name}` has the dims {getattr(a, 'dims', None)}, expected nucleotide among them; "
            "pass a DataArray, such as the functions of attrib return for what one_hot gives"
        )


def _told(found: xr.DataArray, given: xr.DataArray, what: str) -> xr.DataArray:
    """With the attrs of what was given, and a line more in its history."""
    before = str(given.attrs.get("history", ""))
    return found.assign_attrs(given.attrs, history=f"{before}\n{what}".strip()).rename(given.name)
