"""The files of one pair."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.domains.fcgr.kmers import SEED, seed_site
from attrib.io import replacing, save
from attrib.stats import entropy, regions
from attrib.workflows.fcgr import pictures, squares
from attrib.workflows.fcgr.pairs import BRANCHES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = Callable[[], "Figure"]

EXPORTS = "numpy_exports"
REFERENCE = "integrated_gradients"  # what others are compared with


def write_sample(one: xr.Dataset, sample: str, name: str, folder: Path, count: int | None = None) -> None:
    """Arrays and pictures of a pair.

    Parameters
    ----------
    one : Dataset
        Of `attrib.workflows.fcgr.maps.explained`, without the dim `sample`.
    sample, name : str
        The pair's name, and the beginning of its files' names.
    folder : Path
    count : int, optional
        Regions per map; default: by silhouette.
    """
    for branch in BRANCHES:
        for method in one["method"].values:
            a = one[branch].sel({"method": method}, drop=True)
            kept = a.drop_vars([c for c in a.coords if c not in ("y", "x")])
            save(kept, folder / EXPORTS / f"{name}_{method}_{branch}.npy")
    for file, made in _pictures(one, sample, count).items():
        with replacing(folder / f"{name}_{file}.png") as temporary:
            made().savefig(temporary)


def _pictures(one: xr.Dataset, sample: str, count: int | None) -> dict[str, Picture]:
    """Makers of the pictures by the end of their files' names."""
    title = pictures.titled(sample, int(one["label"]), float(one["probability"]))
    made: dict[str, Picture] = {}
    for branch in BRANCHES:
        made |= _of_branch(one, branch, f"{title}, {squares.TITLES[branch]}", count)
    cams = {b: one[f"{b}_cam"] for b in BRANCHES if f"{b}_cam" in one}
    if cams:
        layers = dict(part.split(": ") for part in one.attrs["layers"].split(", "))
        images = {b: one[f"{b}_image"] for b in BRANCHES}
        made["grad_cam"] = partial(pictures.cam_picture, f"{title}, Grad-CAM", images, cams, layers)
    site = own_site(one)
    made["interaction_heatmap"] = partial(pictures.interaction_picture, title, heatmaps(one, leading(one)), site, SEED)  # fmt: skip
    tracks = {b: {m: track(one, b, m) for m in squares.per_sample(one[b])} for b in BRANCHES}
    shaded = "; shaded: seed and its site" if site.any() else "; shaded: seed"
    made["along"] = partial(pictures.along_picture, title + shaded, tracks, site, SEED)
    return made


def _of_branch(one: xr.Dataset, branch: str, title: str, count: int | None) -> dict[str, Picture]:
    """Maps on a branch's square: all methods, the regions of the leading one, each by itself."""
    maps, lead = one[branch], leading(one)
    first = maps.sel({"method": lead})

    def clusters() -> Figure:
        found = regions(first.drop_vars("kmer"), count=count)
        return pictures.regions_picture(f"{title}, {squares.spoken(lead)}", first, found)

    made: dict[str, Picture] = {
        f"{branch}_comparison": partial(pictures.compared, title, one[f"{branch}_image"], maps),
        f"{branch}_clusters": clusters,
    }
    for m in squares.per_sample(maps):
        made[f"{branch}_{m}"] = partial(pictures.single, title, maps.sel({"method": m}), m)
    return made


def leading(one: xr.Dataset) -> str:
    """The method that single pictures show: integrated gradients, or the first there is."""
    methods = [str(m) for m in one["method"].values]
    return REFERENCE if REFERENCE in methods else methods[0]


def own_site(one: xr.Dataset) -> np.ndarray:
    """Positions of the target that pair with the miRNA's seed."""
    mirna = str(one["mirna_sequence"].values)
    mrna = str(one["mrna_sequence"].values)
    return seed_site(mirna, mrna) if len(mirna) >= SEED[1] else np.zeros(len(mrna), bool)


def track(one: xr.Dataset, branch: str, method: str) -> xr.DataArray:
    """A method's attribution along a branch's sequence, without what lies beyond its end."""
    a = one[f"{branch}_along"].sel({"method": method})
    length = len(str(one[f"{branch}_sequence"].values))
    found = a.isel({f"{branch}_position": slice(0, length)})
    return found.rename({f"{branch}_letter": "letter"}).assign_attrs(long_name=method)


def heatmaps(one: xr.Dataset, method: str) -> dict[str, xr.DataArray]:
    """The outer product of two attributions, which knows nothing of both together, and the interaction where there is one."""
    a, b = (track(one, branch, method).rename(letter=f"{branch}_letter") for branch in BRANCHES)
    found = {f"synthetic: outer product of {squares.spoken(method)} along both (not an interaction)": a * b}
    if "interaction" in one:
        true = one["interaction"].isel(mirna_position=slice(0, len(a)), mrna_position=slice(0, len(b)))
        coords = {c: v for t in (a, b) for c, v in t.coords.items() if str(c).endswith("_letter")}
        smooth = one["interaction"].attrs.get("softplus", "none")
        said = "" if smooth == "none" else f", ReLU as softplus of sharpness {smooth}"
        found[f"interaction: integrated Hessians (log-odds){said}"] = true.assign_coords(coords)
    return found


def rows(one: xr.Dataset, sample: str) -> list[dict[str, Any]]:
    """A row per branch and method: sums, extremes, where the top is."""
    site = own_site(one)
    found = []
    for branch in BRANCHES:
        for method in (str(m) for m in one["method"].values):
            a = one[branch].sel({"method": method})
            row = {
                "sample": sample,
                "label": int(one["label"]),
                "score": float(one["score"]),
                "probability": float(one["probability"]),
            }
            row |= {"branch": branch, "method": method} | _figures(a) | _places(one, branch, method, site)
            row["delta"] = float(one["delta"].sel({"method": method}))
            row["correlation_with_ig"] = _with_reference(one, branch, method)
            found.append(row)
    return found


def _figures(a: xr.DataArray) -> dict[str, Any]:
    values = a.values.astype(float)
    top = squares.top_kmers(a, 1)
    return {
        "sum": values.sum(), "mean": values.mean(), "std": values.std(), "minimum": values.min(), "maximum": values.max(),
        "absolute_sum": np.abs(values).sum(), "positive_share": float((values > 0).mean()),
        "entropy": float(entropy(a)), "top_kmer": top[0] if top else "",
    }  # fmt: skip


def _places(one: xr.Dataset, branch: str, method: str, site: np.ndarray) -> dict[str, Any]:
    along = track(one, branch, method)
    at = int(np.argmax(along.values))
    known = site.any()
    inside = (
        site
        if branch == "mrna"
        else (np.arange(len(along)) >= SEED[0] - 1) & (np.arange(len(along)) < SEED[1])
    )
    return {
        "top_position": at + 1, "top_letter": str(along["letter"].values[at]),
        "remainder": float(one[f"{branch}_remainder"].sel({"method": method})),
        "has_site": bool(known), "top_in_site": bool(inside[at]) if known else None,
    }  # fmt: skip


def _with_reference(one: xr.Dataset, branch: str, method: str) -> float:
    if REFERENCE not in one["method"].values or method == REFERENCE:
        return float("nan")
    a, b = (one[branch].sel({"method": m}).values.ravel().astype(float) for m in (method, REFERENCE))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")
