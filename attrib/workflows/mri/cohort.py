"""What is written of all subjects together: tables, group maps, one file with all maps, a picture and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import sem, spearmanr
from scipy.stats import t as student_t

from attrib.io import save, save_rows, write_json
from attrib.io.nifti import numbers, open_image, oriented
from attrib.io.place import strict
from attrib.labels.grids import VOXEL_DIMS
from attrib.plots.scale import DIVERGING, NEGATIVE, POSITIVE, figure, shortened, whole_ticks, wrapped
from attrib.workflows.folder import Folder, timed
from attrib.workflows.mri.groups import Groups, Means, compare
from attrib.workflows.mri.intake import Cohort
from attrib.workflows.mri.plan import Plan, Voxels, shown
from attrib.workflows.mri.subjectfiles import read_map, viewer
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, table

STATISTICS = (
    "subject", "label", "method", "predicted", "probability", "score", "delta", "deletion_z", "abs_sum", "peak_x", "peak_y", "peak_z", "peak_region",
)  # fmt: skip
CLUSTERS = (
    "method",
    "cluster",
    "sign",
    "volume_mm3",
    "mass",
    "p_mass",
    "p_size",
    "peak_t",
    "peak_x",
    "peak_y",
    "peak_z",
    "regions",
)
SLICES = "{method}/{name}/{name}_{method}"  # the beginning of the files of a subject

REGIONS = 14  # rows of the comparison by region
CELL = 0.36, 0.24  # inches, of two methods' correlation
MARKERS = "o^sv"  # each for ten methods
GAP = 0.12  # inches around what is drawn
GREY = "#767676"


class Done(NamedTuple):
    """The subjects that are explained.

    Attributes
    ----------
    cohort : Cohort
    plan : Plan
    parts : list of dict
        What is known of each, see `attrib.workflows.mri.subjectfiles`.
    problems : list of dict
        Of the others: `subject`, `problem`, `kept`.
    drawn : list of str
        Subjects with pictures.
    across : str
        The dim across slices.
    slices : list of int
        That are drawn.
    seconds : dict of str to float
        What took how long.
    """

    cohort: Cohort
    plan: Plan
    parts: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    drawn: list[str]
    across: str
    slices: list[int]
    seconds: dict[str, float]


def write_cohort(run: Folder, done: Done, voxels: Voxels) -> None:
    """Write the files of the cohort."""
    parts, methods = done.parts, done.plan.methods
    table = pd.DataFrame([r for p in parts for r in p["rows"]])
    regions = pd.DataFrame([r for p in parts for r in p["regions"]])
    with timed(done.seconds, "statistics"):
        groups = compare(run.path, done.cohort, done.plan, parts, regions, voxels)
    for file in groups.files:
        run.file(file)
    for name, frame in (
        ("attribution_statistics.csv", table), ("regions.csv", regions), ("problems.csv", pd.DataFrame(done.problems)),
        ("clusters.csv", groups.clusters), ("group_regions.csv", groups.regions), ("lateralisation.csv", groups.indices),
        ("group_lateralisation.csv", groups.sides), ("consistency.csv", groups.consistency), ("agreement.csv", groups.agreement),
    ):  # fmt: skip
        if len(frame):
            save(frame, run.file(name))
    with timed(done.seconds, "summary picture and viewers"):
        run.picture("attribution_summary.png", overview(table, groups, methods))
        pages = _group_viewers(run, done, groups) if done.drawn else {}
    with timed(done.seconds, "attributions.nc and means"):
        means = Means(methods)
        _store(run, done, means)
        for file in means.write(run.path, done.cohort, _target_of(parts)):
            run.file(file)
    done.seconds.update({k: round(v, 2) for k, v in done.seconds.items()})
    summary = _summary(table, groups, done)
    write_json(strict(summary), run.file("summary.json"))
    files = [f for f in run.files if "/" not in f]
    page = study_page(
        summary, table, groups, files, done.problems, done.drawn, methods, done.across, done.slices, pages
    )
    run.text("index.html", page)


def _group_viewers(run: Folder, done: Done, groups: Groups) -> dict[str, str]:
    """Pages with the group maps over the first subject's anatomy."""
    pages: dict[str, str] = {}
    for file in groups.files:
        method = file.removeprefix("group_").removesuffix(".nii.gz")
        image = oriented(open_image(run.path / file), done.plan.orientation)
        anatomy = done.cohort.read(done.cohort.subjects[0])
        title = f"t of {shown(method)}: {groups.positive} less {groups.negative}"
        pages[method] = f"group_{method}_viewer.html"
        viewer(done.cohort.volume(numbers(image)[0]), anatomy, title, run.file(pages[method]), threshold=2.0)
    return pages


def _maps(run: Folder, done: Done, means: Means) -> Iterator[np.ndarray]:
    """The maps (method, i, j, k) of each subject, one subject in memory at a time; `means` gets them too."""
    for p in done.parts:
        maps = np.stack([read_map(run.path, done.cohort, m, p["subject"]).values for m in done.plan.methods])
        means.add(str(p["label"]), maps)
        yield maps


def _target_of(parts: Sequence[Mapping[str, Any]]) -> str:
    """The class whose score the maps explain, in words where it differs between subjects."""
    names = {str(p["target"]) for p in parts}
    return names.pop() if len(names) == 1 else "the predicted class"


def _store(run: Folder, done: Done, means: Means) -> None:
    """Write all maps into one netCDF file, a subject at a time."""
    save_rows(_maps(run, done, means), labels_of_maps(done), run.file("attributions.nc"))


def labels_of_maps(done: Done) -> xr.DataArray:
    """The labels of all maps (subject, method, i, j, k); values are zeros."""
    parts, methods = done.parts, done.plan.methods
    target = _target_of(parts)
    coords: dict[str, Any] = {
        "subject": [p["subject"] for p in parts],
        "method": list(methods),
        "label": ("subject", [p["label"] for p in parts]),
        "predicted": ("subject", [p["predicted"] for p in parts]),
        "probability": ("subject", [max(p["probability"]) for p in parts]),
        "prediction": ("subject", [p["score"] for p in parts]),
        "target": ("subject", [p["target"] for p in parts]),
        **done.cohort.grid,
    }
    labels = xr.DataArray(
        np.broadcast_to(np.float32(0), (len(parts), len(methods), *done.cohort.shape)), dims=("subject", "method", *VOXEL_DIMS),
        coords=coords, name="attribution", attrs={"long_name": f"attribution of the score of {target}"},
    )  # fmt: skip
    units = {
        m: u.replace(f"score of {parts[0]['target']}", f"score of {target}")
        for m, u in parts[0]["units"].items()
    }
    return labels.assign_attrs(units="; ".join(f"{m}: {u}" for m, u in units.items()))


def _summary(table: pd.DataFrame, groups: Groups, done: Done) -> dict[str, Any]:
    once = table.drop_duplicates("subject")
    judged = once[once.correct.notna()]
    errors = {}
    for method, rows in table.groupby("method", sort=False):
        delta = rows.delta.dropna().astype(float).abs()
        if len(delta):
            errors[str(method)] = {"median": float(delta.median()), "max": float(delta.max())}
    z = table.astype({"deletion_z": float}).groupby("method", sort=False)["deletion_z"].median()
    classes: Sequence[str] = done.parts[0]["classes"]
    return {
        "subjects": len(done.parts),
        "left_out": sum(not p["kept"] for p in done.problems),
        "target": done.plan.target or classes[-1],
        "classes": list(classes),
        "labels": {str(k): int(v) for k, v in once.label.value_counts().items()},
        "labelled": len(judged),
        "accuracy": float(judged.correct.astype(bool).mean()) if len(judged) else None,
        "completeness_error": errors,
        "deletion_z_median": {str(m): float(v) for m, v in z.items()},
        "significant_clusters": int((groups.clusters.p_mass < 0.05).sum()) if len(groups.clusters) else None,
        "pictures_of": len(done.drawn),
        "seconds": done.seconds,
        "notes": groups.notes,
    }


def study_page(
    summary: Mapping[str, Any], rows: pd.DataFrame, groups: Groups, files: Sequence[str], problems: Sequence[Mapping[str, Any]],
    drawn: Sequence[str], methods: Sequence[str], dim: str, slices: Sequence[int], viewers: Mapping[str, str],
) -> str:  # fmt: skip
    """The summary page, with links to all files of the cohort.

    Parameters
    ----------
    summary : mapping
        As in `summary.json`.
    rows : DataFrame
        A row per subject and method.
    groups : Groups
    files : sequence of str
        Of the cohort.
    problems : sequence of mapping
        `subject` and `problem`.
    drawn : sequence of str
        Subjects with pictures.
    methods, dim, slices
        As in the pictures.
    viewers : mapping of str to str
        Pages with a group map, by method.
    """
    once = rows.drop_duplicates("subject")
    people = [_person(r) for r in once.to_dict("records") if r["subject"] in set(drawn)]
    views = [
        {"kind": "picture", "file": f"{SLICES}_slice_{{{dim}}}.png"},
        {"kind": "picture", "file": f"{SLICES}_summary.png"},
        {"kind": "frame", "file": f"{SLICES}_viewer.html", "title": "Open the volume in nilearn's viewer"},
    ]
    choices: list[dict[str, Any]] = [
        {"name": "method", "options": list(methods)},
        {"name": dim, "options": list(slices), "range": True, "start": len(slices) // 2},
    ]
    few = f"Pictures of {len(drawn)} of {len(once)} subjects; more with --pictures all."
    return page(
        "MRI attributions",
        [
            paragraphs(_says(summary)),
            links(files),
            paragraphs(*groups.notes, note=True) if groups.notes else None,
            listing("Problems", [f"{p['subject']}: {p['problem']}" for p in problems], "problems.csv"),
            browser("Subjects", people, views, choices=choices, order=["probability", "score"]),
            paragraphs(few) if people and len(drawn) < len(once) else None,
            pictures("Cohort", ["attribution_summary.png"]),
            *_groups(groups, viewers),
            table("Statistics", rows[list(STATISTICS)], "attribution_statistics.csv"),
        ],
    )  # fmt: skip


def _says(summary: Mapping[str, Any]) -> str:
    accuracy = (
        ""
        if summary["accuracy"] is None
        else f", accuracy {summary['accuracy']:.1%} of {summary['labelled']} with a label"
    )
    return (
        f"{summary['subjects']} subjects{accuracy}. Attributions of the score of {summary['target']}. "
        "Left is left on every picture; positions are in mm."
    )


def _person(row: Mapping[str, Any]) -> dict[str, Any]:
    label = f"true label {row['label']}, " if row["label"] else ""
    return {
        "name": row["subject"], "label": row["label"], "wrong": row["correct"] in (False, 0), "probability": row["probability"],
        "score": row["score"], "says": f"{label}predicted {row['predicted']} with probability {row['probability']:.3f}",
    }  # fmt: skip


def _groups(groups: Groups, viewers: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tables of what groups differ in."""
    both = f"{groups.positive} and {groups.negative}"
    parts = []
    if len(groups.clusters):
        ranked = groups.clusters.sort_values("p_mass", kind="stable")[
            [c for c in CLUSTERS if c in groups.clusters]
        ]
        parts = [
            table(f"Where {both} differ: clusters of voxels", ranked, "clusters.csv"),
            links(viewers.values()),
        ]
    for name, title, frame in (
        ("group_regions.csv", f"Shares of regions in {both}", groups.regions),
        ("group_lateralisation.csv", f"Left against right in {both}", groups.sides),
        ("consistency.csv", "Are subjects of one label alike?", groups.consistency),
        ("agreement.csv", "Do methods agree?", groups.agreement),
    ):
        if len(frame):
            ordered = frame.sort_values("p_holm", kind="stable") if "p_holm" in frame else frame
            parts.append(table(title, ordered, name))
    return parts


def overview(table: pd.DataFrame, groups: Groups, methods: Sequence[str]) -> Figure:
    """Draw distributions by method, confidence against strength, methods against each other, and labels by region.

    Parameters
    ----------
    table : DataFrame
        A row per subject and method.
    groups : Groups
    methods : sequence of str

    Returns
    -------
    Figure
    """
    compared = groups.regions[groups.regions.method == methods[0]] if len(groups.regions) else groups.regions
    count = len(methods)
    low = max(3.2, 0.26 * min(REGIONS, len(compared)) + 0.6, CELL[1] * count)  # inches of the lower panels
    wide, high = max(4.6, CELL[0] * count), 3.4
    drawing = figure((wide, high))
    drawing.set_layout_engine("none")
    a, b, c, d = (drawing.add_axes((0, 0, 1, inches / high)) for inches in (high, high, low, low))
    _distributions(a, table, groups, methods)
    _confidence(b, table, methods)
    _methods(c, groups, methods)
    _regions(d, table, groups, methods, letters=int(wide / 0.075))
    _lay_out(drawing, [[a, b], [c, d]])
    return drawing


def _lay_out(drawing: Figure, rows: Sequence[Sequence[Any]]) -> None:
    """Put axes in rows and columns; they keep their size, and texts around them have the room that they take."""
    drawing.draw_without_rendering()

    def margins(ax: Any) -> np.ndarray:
        inside, whole = ax.bbox.extents, ax.get_tightbbox().extents
        return np.abs(whole - inside) / drawing.dpi + GAP

    left, below, right, above = np.moveaxis(np.array([[margins(ax) for ax in row] for row in rows]), 2, 0)
    sizes = np.array([[ax.bbox.size / drawing.dpi for ax in row] for row in rows])
    widths = left.max(0) + sizes[..., 0].max(0) + right.max(0)
    heights = below.max(1) + sizes[..., 1].max(1) + above.max(1)
    xs, ys = np.cumsum(widths) - right.max(0), heights.sum() - np.cumsum(heights) + below.max(1)
    drawing.set_size_inches(widths.sum(), heights.sum())
    for row, y, of_row in zip(rows, ys, sizes, strict=True):
        for ax, end, (width, height) in zip(row, xs, of_row, strict=True):
            box = np.array([end - width, y, width, height])
            ax.set_position(box / np.tile(drawing.get_size_inches(), 2))


def _name_methods(ax: Any, methods: Sequence[str], beside: Sequence[str] = ()) -> None:
    """Names of methods along an axis: below each other's words where they fit, slanted where they are many."""
    slanted = len(methods) > 4
    names = [shown(m) if slanted else wrapped(shown(m), 12) for m in methods]
    if beside:
        names = [f"{n} ({b})" if slanted else f"{n}\n({b})" for n, b in zip(names, beside, strict=True)]
    turned = {"rotation": 28, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    ax.set_xticks(np.arange(len(methods)), names, fontsize=8, **turned)


def _distributions(ax: Any, table: pd.DataFrame, groups: Groups, methods: Sequence[str]) -> None:
    """Boxes of the subjects' sums of magnitudes, by method and label, as multiples of the method's median."""
    labels: list[str | None] = [g for g in (groups.negative, groups.positive) if g in set(table.label)]
    labels = labels or [None]
    colours = [NEGATIVE, POSITIVE] if len(labels) == 2 else [GREY]
    medians = {m: float(_of(table, m, None).abs_sum.median()) for m in methods}
    for k, (label, colour) in enumerate(zip(labels, colours, strict=False)):
        values = [_of(table, m, label).abs_sum.to_numpy(dtype=float) / (medians[m] or 1.0) for m in methods]
        at = np.arange(len(methods)) + (k - (len(labels) - 1) / 2) * 0.36
        ax.boxplot(
            values, positions=at, widths=0.3, patch_artist=True, boxprops={"facecolor": colour, "alpha": 0.55},
            medianprops={"color": "black"}, flierprops={"markersize": 3}, manage_ticks=False,
        )  # fmt: skip
        ax.plot(
            [],
            [],
            "s",
            color=colour,
            alpha=0.55,
            label=f"{shortened(label or 'all', 30)} (n = {len(values[0])})",
        )
    _name_methods(ax, methods, [f"median {medians[m]:.3g}" for m in methods])
    ax.set_ylabel("sum of magnitudes / median of the method", fontsize=9)
    ax.set_title("Strength of attributions by method", fontsize=10)
    ax.legend(fontsize=8, frameon=False, loc="best")


def _of(table: pd.DataFrame, method: str, label: str | None) -> pd.DataFrame:
    chosen = table[table.method == method]
    return chosen if label is None else chosen[chosen.label == label]


def _confidence(ax: Any, table: pd.DataFrame, methods: Sequence[str]) -> None:
    """Probability of the predicted class against strength, as a multiple of the method's median."""
    for k, method in enumerate(methods):
        chosen = table[table.method == method]
        strength = chosen.abs_sum / (chosen.abs_sum.median() or 1.0)
        ax.plot(
            chosen.probability,
            strength,
            MARKERS[k // 10 % len(MARKERS)],
            markersize=4,
            alpha=0.7,
            color=f"C{k % 10}",
            label=f"{shown(method)}: {_rho(chosen)}",
        )
    low, high = float(table.probability.min()), float(table.probability.max())
    if high - low < 0.002:  # all alike: no enlarged rounding
        ax.set_xlim(low - 0.05, high + 0.05)
    ax.set_xlabel("probability of the predicted class", fontsize=9)
    ax.set_ylabel("strength / median of the method", fontsize=9)
    ax.set_title(f"Confidence and strength (n = {table.subject.nunique()})", fontsize=10)
    ax.legend(
        fontsize=8, frameon=False, title="Spearman's rho", title_fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2,
    )  # fmt: skip


def _rho(chosen: pd.DataFrame) -> str:
    if len(chosen) < 3 or chosen.probability.nunique() < 2 or chosen.abs_sum.nunique() < 2:
        return "not defined"
    result = spearmanr(chosen.probability, chosen.abs_sum)
    return f"{result.statistic:.2f} (p = {result.pvalue:.2g})"


def _methods(ax: Any, groups: Groups, methods: Sequence[str]) -> None:
    """Mean rank correlation of two methods' magnitudes, with its standard deviation over subjects."""
    count = len(methods)
    matrix = np.eye(count)
    texts = {}
    place = {m: k for k, m in enumerate(methods)}
    for r in groups.agreement.itertuples():
        i, j = place[r.first], place[r.second]
        matrix[i, j] = matrix[j, i] = r.mean
        texts[i, j] = texts[j, i] = _with_sd(r.mean, r.sd)
    ax.imshow(matrix, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto")
    for (i, j), text in texts.items():
        ax.text(
            j,
            i,
            text,
            ha="center",
            va="center",
            fontsize=8 if count < 7 else 6.5,
            color="white" if abs(matrix[i, j]) > 0.6 else "black",
        )
    _name_methods(ax, methods)
    ax.set_yticks(range(count), [shown(m) for m in methods], fontsize=8)
    ax.set_title(
        "Methods against each other:\nrank correlation of magnitudes in the brain\n(mean ± sd over subjects)",
        fontsize=10,
    )


def _with_sd(mean: float, sd: float) -> str:
    """A mean and its standard deviation, which one subject does not have; a dash without either."""
    spread = "" if np.isnan(sd) else f"\n± {sd:.2f}"
    return "–" if np.isnan(mean) else f"{mean:.2f}{spread}"


def _regions(ax: Any, table: pd.DataFrame, groups: Groups, methods: Sequence[str], letters: int) -> None:
    """Differences of shares by region with intervals; without an atlas, of strength."""
    method = methods[0]
    chosen = groups.regions[groups.regions.method == method] if len(groups.regions) else pd.DataFrame()
    if chosen.empty:
        _strengths(ax, table, groups, method, letters)
        return
    positive, negative = (shortened(g, 30) for g in (groups.positive, groups.negative))
    total = len(chosen)
    chosen = (
        chosen.reindex(chosen.t.abs().sort_values(ascending=False).index)
        .head(REGIONS)
        .sort_values("difference")
    )
    at = np.arange(len(chosen))
    for y, r in zip(at, chosen.itertuples(), strict=True):
        colour = POSITIVE if r.difference > 0 else NEGATIVE
        ax.plot(
            [100 * r.lower, 100 * r.upper],
            [y, y],
            color=colour,
            linewidth=1.6,
            alpha=1.0 if r.p_holm < 0.05 else 0.45,
        )
        ax.plot(
            100 * r.difference,
            y,
            "o",
            color=colour,
            markersize=5,
            fillstyle="full" if r.p_holm < 0.05 else "none",
        )
    ax.axvline(0, color="black", linewidth=0.7)
    ax.set_yticks(at, [shortened(str(r)) for r in chosen.region], fontsize=8 if len(chosen) <= 12 else 7)
    ax.locator_params(axis="x", nbins=5)  # small numbers are long
    whole_ticks(ax.xaxis)
    label = f"share in {positive} less share in {negative} (percentage points), 95% interval"
    ax.set_xlabel(wrapped(label, letters), fontsize=8)
    counted = f"{len(chosen)} of {total}, largest |t|" if total > len(chosen) else f"all {total}"
    title = f"{positive} and {negative} by region, {shown(method)} ({counted}; filled: p < 0.05 by Holm over all regions)"
    ax.set_title(wrapped(title, letters), fontsize=9)


def _strengths(ax: Any, table: pd.DataFrame, groups: Groups, method: str, letters: int = 60) -> None:
    """Subjects' strength by label, with means and their intervals."""
    for k, (label, colour) in enumerate(((groups.negative, NEGATIVE), (groups.positive, POSITIVE))):
        values = _of(table, method, label)["sum"].to_numpy(dtype=float)
        if not len(values):
            continue
        ax.plot(k + np.linspace(-0.12, 0.12, len(values)), values, "o", color=colour, alpha=0.5, markersize=4)
        half = student_t.ppf(0.975, len(values) - 1) * sem(values) if len(values) > 1 else 0.0
        ax.errorbar(k + 0.25, values.mean(), half, fmt="s", color=colour, capsize=3)
        ax.text(k, 0.02, f"n = {len(values)}", ha="center", fontsize=8, transform=ax.get_xaxis_transform())
    names = [wrapped(shortened(g, 30), 16) for g in (groups.negative, groups.positive)]
    ax.set_xticks([0, 1], names, fontsize=9)
    ax.set_xlim(-0.5, 1.5)
    ax.set_ylabel("sum of the attribution", fontsize=9)
    whole_ticks(ax.yaxis)
    title = f"By label, {shown(method)}: subjects, mean and 95% interval"
    ax.set_title(f"{wrapped(title, letters)}\n(pass an atlas for regions)", fontsize=9)
