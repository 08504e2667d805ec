"""The files of one pair."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from attrib.domains.fcgr.images import SEED, seed_site
from attrib.io import save
from attrib.stats import entropy, rank_correlation, regions
from attrib.workflows.drawing import method_name
from attrib.workflows.fcgr import pictures, squares
from attrib.workflows.fcgr.pairs import BRANCHES
from attrib.workflows.folder import save_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Picture = Callable[[], "Figure"]

EXPORTS = "numpy_exports"
REFERENCE = "integrated_gradients"  # the method that others are compared with


def write_sample(
    part: xr.Dataset, name: str, folder: Path, count: int | None = None, *, pictured: bool = True
) -> None:
    """Write the arrays and pictures of a pair (one sample of `explained`), and last its results, whose file marks it as finished."""
    pair, sample = part.isel(sample=0), str(part["sample"].values[0])
    for branch in BRANCHES:
        for method in pair["method"].values:
            a = pair[branch].sel({"method": method}, drop=True)
            values = a.drop_vars([c for c in a.coords if c not in ("y", "x")])
            save(values, folder / EXPORTS / f"{name}_{method}_{branch}.npy")
    for file, make in _pictures(pair, sample, count).items() if pictured else ():
        save_picture(make(), folder / f"{name}_{file}.png")
    save(part, folder / "parts" / f"{name}.nc")


def _pictures(pair: xr.Dataset, sample: str, count: int | None) -> dict[str, Picture]:
    """Functions that draw the pictures, by the end of their files' names."""
    title = pictures.titled(sample, int(pair["label"]), float(pair["probability"]))
    makers: dict[str, Picture] = {}
    for branch in BRANCHES:
        makers |= _of_branch(pair, branch, f"{title}, {squares.TITLES[branch]}", count)
    cams = {b: pair[f"{b}_cam"] for b in BRANCHES if f"{b}_cam" in pair}
    if cams:
        layers = dict(part.split(": ") for part in pair.attrs["layers"].split(", "))
        images = {b: pair[f"{b}_image"] for b in BRANCHES}
        makers["grad_cam"] = partial(pictures.cam_picture, f"{title}, Grad-CAM", images, cams, layers)
    site = site_of(pair)
    makers["interaction_heatmap"] = partial(pictures.interaction_picture, title, heatmaps(pair, leading(pair)), site, SEED)  # fmt: skip
    tracks = {b: {m: track(pair, b, m) for m in squares.per_sample(pair[b])} for b in BRANCHES}
    shaded = "; shaded: seed and its site" if site.any() else "; shaded: seed"
    makers["along"] = partial(pictures.along_picture, title + shaded, tracks, site, SEED)
    return makers


def _of_branch(pair: xr.Dataset, branch: str, title: str, count: int | None) -> dict[str, Picture]:
    """Pictures of a branch: all methods together, the regions of the leading one, and each method."""
    maps, lead = pair[branch], leading(pair)
    first = maps.sel({"method": lead})

    def clusters() -> Figure:
        areas = regions(first.drop_vars("kmer"), count=count)
        return pictures.regions_picture(f"{title}, {method_name(lead)}", first, areas)

    makers: dict[str, Picture] = {
        f"{branch}_comparison": partial(pictures.compared, title, pair[f"{branch}_image"], maps),
        f"{branch}_clusters": clusters,
    }
    for m in map(str, maps["method"].values):
        makers[f"{branch}_{m}"] = partial(pictures.single, title, maps.sel({"method": m}), m)
    return makers


def leading(pair: xr.Dataset) -> str:
    """The method of single pictures: integrated gradients, or else the first."""
    methods = [str(m) for m in pair["method"].values]
    return REFERENCE if REFERENCE in methods else methods[0]


def site_of(pair: xr.Dataset) -> np.ndarray:
    """Positions of the target that pair with the miRNA's seed."""
    mirna = str(pair["mirna_sequence"].values)
    mrna = str(pair["mrna_sequence"].values)
    return seed_site(mirna, mrna) if len(mirna) >= SEED[1] else np.zeros(len(mrna), bool)


def track(pair: xr.Dataset, branch: str, method: str) -> xr.DataArray:
    """A method's attribution along a branch's sequence, without the padding."""
    a = pair[f"{branch}_along"].sel({"method": method})
    length = len(str(pair[f"{branch}_sequence"].values))
    inside = a.isel({f"{branch}_position": slice(0, length)})
    return inside.rename({f"{branch}_letter": "letter"}).assign_attrs(long_name=method)


def heatmaps(pair: xr.Dataset, method: str) -> dict[str, xr.DataArray]:
    """The outer product of two attributions, which is no interaction, and the interaction if there is one."""
    a, b = (track(pair, branch, method).rename(letter=f"{branch}_letter") for branch in BRANCHES)
    matrices = {f"synthetic: outer product of {method_name(method)} along both (not an interaction)": a * b}
    if "interaction" in pair:
        true = pair["interaction"].isel(mirna_position=slice(0, len(a)), mrna_position=slice(0, len(b)))
        coords = {c: v for t in (a, b) for c, v in t.coords.items() if str(c).endswith("_letter")}
        smooth = pair["interaction"].attrs.get("softplus", "none")
        smoothing = "" if smooth == "none" else f", ReLU as softplus of sharpness {smooth}"
        matrices[f"interaction: integrated Hessians (log-odds){smoothing}"] = true.assign_coords(coords)
    return matrices


def rows(pair: xr.Dataset, sample: str) -> list[dict[str, Any]]:
    """A row per branch and method: sums, extremes, position of the maximum."""
    site = site_of(pair)
    table = []
    for branch in BRANCHES:
        for method in (str(m) for m in pair["method"].values):
            a = pair[branch].sel({"method": method})
            row = {
                "sample": sample,
                "label": int(pair["label"]),
                "score": float(pair["score"]),
                "probability": float(pair["probability"]),
            }
            row |= {"branch": branch, "method": method} | _figures(a) | _places(pair, branch, method, site)
            row |= {n: float(pair[n].sel({"method": method})) for n in ("delta", "deletion_z")}
            row |= _with_reference(pair, branch, method)
            table.append(row)
    return table


def _figures(a: xr.DataArray) -> dict[str, Any]:
    values = a.values.astype(float)
    top = squares.top_kmers(a, 1)
    return {
        "sum": values.sum(), "mean": values.mean(), "std": values.std(), "minimum": values.min(), "maximum": values.max(),
        "absolute_sum": np.abs(values).sum(), "positive_share": float((values > 0).mean()),
        "entropy": float(entropy(a)), "top_kmer": top[0] if top else "",
    }  # fmt: skip


def _places(pair: xr.Dataset, branch: str, method: str, site: np.ndarray) -> dict[str, Any]:
    along = track(pair, branch, method)
    at = int(np.argmax(along.values))
    has_site = site.any()
    inside = (
        site
        if branch == "mrna"
        else (np.arange(len(along)) >= SEED[0] - 1) & (np.arange(len(along)) < SEED[1])
    )
    return {
        "top_position": at + 1, "top_letter": str(along["letter"].values[at]),
        "remainder": float(pair[f"{branch}_remainder"].sel({"method": method})),
        "has_site": bool(has_site), "top_in_site": bool(inside[at]) if has_site else None,
    }  # fmt: skip


def _with_reference(pair: xr.Dataset, branch: str, method: str) -> dict[str, float]:
    """Pearson's and Spearman's correlation with integrated gradients over the k-mers; NaN for these themselves."""
    values = (float("nan"), float("nan"))
    if REFERENCE in pair["method"].values and method != REFERENCE:
        a, b = (pair[branch].sel({"method": m}).values.ravel().astype(float) for m in (method, REFERENCE))
        if a.std() > 0 and b.std() > 0:
            values = (
                float(np.corrcoef(a, b)[0, 1]),
                rank_correlation(
                    pair[branch].sel({"method": method}), pair[branch].sel({"method": REFERENCE})
                ),
            )
    return dict(zip(("pearson_with_ig", "spearman_with_ig"), values, strict=True))
