"""Two groups of subjects compared: voxels, regions, sides; subjects of one label compared with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.mri import coarsened
from attrib.io import replacing, to_nifti
from attrib.io.place import LEGAL, file_names
from attrib.labels.grids import VOXEL_DIMS, affine_of, to_mm, voxel_sizes
from attrib.stats import cluster_contrast, consistency, lateralisation, rank_correlation, region_contrast
from attrib.stats.clusters import LEAST
from attrib.workflows.mri.intake import Cohort
from attrib.workflows.mri.plan import Plan, Voxels, shown
from attrib.workflows.mri.subjectfiles import COARSE, INSIDE

MOST = 1e6  # of t in a file of float32: it is infinite where both groups are constant
REGIONS_LEAST = 3  # subjects in a group


class Groups(NamedTuple):
    """Results of comparisons.

    Attributes
    ----------
    positive, negative : str
        Names of the groups.
    clusters : DataFrame
        A row per method and cluster.
    regions : DataFrame
        A row per method and region, with differences, intervals and p-values.
    sides : DataFrame
        The same of lateralisation, a row per method and pair.
    indices : DataFrame
        Lateralisation of each subject.
    consistency : DataFrame
        Mean correlations within and between labels, by method.
    agreement : DataFrame
        Rank correlation of two methods over the subjects: mean, sd.
    files : list of str
        Group maps.
    notes : list of str
        What was left out, and why.
    """

    positive: str
    negative: str
    clusters: pd.DataFrame
    regions: pd.DataFrame
    sides: pd.DataFrame
    indices: pd.DataFrame
    consistency: pd.DataFrame
    agreement: pd.DataFrame
    files: list[str]
    notes: list[str]


class Means:
    """Sums of maps by label, in double precision.

    Parameters
    ----------
    methods : sequence of str
    """

    def __init__(self, methods: Sequence[str]) -> None:
        self.methods = tuple(methods)
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    def add(self, label: str, maps: np.ndarray) -> None:
        """Maps (method, i, j, k) of a subject; without a label it is in no mean."""
        if label:
            before = self._sums.get(label)
            self._sums[label] = (
                maps.astype(np.float64) if before is None else np.add(before, maps, out=before)
            )
            self._counts[label] = self._counts.get(label, 0) + 1

    def write(self, folder: Path, cohort: Cohort, target: str) -> list[str]:
        """Write ``mean_{label}_{method}.nii.gz`` in the grid of the subjects; the names of the files."""
        files = []
        names = file_names(sorted(self._sums), (), LEGAL)
        for label, sums in sorted(self._sums.items()):
            for method, total in zip(self.methods, sums, strict=True):
                mean = cohort.volume((total / self._counts[label]).astype(np.float32))
                image = to_nifti(mean, like=cohort.subjects[0].path)
                image.header["descrip"] = (
                    f"mean {method} of {self._counts[label]} {label}, score of {target}".encode()[:79]
                )
                files.append(f"mean_{names[label]}_{method}.nii.gz")
                with replacing(folder / files[-1]) as temporary:
                    image.to_filename(temporary)
        return files


def compare(
    folder: Path,
    cohort: Cohort,
    plan: Plan,
    parts: Sequence[Mapping[str, Any]],
    regions: pd.DataFrame,
    options: Voxels,
) -> Groups:
    """Compare the subjects that have a class for a label: those of the target with the others."""
    classes = list(parts[0]["classes"])
    labelled = [p for p in parts if p["label"] in classes]
    target = plan.target if plan.target in classes else classes[-1]
    others = sorted({str(p["label"]) for p in labelled} - {target})
    negative = others[0] if len(others) == 1 else "others"
    positive = np.array([p["label"] == target for p in labelled], dtype=bool)
    counts = int(positive.sum()), int((~positive).sum())
    notes: list[str] = []
    files: list[str] = []
    if plan.target == "predicted":
        notes.append(
            "Attributions explain each subject's predicted class, so that those of two groups explain different scores: mind this in comparisons."
        )
    tables: dict[str, list[pd.DataFrame]] = {
        k: [] for k in ("clusters", "regions", "sides", "indices", "consistency", "agreement")
    }
    grid = coarsened(cohort.volume(np.broadcast_to(np.float32(0), cohort.shape)), COARSE)
    brain = _brain(folder, [str(p["subject"]) for p in labelled or parts])
    for method in plan.methods:
        maps = np.stack([_coarse(folder, p["subject"], method) for p in labelled or parts])
        a = xr.DataArray(
            maps,
            dims=("sample", *VOXEL_DIMS),
            coords={"sample": [p["subject"] for p in labelled or parts], **grid.coords},
        )
        mask = (a.max("sample") != a.min("sample")).drop_vars("affine", errors="ignore") & brain
        if min(counts) >= LEAST and not mask.any():
            notes.append(f"No statistics of voxels of {shown(method)}: it is the same in all subjects.")
        elif min(counts) >= LEAST:
            result = cluster_contrast(
                a, positive, mask=mask, threshold=options.threshold, connectivity=options.connectivity, tfce=options.tfce,
                n_permutations=options.permutations, seed=plan.seed,
            )  # fmt: skip
            if "note" in result.attrs:
                notes.append(f"{method}: {result.attrs['note']}")
            tables["clusters"].append(_clusters(result, method, cohort))
            files.append(_group_map(folder, result, cohort, method))
        if min(counts) >= 2:
            voxels = xr.DataArray(maps[:, brain], dims=("sample", "voxel"))
            tables["consistency"].append(
                consistency(voxels, [p["label"] for p in labelled], seed=plan.seed).assign(method=method)
            )
        if len(regions):
            of_method = regions[regions.method == method]
            shares = _table(of_method, [p["subject"] for p in labelled])
            if shares.sizes["sample"] and min(counts) >= REGIONS_LEAST:
                tables["regions"].append(
                    region_contrast(shares, positive, seed=plan.seed).assign(method=method)
                )
            index = lateralisation(_table(of_method, list(dict.fromkeys(of_method.subject))))
            if index.sizes["pair"]:
                tables["indices"].append(_rows(index, method))
                sides = index.sel(sample=[p["subject"] for p in labelled])
                if min(counts) >= REGIONS_LEAST:
                    tables["sides"].append(
                        region_contrast(sides, positive, seed=plan.seed).assign(method=method)
                    )
    tables["agreement"] = [_agreement(folder, parts, plan.methods)]
    if min(counts) < LEAST:
        notes.append(
            f"No statistics of voxels: {counts[0]} subjects with label {target}, {counts[1]} with another; at least {LEAST} of each are needed."
        )
    merged = {k: pd.concat(v, ignore_index=True) if v else pd.DataFrame() for k, v in tables.items()}
    merged = {
        k: t[["method", *(c for c in t.columns if c != "method")]] if "method" in t else t
        for k, t in merged.items()
    }
    renamed = {"positives": target, "negatives": negative}
    return Groups(
        str(target), negative, merged["clusters"], merged["regions"].rename(columns=renamed),
        merged["sides"].rename(columns=renamed), merged["indices"], merged["consistency"], merged["agreement"], files, notes,
    )  # fmt: skip


def _coarse(folder: Path, subject: str, method: str) -> np.ndarray:
    with np.load(folder / "parts" / f"{subject}.npz") as maps:
        return np.asarray(maps[method])


def _brain(folder: Path, subjects: Sequence[str]) -> np.ndarray:
    """Blocks inside the brain of at least half of the subjects; all, where there are none."""
    inside = np.asarray(sum(_coarse(folder, s, INSIDE) for s in subjects)) / len(subjects) >= 0.5
    return inside if inside.any() else ~inside


def _clusters(result: xr.Dataset, method: str, cohort: Cohort) -> pd.DataFrame:
    """A line per cluster, its peak in voxels and mm, and the regions that it covers."""
    names = ["sign", "size", "mass", "p_mass", "p_size", "peak", *(f"peak_{d}" for d in VOXEL_DIMS)]
    table = (
        result[names]
        .drop_vars("affine", errors="ignore")
        .to_dataframe()
        .reset_index()
        .rename(columns={"number": "cluster", "size": "blocks", "peak": "peak_t"})
    )
    affine = affine_of(result["t"])
    table["volume_mm3"] = table.blocks * float(np.prod(voxel_sizes(affine)))
    mm = to_mm(cohort.affine, table[[f"peak_{d}" for d in VOXEL_DIMS]].to_numpy())
    for n, axis in enumerate("xyz"):
        table[f"peak_{axis}"] = np.round(mm[:, n], 2)
    if cohort.atlas is not None:
        table["regions"] = [_covered(result, cohort, int(n)) for n in table.cluster]
    return table.assign(method=method)


def _covered(result: xr.Dataset, cohort: Cohort, number: int, most: int = 3) -> str:
    """The regions that hold most of a cluster, each with its share."""
    assert cohort.atlas is not None
    chosen = result["cluster"] == number
    places = [
        np.clip(np.round(result[d].values).astype(int), 0, n - 1)
        for d, n in zip(VOXEL_DIMS, cohort.shape, strict=True)
    ]
    values = cohort.atlas.values[np.ix_(*places)][chosen.transpose(*VOXEL_DIMS).values]
    numbers, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return "; ".join(
        f"{cohort.names.get(int(numbers[o]), 'no region')} {counts[o] / counts.sum():.0%}" for o in order
    )


def _group_map(folder: Path, result: xr.Dataset, cohort: Cohort, method: str) -> str:
    """Write t, corrected p of each voxel and the number of its cluster as a volume of four dims in the subjects' grid."""
    from nibabel.funcs import concat_images

    like = cohort.subjects[0].path
    volumes = []
    for name, fill in (("t", 0.0), ("p_corrected", 1.0), ("cluster", 0.0)):
        spread = _spread(result[name].transpose(*VOXEL_DIMS).values, cohort.shape, result, fill)
        volumes.append(to_nifti(cohort.volume(spread.astype(np.float32)), like=like))
    image = concat_images(volumes)
    image.header["descrip"] = f"attrib {method}: t, p_corrected, cluster".encode()[:79]
    name = f"group_{method}.nii.gz"
    with replacing(folder / name) as temporary:
        image.to_filename(temporary)
    return name


def _spread(values: np.ndarray, shape: Sequence[int], result: xr.Dataset, fill: float) -> np.ndarray:
    """Coarse values on all voxels: each voxel has its block's value."""
    spread = np.full(shape, fill, dtype=np.float64)
    places = []
    for d, n in zip(VOXEL_DIMS, shape, strict=True):
        factor = round(float(result[d].values[1] - result[d].values[0])) if result.sizes[d] > 1 else n
        places.append(np.arange(min(n, factor * result.sizes[d])) // factor)
    spread[tuple(slice(len(p)) for p in places)] = values[np.ix_(*places)]
    return np.clip(np.nan_to_num(spread, nan=fill), -MOST, MOST)


def _table(regions: pd.DataFrame, subjects: Sequence[str]) -> xr.DataArray:
    """Shares (sample, region) of a method."""
    wide = regions.pivot(index="subject", columns="region", values="share").reindex(list(subjects))
    return xr.DataArray(
        wide.to_numpy(dtype=float),
        dims=("sample", "region"),
        coords={"sample": list(subjects), "region": wide.columns.to_numpy(dtype=str)},
    )


def _rows(index: xr.DataArray, method: str) -> pd.DataFrame:
    table = index.rename("lateralisation").to_dataframe().reset_index().rename(columns={"sample": "subject"})
    return table.assign(method=method)[["subject", "method", "pair", "lateralisation"]]


def _agreement(folder: Path, parts: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> pd.DataFrame:
    """Rank correlation of the magnitudes of two methods' maps inside the brain, over the subjects.

    Outside, where images are empty, maps that have nothing in common are alike. Subjects count of whom both maps vary; `sd` is
    that of a sample, n - 1.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for p in parts:
        brain = _brain(folder, [str(p["subject"])])
        with np.load(folder / "parts" / f"{p['subject']}.npz") as maps:
            sizes = {m: xr.DataArray(np.abs(maps[m][brain]), dims="voxel") for m in methods}
        for n, first in enumerate(methods):
            for second in methods[n + 1 :]:
                values.setdefault((first, second), []).append(rank_correlation(sizes[first], sizes[second]))
    columns = ["first", "second", "mean", "sd", "subjects"]
    of_pairs = ((pair, pd.Series(v).dropna()) for pair, v in values.items())
    return pd.DataFrame([(*pair, v.mean(), v.std(), len(v)) for pair, v in of_pairs], columns=columns)
