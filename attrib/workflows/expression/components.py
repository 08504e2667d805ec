"""Principal components of the training samples, before and after augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.plots import points

COLOURED = 10  # labels: those that augmentation added most to, then those with the most samples


def principal_components(x: np.ndarray, label: np.ndarray, new: np.ndarray, seed: int) -> xr.DataArray:
    """Samples (sample, component 2) in the plane of the two first components of those that were not made.

    Parameters
    ----------
    x : array (N, genes)
    label : array (N,)
    new : array of bool (N,)
        Which samples augmentation made.
    seed : int
        Of the randomised decomposition.
    """
    from sklearn.decomposition import PCA

    count = min(2, x.shape[1], int((~new).sum()))
    pca = PCA(count, svd_solver="randomized", random_state=seed).fit(x[~new])
    plane = np.zeros((len(x), 2))
    plane[:, :count] = pca.transform(x)
    share = [*pca.explained_variance_ratio_, 0.0][:2]
    names = [f"component {k + 1} ({s:.1%} of the variance)" for k, s in enumerate(share)]
    return xr.DataArray(
        plane,
        dims=("sample", "component"),
        coords={"component": names, "label": ("sample", label), "new": ("sample", new)},
    )


def component_pictures(plane: xr.DataArray) -> dict[str, Any]:
    """Figures of the samples without and with those that were made, on the same axes, in the same colours."""
    ends = [
        (v.min() - 0.05 * np.ptp(v), v.max() + 0.05 * np.ptp(v)) if np.ptp(v) else None
        for v in plane.values.T
    ]
    limits = None if any(e is None for e in ends) else [e for e in ends if e is not None]
    new = plane["new"].values
    order = plane.isel(sample=np.argsort(plane["label"].values.astype(str), kind="stable"))
    labels = pd.Series(plane["label"].values.astype(str))
    coloured = labels[new].value_counts().index.union(labels.value_counts().index, sort=False)[:COLOURED]
    pictures: dict[str, Any] = {}
    for name, part in (("original", order.isel(sample=~order["new"].values)), ("augmented", order)):
        title = f"{part.sizes['sample']} training samples" + (
            f", {int(new.sum())} of them made" if name == "augmented" else ""
        )
        pictures[f"pca_{name}"] = points(part, "label", labels=coloured, limits=limits, title=title).figure
    return pictures
