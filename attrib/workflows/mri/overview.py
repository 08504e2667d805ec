"""The picture of a cohort of volumes: four analyses of the table of statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import sem, spearmanr
from scipy.stats import t as student_t

from attrib.plots.scale import DIVERGING, NEGATIVE, POSITIVE, figure, wrapped
from attrib.workflows.mri.groups import Groups
from attrib.workflows.mri.plan import shown

REGIONS = 14  # rows of the comparison by region
GREY = "#767676"


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
    low = max(3.2, 0.26 * min(REGIONS, len(compared)) + 0.6)  # inches of the lower panels
    lines = 0.2 * -(-len(methods) // 2) + 0.3  # of the legend under the upper right one
    left, wide, gap, right, top, high, bottom = 1.5, 4.6, 2.3, 0.6, 0.4, 3.4, 1.2
    between = max(1.5, 0.6 + lines) + 0.6
    width, height = left + 2 * wide + gap + right, top + high + between + low + bottom
    drawing = figure((width, height))
    drawing.set_layout_engine("none")

    def panel(x: float, y: float, inches: float) -> Any:
        return drawing.add_axes((x / width, y / height, wide / width, inches / height))

    a, b = (panel(x, bottom + low + between, high) for x in (left, left + wide + gap))
    c, d = (panel(x, bottom, low) for x in (left, left + wide + gap))
    _distributions(a, table, groups, methods)
    _confidence(b, table, methods)
    _methods(c, groups, methods)
    _regions(d, table, groups, methods)
    return drawing


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
        ax.plot([], [], "s", color=colour, alpha=0.55, label=f"{label or 'all'} (n = {len(values[0])})")
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
            "o",
            markersize=4,
            alpha=0.7,
            color=f"C{k}",
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
        texts[i, j] = texts[j, i] = f"{r.mean:.2f}\n± {r.sd:.2f}"
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


def _regions(ax: Any, table: pd.DataFrame, groups: Groups, methods: Sequence[str]) -> None:
    """Differences of shares by region with intervals; without an atlas, of strength."""
    method = methods[0]
    chosen = groups.regions[groups.regions.method == method] if len(groups.regions) else pd.DataFrame()
    if chosen.empty:
        _strengths(ax, table, groups, method)
        return
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
    ax.set_yticks(at, [str(r) for r in chosen.region], fontsize=8 if len(chosen) <= 12 else 7)
    ax.set_xlabel(
        f"share in {groups.positive} less share in {groups.negative} (percentage points), 95% interval",
        fontsize=8,
    )
    counted = f"{len(chosen)} of {total}, largest |t|" if total > len(chosen) else f"all {total}"
    ax.set_title(
        f"{groups.positive} and {groups.negative} by region, {shown(method)} ({counted};\nfilled: p < 0.05 by Holm over all regions)",
        fontsize=9,
    )


def _strengths(ax: Any, table: pd.DataFrame, groups: Groups, method: str) -> None:
    """Subjects' strength by label, with means and their intervals."""
    for k, (label, colour) in enumerate(((groups.negative, NEGATIVE), (groups.positive, POSITIVE))):
        values = _of(table, method, label)["sum"].to_numpy(dtype=float)
        if not len(values):
            continue
        ax.plot(k + np.linspace(-0.12, 0.12, len(values)), values, "o", color=colour, alpha=0.5, markersize=4)
        half = student_t.ppf(0.975, len(values) - 1) * sem(values) if len(values) > 1 else 0.0
        ax.errorbar(k + 0.25, values.mean(), half, fmt="s", color=colour, capsize=3)
        ax.text(k, 0.02, f"n = {len(values)}", ha="center", fontsize=8, transform=ax.get_xaxis_transform())
    ax.set_xticks([0, 1], [groups.negative, groups.positive], fontsize=9)
    ax.set_xlim(-0.5, 1.5)
    ax.set_ylabel("sum of the attribution", fontsize=9)
    ax.set_title(
        f"By label, {shown(method)}: subjects, mean and 95% interval\n(pass an atlas for regions)",
        fontsize=9,
    )
