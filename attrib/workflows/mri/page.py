"""The page of a study of volumes: slices of every subject and method, nilearn's viewer, and the tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from attrib.workflows.document import document, links, listing, pictures, table
from attrib.workflows.mri.groups import Groups

BROWSER = """
<h2>Subjects</h2>
<p><label>subject <select id="subject"></select></label> <label>method <select id="method"></select></label>
<label>slice <input id="slice" type="range" min="0" max="0" value="0"> <output id="index"></output></label>
<label><input id="wrong" type="checkbox"> wrong only</label></p>
<p id="says"></p>
<p><img id="picture" alt="slice"></p>
<p><img id="summary" alt="summary"></p>
<p><button id="open">Open the volume in nilearn's viewer</button></p>
<iframe id="viewer" title="volume" style="width:100%;height:460px;border:0;display:none"></iframe>
<script>
const data = DATA;
const pick = name => document.getElementById(name);
function subjects() {
  const wrong = pick("wrong").checked;
  const chosen = data.subjects.filter(s => !wrong || s.correct === false);
  pick("subject").replaceChildren(...chosen.map(s => new Option(s.subject + (s.label ? " (" + s.label + ")" : ""), s.subject)));
  show(true);
}
function show(other) {
  const s = data.subjects.find(v => v.subject === pick("subject").value), m = pick("method").value;
  for (const name of ["picture", "summary", "open"]) pick(name).style.display = s ? "" : "none";
  if (!s) { pick("says").textContent = "None."; pick("viewer").style.display = "none"; return; }
  const k = data.slices[pick("slice").value], base = [m, s.subject, s.subject + "_" + m].map(encodeURIComponent).join("/");
  pick("index").textContent = data.dim + " = " + k;
  pick("picture").src = base + "_slice_" + k + ".png";
  pick("says").textContent = s.says;
  if (other) {
    pick("summary").src = base + "_summary.png";
    pick("viewer").style.display = "none";
    pick("viewer").removeAttribute("src");
  }
  pick("open").style.display = data.viewers ? "" : "none";
  pick("open").onclick = () => { pick("viewer").src = base + "_viewer.html"; pick("viewer").style.display = ""; };
}
pick("method").replaceChildren(...data.methods.map(m => new Option(m.replaceAll("_", " "), m)));
pick("slice").max = data.slices.length - 1;
pick("slice").value = Math.floor(data.slices.length / 2);
pick("subject").onchange = pick("method").onchange = () => show(true);
pick("slice").oninput = () => show(false);
pick("wrong").onchange = subjects;
subjects();
</script>
"""


def page(
    summary: Mapping[str, Any], rows: pd.DataFrame, groups: Groups, files: Sequence[str], problems: Sequence[Mapping[str, Any]],
    drawn: Sequence[str], methods: Sequence[str], dim: str, slices: Sequence[int], viewers: Mapping[str, str], subject_viewers: bool,
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
    subject_viewers : bool
        Whether subjects have pages with their volumes.
    """
    once = rows.drop_duplicates("subject")
    parts = [_head(summary), links(files), "".join(f'<p class="note">{escape(n)}</p>' for n in groups.notes)]
    parts.append(listing("Problems", [f"{p['subject']}: {p['problem']}" for p in problems], "problems.csv"))
    if drawn:
        people = [_person(r) for r in once.to_dict("records") if r["subject"] in set(drawn)]
        content = {
            "subjects": people,
            "methods": list(methods),
            "slices": list(slices),
            "dim": dim,
            "viewers": subject_viewers,
        }
        parts.append(BROWSER.replace("DATA", json.dumps(content).replace("<", "\\u003c")))
        if len(drawn) < len(once):
            parts.append(
                f'<p class="note">Pictures of {len(drawn)} of {len(once)} subjects; more with --pictures all.</p>'
            )
    parts += ["<h2>Cohort</h2>", pictures(["attribution_summary.png"]), _groups(groups, viewers)]
    wanted = [
        "subject",
        "label",
        "method",
        "predicted",
        "probability",
        "score",
        "delta",
        "deletion_z",
        "abs_sum",
        "peak_x",
        "peak_y",
        "peak_z",
        "peak_region",
    ]
    parts += ["<h2>Statistics</h2>", table(rows[wanted], "attribution_statistics.csv")]
    return document("MRI attributions", parts)


def _head(summary: Mapping[str, Any]) -> str:
    accuracy = (
        ""
        if summary["accuracy"] is None
        else f", accuracy {summary['accuracy']:.1%} of {summary['labelled']} with a label"
    )
    return (
        f"<p>{summary['subjects']} subjects{accuracy}. Attributions of the score of {escape(str(summary['target']))}. "
        "Left is left on every picture; positions are in mm.</p>"
    )


def _person(row: Mapping[str, Any]) -> dict[str, Any]:
    label = f"true label {row['label']}, " if row["label"] else ""
    correct = row["correct"]
    return {
        "subject": row["subject"],
        "label": row["label"],
        "correct": None if correct is None or correct != correct else bool(correct),
        "says": f"{label}predicted {row['predicted']} with probability {row['probability']:.3f}",
    }


def _groups(groups: Groups, viewers: Mapping[str, str]) -> str:
    """Tables of what groups differ in."""
    both = f"{escape(groups.positive)} and {escape(groups.negative)}"
    parts = []
    if len(groups.clusters):
        parts.append(f"<h2>Where {both} differ: clusters of voxels</h2>")
        for method, file in viewers.items():
            parts.append(
                f'<p><a href="{escape(file)}">t of {escape(method.replace("_", " "))} in nilearn\'s viewer</a></p>'
            )
        wanted = [
            c
            for c in (
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
            if c in groups.clusters
        ]
        parts.append(
            table(groups.clusters.sort_values("p_mass", kind="stable")[wanted].head(20), "clusters.csv")
        )
    for name, title, frame in (
        ("group_regions.csv", f"Shares of regions in {both}", groups.regions),
        ("group_lateralisation.csv", f"Left against right in {both}", groups.sides),
        ("consistency.csv", "Are subjects of one label alike?", groups.consistency),
        ("agreement.csv", "Do methods agree?", groups.agreement),
    ):
        if len(frame):
            ordered = frame.sort_values("p_holm", kind="stable").head(20) if "p_holm" in frame else frame
            parts += [f"<h2>{title}</h2>", table(ordered, name)]
    return "".join(parts)
