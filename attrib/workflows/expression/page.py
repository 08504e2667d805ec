"""The page of the study and its pictures: figures of the run, a gene search, leading genes and heat maps label by label."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.plots import heatmap
from attrib.plots.scale import figure, shortened, value_label, whole_ticks, wrapped
from attrib.workflows.expression.findings import Findings
from attrib.workflows.folder import save_picture
from attrib.workflows.page import browser, links, listing, page, paragraphs, pictures, search, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SEARCHED = 24 << 20  # bytes of mean attributions on the page; beyond, those of the first method alone

LABELS, GENES, PANELS = 60, 60, 9


def gene_data(results: Mapping[str, Findings]) -> str:
    """The mean attributions of all genes by label, as a script that the page loads."""
    moments = next(iter(results.values())).moments
    data: dict[str, Any] = {
        "genes": moments["gene"].values.astype(str).tolist(),
        "symbols": moments["symbol"].values.astype(str).tolist() if "symbol" in moments.coords else None,
        "labels": moments["label"].values.astype(str).tolist(),
        "means": {},
        "units": {},
    }
    size = moments["mean"].size * 4
    for method in list(results)[: max(1, SEARCHED // max(1, size))]:
        mean = results[method].moments["mean"].transpose("gene", "label")
        data["means"][method] = base64.b64encode(
            np.ascontiguousarray(mean.values, dtype="<f4").tobytes()
        ).decode()
        data["units"][method] = mean.attrs.get("units", "")
    return f"window.GENES = {json.dumps(data)};\n"


def study_page(
    summary: Mapping[str, Any],
    results: Mapping[str, Findings],
    enriched: pd.DataFrame | None,
    files: Sequence[str],
) -> str:
    """The page, with links to all files."""
    overviews = [f for f in files if f.endswith(".png") and not f.startswith("heatmap_")]
    return page(
        "Expression",
        [
            paragraphs(*_head(summary)),
            links(f for f in files if not f.startswith("heatmap_")),
            paragraphs(*summary["notes"], note=True) if summary["notes"] else None,
            listing("Left out", [f"{k}: {v}" for k, v in summary["problems"].items()], "summary.json"),
            listing("Genes of the model that the data lack", summary["missing_genes"], "summary.json"),
            table("Methods", _methods(summary["methods"]), "run.json"),
            search("Gene search", "genes.js", "id or symbol"),
            browser(
                "Leading genes",
                _labels(summary, results),
                [{"kind": "picture", "key": "heatmaps", "by": ["method"]}, {"kind": "table", "key": "top", "by": ["method"], "columns": _columns(results)}],
                choices=[{"name": "method", "options": list(results)}], order=["samples"],
            ),
            pictures("Over all labels", overviews),
            _sets(enriched),
        ],
    )  # fmt: skip


def _head(summary: Mapping[str, Any]) -> list[str]:
    accuracy, split = summary["accuracy_of_split"], summary["split"]
    count, labelled = summary["samples_of_split"], summary["labelled_of_split"]
    whose = "" if labelled == count else " whose label the model knows"
    those = "of them" if split == "all" and not whose else f"of the {labelled}{whose}"
    those += "" if split == "all" else f" of the training's {split} split"
    correct = "" if accuracy is None else f", {accuracy:.1%} {those} predicted correctly"
    few, without = summary["labels_with_few_samples"], summary["labels_without_explained_samples"]
    lines = [
        f"{summary['samples']} samples of {summary['genes']} genes{correct}; {summary['explained']} explained, of {len(summary['labels'])} labels."
    ]
    if few:
        lines.append(
            f"Labels with fewer than three explained samples, whose figures say little: {', '.join(few)}."
        )
    return [*lines, f"Labels without explained samples: {', '.join(without)}."] if without else lines


def _methods(methods: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([
        {
            "method": m["method"], "completeness error (median)": m.get("completeness_error_median"), "largest": m.get("completeness_error_max"),
            "deletion z (median)": m.get("deletion_z_median"), "seconds": m.get("seconds"),
        }
        for m in methods
    ])  # fmt: skip


def _columns(results: Mapping[str, Findings]) -> list[str]:
    return [str(c) for c in next(iter(results.values())).top.columns if c != "label"]


def _labels(summary: Mapping[str, Any], results: Mapping[str, Findings]) -> list[dict[str, Any]]:
    """Leading genes and heat maps of every label, by method."""
    columns = _columns(results)
    tables = {m: dict(list(f.top.groupby("label"))) for m, f in results.items()}
    return [
        {
            "name": name, "samples": count, "says": f"{count} samples", "heatmaps": summary["heatmaps"].get(name, {}),
            "top": {m: t[name][columns].astype(object).values.tolist() for m, t in tables.items() if name in t},
        }
        for name, count in sorted(summary["labels"].items())
    ]  # fmt: skip


def _sets(enriched: pd.DataFrame | None) -> dict[str, Any] | None:
    if enriched is None:
        return None
    rows = enriched[enriched["q"] <= 0.05].sort_values(["method", "label", "p"], kind="stable")
    return table("Gene sets among the leading genes (q of at most 0.05)", rows, "enrichment.csv")


def gene_names(a: xr.DataArray | xr.Dataset) -> np.ndarray:
    """Symbols of the genes where they are known and unique, else ids."""
    ids = a["gene"].values.astype(str)
    if "symbol" not in a.coords:
        return ids
    symbols = pd.Series(a["symbol"].values.astype(str))
    return np.where(symbols.duplicated(keep=False), symbols + " " + pd.Series(ids), symbols).astype(str)


def of_label(results: Findings, label: str, method: str) -> tuple[xr.DataArray, str, str, str]:
    """What `label_heatmap` draws: its leading genes over all labels, its name, the quantity and the title."""
    table = results.top[results.top["label"] == label]
    mean = _named(results.moments).sel(gene_id=table["gene"].astype(str).values)
    samples = int(results.moments["count"].sel(label=label))
    title = f"{shortened(label, 26)} ({samples} samples)"
    return mean.swap_dims(gene_id="gene").drop_vars("gene_id"), label, _quantity(results, method), title


def label_heatmap(mean: xr.DataArray, label: str, quantity: str, title: str) -> Figure:
    """The leading genes of one label over all labels, that label outlined."""
    return heatmap(mean, outline={"label": label}, label=quantity, title=title, most=LABELS).figure  # type: ignore[return-value]


def write_heatmap(path: Path, mean: xr.DataArray, label: str, quantity: str, title: str) -> None:
    """Write a `label_heatmap`."""
    save_picture(label_heatmap(mean, label, quantity, title), path)


def leading_heatmap(results: Findings, method: str) -> Figure:
    """The first genes of every label over all labels, each outlined at its own label."""
    count = max(1, GENES // max(1, results.moments.sizes["label"]))
    table = results.top[results.top["rank"] <= min(count, 5)]
    genes = table["gene"].astype(str).unique()[:GENES]
    mean = _named(results.moments).sel(gene_id=genes)
    labels = mean["label"].values
    leads = pd.crosstab(
        table["gene"].astype(str), table["label"].astype(str)
    )  # a gene may lead several labels
    frame = xr.DataArray(
        leads.reindex(index=genes, columns=labels.astype(str), fill_value=0).to_numpy() > 0,
        dims=("gene_id", "label"),
    )
    frame = frame.assign_coords(gene_id=mean["gene_id"].values, label=labels)
    strip = lambda v: (
        v.swap_dims(gene_id="gene").drop_vars("gene_id")
        if "gene" in v.coords
        else v.rename(gene_id="gene").drop_vars(["gene", "label"])
    )
    shown = min(count, 5, int(table["rank"].max()))
    title = "First gene of each label" if shown == 1 else f"First {shown} genes of each label"
    return heatmap(
        strip(mean), outline=strip(frame), label=_quantity(results, method), title=title, most=LABELS
    ).figure  # type: ignore[return-value]


def overlap_heatmap(results: Findings) -> Figure:
    """How many leading genes two labels share."""
    counts = results.overlap.rename(other="shares with").astype(float)
    shared = counts.where(counts["label"] != counts["shares with"])  # the diagonal is no finding
    return heatmap(
        shared,
        limit=max(1.0, float(shared.max())),
        label="leading genes in common",
        title="Shared leading genes",
        most=LABELS,
    ).figure  # type: ignore[return-value]


def against_expression(results: Findings, change: xr.DataArray, method: str) -> Figure:
    """Mean attribution against the change of expression, gene by gene, for the labels with the most samples."""
    labels = results.moments["count"].to_series().sort_values(ascending=False, kind="stable").index[:PANELS]
    columns = min(3, len(labels))
    rows = -(-len(labels) // columns)
    drawing = figure((3.0 * columns, 2.7 * rows + 0.4))
    names = gene_names(results.moments)
    unit = "log2 fold change" if change.name == "log2_fold_change" else "difference of mean expression"
    for k, label in enumerate(labels):
        ax = drawing.add_subplot(rows, columns, k + 1)
        x, y = change.sel(label=label).values, results.moments["mean"].sel(label=label).values
        ax.axhline(0, color="0.8", linewidth=0.6, zorder=0)
        ax.axvline(0, color="0.8", linewidth=0.6, zorder=0)
        ax.scatter(x, y, s=5, color="0.45", linewidths=0, rasterized=True)
        rho = results.agreement.set_index("label").loc[label, "spearman_of_magnitudes"]
        first = int(np.nanargmax(np.abs(y)))
        ax.scatter(x[first], y[first], s=16, color="#b2182b", linewidths=0)
        ax.set_title(
            f"{shortened(str(label), 34)}\nrho of magnitudes {rho:.2f}\nfirst: {shortened(names[first], 34)}",
            fontsize=8,
        )
        ax.tick_params(labelsize=7)
        ax.locator_params(axis="x", nbins=5)  # small numbers are long
        whole_ticks(ax.xaxis)
        whole_ticks(ax.yaxis)
        ax.spines[["top", "right"]].set_visible(False)
    drawing.supxlabel(wrapped(f"{unit} against all other samples", 38 * columns), fontsize=9)
    drawing.supylabel(wrapped(_quantity(results, method), 34 * rows), fontsize=9)
    if len(labels) < results.moments.sizes["label"]:
        drawing.suptitle(
            f"{len(labels)} of {results.moments.sizes['label']} labels, those with the most samples",
            fontsize=10,
        )
    return drawing


def _named(moments: xr.Dataset) -> xr.DataArray:
    """Means (gene_id, label) with the genes' names as the coord `gene`."""
    mean = moments["mean"].transpose("gene", "label")
    names = gene_names(moments)
    mean = mean.drop_vars([c for c in mean.coords if c not in ("gene", "label")]).rename(gene="gene_id")
    return mean.assign_coords(gene_id=mean["gene_id"].values.astype(str), gene=("gene_id", names))


def _quantity(results: Findings, method: str) -> str:
    return (
        f"mean {value_label(results.moments['mean'])}"
        if results.moments["mean"].attrs.get("long_name")
        else f"mean {method}"
    )
