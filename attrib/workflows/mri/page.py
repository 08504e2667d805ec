"""What the page of a study of volumes shows: slices of every subject and method, nilearn's viewer, and the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from attrib.workflows.mri.groups import Groups
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
