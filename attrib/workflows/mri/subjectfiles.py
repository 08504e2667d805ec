"""The files of one subject: its maps in its own space, its figures and pictures, and a part that says that it is done."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.mri import Subject, coarsened, peak, plane_dim, smoothed
from attrib.io import replacing, save_nifti, to_nifti, write_json
from attrib.io.nifti import numbers, open_image, oriented
from attrib.io.place import strict
from attrib.labels.grids import VOXEL_DIMS, affine_of, foreground
from attrib.plots.anatomy import SEQUENTIAL, SlicePanels, colours_of, slice_summary, write_png
from attrib.plots.scale import DIVERGING, shortened, wrapped
from attrib.stats import region_shares
from attrib.workflows.folder import stamp
from attrib.workflows.mri.explaining import Explained
from attrib.workflows.mri.intake import Cohort
from attrib.workflows.mri.plan import BY_REGION, Plan, shown

COARSE = 150_000  # voxels of the maps that groups are compared on
NAME, BAR = 26, 46  # letters of a name in a title, of a line beside the colour bar
INSIDE = "inside"  # beside the coarse maps: the share of each block that is brain


def map_name(method: str, subject: str, ending: str) -> str:
    """The name of a subject's file, under the folder of results."""
    return f"{method}/{subject}/{subject}_{method}{ending}"


def write_subject(
    folder: Path,
    subject: Subject,
    cohort: Cohort,
    plan: Plan,
    volume: xr.DataArray,
    explained: Explained,
    npy: bool,
) -> None:
    """Write maps as NIfTI, and last the part: figures as JSON beside coarse, smoothed maps."""
    atlas = cohort.atlas_of(subject)
    rows: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    brain = cohort.brain_of(subject)
    inside = foreground(volume.values) if brain is None else brain
    coarse = {INSIDE: coarsened(volume.copy(data=inside.astype(np.float32)), COARSE).values}
    for method, a in explained.maps.items():
        (folder / method / subject.name).mkdir(parents=True, exist_ok=True)
        file = folder / map_name(method, subject.name, ".nii.gz")
        save_nifti(a.assign_attrs(method=method), file, like=subject.path)
        if npy:
            with replacing(folder / map_name(method, subject.name, "_attributions.npy")) as temporary:
                np.save(temporary, a.values)
        soft = a.copy(data=smoothed(a.values, cohort.affine, plan.smooth))
        rows.append(_figures(subject, method, explained, a, soft, atlas, cohort.names))
        if atlas is not None:
            regions += _regions(subject, method, a, atlas, cohort.names, plan, method in BY_REGION)
        coarse[method] = coarsened(soft, COARSE).values.astype(np.float32)
    parts = folder / "parts"
    with replacing(parts / f"{subject.name}.npz") as temporary:
        np.savez(temporary, **coarse)  # type: ignore[arg-type]
    p = explained.prediction
    part = {
        "subject": subject.name, "path": str(subject.path), "stamp": _present(subject), "label": subject.label,
        "groups": dict(subject.groups), "classes": list(p.classes), "target": p.target_name, "predicted": p.predicted,
        "probability": p.probability.tolist(), "score": p.score, "rows": rows, "regions": regions,
        "units": {m: str(a.attrs["units"]) for m, a in explained.maps.items()},
    }  # fmt: skip
    write_json(strict(part), parts / f"{subject.name}.json")


def read_part(folder: Path, subject: Subject) -> dict[str, Any] | None:
    """A subject's part, if it is there, complete, and of the present image, mask and parcellation."""
    file = folder / "parts" / f"{subject.name}.json"
    try:
        part = json.loads(file.read_text(encoding="utf-8"))
        fits = part["path"] == str(subject.path) and part["stamp"] == _present(subject)
        return part if fits and file.with_suffix(".npz").is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _present(subject: Subject) -> str:
    """Sizes and times of a subject's files, with the names of its own mask and parcellation."""
    beside = [str(p) for p in (subject.mask, subject.atlas) if p is not None]
    return " ".join([stamp(subject.path, subject.mask, subject.atlas), *beside])


def read_map(folder: Path, cohort: Cohort, method: str, subject: str) -> xr.DataArray:
    """A map that was written, in the model's orientation."""
    image = open_image(folder / map_name(method, subject, ".nii.gz"))
    return cohort.volume(numbers(oriented(image, cohort.orientation))[0])


def _figures(
    subject: Subject, method: str, explained: Explained, a: xr.DataArray, soft: xr.DataArray,
    atlas: xr.DataArray | None, names: dict[int, str],
) -> dict[str, Any]:  # fmt: skip
    """A line of the table of statistics."""
    p = explained.prediction
    values = a.values.astype(np.float64)
    size = np.abs(values)
    voxel, mm = peak(soft)
    region = "" if atlas is None else names.get(int(atlas.sel(dict(zip(VOXEL_DIMS, voxel, strict=True)))), "")
    return {
        "subject": subject.name,
        "label": subject.label,
        "method": method,
        "predicted": p.predicted,
        "probability": float(p.probability.max()),
        "correct": is_correct(subject.label, p.predicted, p.classes),
        "target": p.target_name,
        "score": p.score,
        "delta": explained.delta.get(method),
        **explained.deletion.get(
            method, dict.fromkeys(("deletion_area", "deletion_random_area", "deletion_z"))
        ),
        "sum": float(values.sum()),
        "abs_sum": float(size.sum()),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "p99": float(np.percentile(size, 99)),
        **{f"peak_{d}": v for d, v in zip(VOXEL_DIMS, voxel, strict=True)},
        **{f"peak_{d}": round(float(v), 3) for d, v in zip("xyz", mm, strict=True)},
        "peak_value": float(soft.sel(dict(zip(VOXEL_DIMS, voxel, strict=True)))),
        "peak_region": region,
    }


def is_correct(label: str, predicted: str, classes: Sequence[str]) -> bool | None:
    """Whether a subject's label is predicted; None where it is no class."""
    return label == predicted if label in classes else None


def _regions(
    subject: Subject,
    method: str,
    a: xr.DataArray,
    atlas: xr.DataArray,
    names: dict[int, str],
    plan: Plan,
    even: bool,
) -> list[dict[str, Any]]:
    """A line per region. Methods by region have one value for all voxels of a region, which counts once."""
    labels = {n: names.get(n, str(n)) for n in np.unique(atlas.values).tolist()}
    table = region_shares(a, atlas, labels)
    if even:
        across = plane_dim(affine_of(a), plan.axis)
        of_slices = (
            region_shares(a, atlas, labels, dim=across)
            if plan.input == "slices"
            else table.expand_dims(across)
        )
        table = _counted_once(table, of_slices, across)
    frame = (
        table[["number", "sum", "absolute_sum", "share", "density", "rank", "size"]]
        .to_dataframe()
        .reset_index()
    )
    frame = frame.rename(columns={"absolute_sum": "abs_sum", "size": "voxels"})[
        ["region", "number", "sum", "abs_sum", "share", "density", "rank", "voxels"]
    ]
    return [
        {"subject": subject.name, "label": subject.label, "method": method, **r}
        for r in frame.to_dict("records")
    ]  # type: ignore[dict-item]


def _counted_once(table: xr.Dataset, of_slices: xr.Dataset, across: str) -> xr.Dataset:
    """Figures of regions whose voxels all have the region's own value, or the region's part of each slice its own."""
    from scipy.stats import rankdata

    size = of_slices["size"].where(of_slices["size"] > 0)
    absolute = (of_slices["absolute_sum"] / size).sum(across)
    share = absolute / max(float(absolute.sum("region")), 1e-300)
    rank = rankdata(-share.values)
    return table.assign(
        sum=(of_slices["sum"] / size).sum(across), absolute_sum=absolute, share=share, rank=("region", rank),
        density=share * table.sizes["region"],
    )  # fmt: skip


class Sheet(NamedTuple):
    """What is drawn of a subject whose maps are written, as it travels to a process that draws.

    Attributes
    ----------
    folder : Path
    subject : Subject
    cohort : Cohort
    methods : tuple of str
    dim : str
        Across the slices.
    slices : list of int
    """

    folder: Path
    subject: Subject
    cohort: Cohort
    methods: tuple[str, ...]
    dim: str
    slices: list[int]

    @property
    def files(self) -> list[str]:
        """Names of the files."""
        endings = [*(f"_slice_{k}.png" for k in self.slices), "_summary.png", "_viewer.html"]
        return [map_name(m, self.subject.name, e) for m in self.methods for e in endings]


def draw(sheet: Sheet) -> list[str]:
    """Write a subject's pictures; their names."""
    subject, cohort = sheet.subject, sheet.cohort
    part = read_part(sheet.folder, subject)
    assert part is not None
    anatomy, atlas = cohort.read(subject), cohort.atlas_of(subject)
    true = f"true {subject.label}, " if subject.label else ""
    says = f"{subject.name}: {true}predicted {part['predicted']} (p = {max(part['probability']):.3f})"
    for method in sheet.methods:
        a = read_map(sheet.folder, cohort, method, subject.name)
        label = label_of(part["units"][method], part["target"])
        options: dict[str, Any] = {"atlas": atlas, **texts_of(subject, part, method, label)}
        panels = SlicePanels(anatomy, a, sheet.dim, **options)
        for k in sheet.slices:
            with replacing(sheet.folder / map_name(method, subject.name, f"_slice_{k}.png")) as temporary:
                panels.save(k, temporary)
        summary = slice_summary(anatomy, a, sheet.dim, sheet.slices, **options)
        with replacing(sheet.folder / map_name(method, subject.name, "_summary.png")) as temporary:
            write_png(summary.canvas, temporary, draw=True)
        viewer(
            a,
            anatomy,
            f"{says}; {shown(method)}: {label}",
            sheet.folder / map_name(method, subject.name, "_viewer.html"),
        )
    return sheet.files


def texts_of(subject: Subject, part: dict[str, Any], method: str, label: str) -> dict[str, str]:
    """The title of a subject's pictures and the label of their colour bar, in lines that fit them."""
    name, true, predicted, target = (
        shortened(t, NAME) for t in (subject.name, subject.label, part["predicted"], part["target"])
    )
    says = f"{f'true {true}, ' if true else ''}predicted {predicted} (p = {max(part['probability']):.3f})"
    label = wrapped(label.replace(part["target"], target), BAR)
    return {"title": f"{name}, {shown(method)}\n{says}", "label": label}


def label_of(units: str, target: str) -> str:
    """What the colours of a map are."""
    if units == f"score of {target}":
        return f"change of the score of {target} (logit)"
    return units.replace(f"score of {target}", f"score of {target} (logit)").replace(
        "input unit", "unit of intensity"
    )


def viewer(
    a: xr.DataArray,
    anatomy: xr.DataArray,
    title: str,
    file: Path,
    threshold: float | None = None,
) -> None:
    """Write nilearn's interactive view of a volume over the anatomy: a page that needs nothing else.

    Its numbers have three decimals, so that small maps are shown as multiples of a power of ten. It cuts titles off; this one is a
    line of text below.
    """
    from nilearn.plotting import view_img

    colours = colours_of(a)
    power = 10.0 ** np.floor(np.log10(colours.limit))
    scale = 1.0 if 0.1 <= colours.limit < 1e4 else power
    low, high = np.percentile(anatomy.values, [1, 99.5])
    grey = anatomy.copy(data=np.clip(anatomy.values, low, max(high, low + 1e-6)).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nilearn's, of casts and of thresholds
        page = view_img(
            to_nifti(a.drop_attrs() / scale), bg_img=to_nifti(grey),
            threshold=(colours.threshold if threshold is None else threshold) / scale, vmax=colours.limit / scale,
            symmetric_cmap=colours.signed, cmap=DIVERGING if colours.signed else SEQUENTIAL, black_bg=True, colorbar=True, dim=0,
            vmin=None if colours.signed else 0,
        )  # fmt: skip
    line = escape(title if scale == 1 else f"{title}, in units of {scale:.0e}")
    caption = f'<p style="font: 14px sans-serif">{line}</p></body>'
    with replacing(file) as temporary:
        temporary.write_text(page.get_standalone().replace("</body>", caption), encoding="utf-8")
