"""What the attributions of a cohort say: moments by label, tests, leading genes, sets, and expression beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import near
from attrib.stats import enrichment, fold_change, moments_by, one_against_rest, overlap, top
from attrib.workflows.expression.checkpoint import Classifier
from attrib.workflows.plan import ALL_METHODS, Plan
from attrib.workflows.study import Tell, finished, told

FEW = 3  # samples of a label below which its figures are marked


class Findings(NamedTuple):
    """Statistics of one method.

    Attributes
    ----------
    moments : Dataset
        See `attrib.stats.moments_by`, over `label` and `gene`.
    tests : Dataset or None
        See `attrib.stats.one_against_rest`; None with one label.
    top : DataFrame
        A row per label and leading gene.
    overlap : DataArray
        Leading genes that two labels share.
    agreement : DataFrame
        A row per label: Spearman's rho of mean attribution and change of expression over the genes, and of their magnitudes. (A gene
        that is low in a label and speaks for it has a positive attribution and a negative change.)
    """

    moments: xr.Dataset
    tests: xr.Dataset | None
    top: pd.DataFrame
    overlap: xr.DataArray
    agreement: pd.DataFrame


def normalised(a: xr.DataArray) -> xr.DataArray:
    """Each sample's attributions from 0 to 1, as maps of saliency are often shown; 0 where all are the same."""
    low, high = a.min("gene"), a.max("gene")
    span = (high - low).where(high > low, 1.0)
    out = ((a - low) / span).astype(a.dtype)
    return out.assign_attrs(
        {
            **a.attrs,
            "units": "1",
            "long_name": f"{a.attrs.get('long_name', 'attribution')}, each sample from 0 to 1",
        }
    )


def expression_beside(x: xr.DataArray, transform: str) -> dict[str, xr.DataArray]:
    """Mean expression by label, and its change against all other samples.

    Of data before a logarithm the change is the log2 fold change; other data are taken as they are, and the change is the difference
    of the means. Nothing with a single label.
    """
    if len(np.unique(x["label"].values)) < 2:
        return {}
    if transform == "log1p":
        table = fold_change(x, "label")
        return {"mean_expression": table["mean_expression"], "log2_fold_change": table["log2_fold_change"]}
    moments = moments_by(x, "label")
    return {
        "mean_expression": moments["mean"],
        "expression_difference": one_against_rest(moments)["difference"],
    }


def findings(a: xr.DataArray, beside: Mapping[str, xr.DataArray], n: int) -> Findings:
    """Statistics of one method's attributions (sample, gene), which have the coord `label`."""
    moments = moments_by(a, "label")
    tests = one_against_rest(moments) if moments.sizes["label"] > 1 else None
    table = top(moments, n, tests=tests, beside=beside, labels={"symbol": "symbol"})
    return Findings(moments, tests, table, overlap(table, "label"), _agreement(moments, beside))


def _agreement(moments: xr.Dataset, beside: Mapping[str, xr.DataArray]) -> pd.DataFrame:
    from scipy.stats import spearmanr

    change = next((c for c in ("log2_fold_change", "expression_difference") if c in beside), None)
    rows = []
    for label in moments["label"].values if change is not None else ():
        pair = moments["mean"].sel(label=label).values, beside[change].sel(label=label).values  # type: ignore[index]
        usable = np.isfinite(pair[0]) & np.isfinite(pair[1])
        varies = usable.sum() > 2 and all(np.ptp(v[usable]) > 0 for v in pair)
        first, second = (v[usable] for v in pair)
        signed, sizes = (
            (float(spearmanr(first, second).statistic), float(spearmanr(abs(first), abs(second)).statistic))
            if varies
            else (np.nan, np.nan)
        )
        rows.append(
            {
                "label": label,
                "against": change,
                "spearman": signed,
                "spearman_of_magnitudes": sizes,
                "genes": int(usable.sum()),
                "samples": int(moments["count"].sel(label=label)),
            }
        )
    return pd.DataFrame(
        rows, columns=["label", "against", "spearman", "spearman_of_magnitudes", "genes", "samples"]
    )


def refuse_foreign_sets(sets: Mapping[str, Sequence[str]], x: xr.DataArray) -> None:
    """Refuse gene sets of which none can be tested, before the work."""
    names = {str(v): None for c in ("gene", "symbol") if c in x.coords for v in x[c].values}
    if not any(len(names.keys() & set(members)) > 1 for members in sets.values()):
        genes = [g for members in sets.values() for g in members]
        raise ValueError(
            f"`gene_sets` has no set with two genes of the model; its genes are called {', '.join(genes[:3])}, those of the "
            f"model {', '.join(list(names)[:3])}"
        )


def sets_of(results: Findings, sets: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Gene sets among the leading genes of each label, by symbol where the sets name more symbols than ids."""
    genes = results.moments["gene"].values.astype(str)
    names, column = genes, "gene"
    if "symbol" in results.moments.coords:
        symbols = results.moments["symbol"].values.astype(str)
        members = {g for s in sets.values() for g in s}
        if sum(s in members for s in symbols) > sum(g in members for g in genes):
            names, column = symbols, "symbol"
    chosen = {str(label): part[column].astype(str).tolist() for label, part in results.top.groupby("label")}
    return enrichment(chosen, sets, names)


def wide(results: Mapping[str, Findings]) -> pd.DataFrame:
    """Mean attributions: a row per method and gene, a column per label."""
    tables = []
    for method, part in results.items():
        means = part.moments["mean"].transpose("gene", "label")
        table = pd.DataFrame(means.values, columns=means["label"].values)
        table.insert(0, "method", method)
        table.insert(1, "gene", means["gene"].values)
        if "symbol" in means.coords:
            table.insert(2, "symbol", means["symbol"].values)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def long_tests(results: Mapping[str, Findings], q: float = 0.05) -> pd.DataFrame:
    """Genes with a false discovery rate of at most `q`: a row per method, label and gene, by label and p."""
    tables = []
    for method, part in results.items():
        if part.tests is None:
            continue
        numbers = part.tests.reset_coords(drop=True) if "symbol" not in part.tests.coords else part.tests
        table = numbers[["difference", "t", "p", "q"]].to_dataframe().reset_index()
        table = table[table["q"] <= q].sort_values(["label", "p", "difference"], kind="stable")
        table.insert(0, "method", method)
        tables.append(
            table[
                [
                    "method",
                    "label",
                    "gene",
                    *(["symbol"] if "symbol" in table else []),
                    "difference",
                    "t",
                    "p",
                    "q",
                ]
            ]
        )
    return (
        pd.concat(tables, ignore_index=True)
        if tables
        else pd.DataFrame(columns=["method", "label", "gene", "difference", "t", "p", "q"])
    )


def target_names(target: str | Sequence[str], classes: Sequence[str]) -> list[str]:
    """Names of the targets beside the predicted label; none for `"predicted"`.

    Raises
    ------
    ValueError
        For names that are no class.
    """
    if target == "predicted" or list(target) == ["predicted"]:
        return []
    if target == "all" or list(target) == ["all"]:
        return list(classes)
    names = [target] if isinstance(target, str) else list(target)
    strange = [n for n in names if n not in classes]
    if strange or not names:
        raise ValueError(
            f"`target` is {', '.join(strange) or 'empty'}, expected predicted, all, or labels: {', '.join(classes[:20])}{near(strange[0] if strange else '', [*classes, 'predicted', 'all'])}"
        )
    return list(dict.fromkeys(names))


def means_of_targets(
    classifier: Classifier,
    z: xr.DataArray,
    settings: Plan,
    names: Sequence[str],
    folder: Path,
    cluster: Any = None,
    tell: Tell | None = None,
) -> xr.Dataset:
    """Mean attributions (target, label, gene) by method; `label` is the predicted label of the samples."""
    several = replace(settings, shared={**settings.shared, "target": None, "targets": list(names)})
    means = {}
    for m in settings.methods:
        tree = finished(
            ALL_METHODS[m], classifier.model, z, folder / f"{m}_by_target.zarr", reductions=("mean", "count"), by="predicted", keep=False,
            cluster=cluster, progress=told(tell, f"{m}, targets"), **several.passing(z), **several.by_method[m],
        )  # fmt: skip
        mean = tree["reductions/mean"].load().rename(predicted="label").transpose("target", "label", "gene")
        means[m] = mean.astype(np.float32).assign_attrs(units=mean.attrs.get("units", ""))
    count = tree["reductions/count"].load().rename(predicted="label")
    count = count.max([d for d in count.dims if d != "label"])
    table = xr.Dataset({m: a.drop_vars([c for c in a.coords if c not in a.dims]) for m, a in means.items()})
    texts = {str(d): np.asarray(v.values, dtype=object).astype(str) for d, v in table.coords.items()}
    return table.assign_coords({**texts, "count": ("label", count.values.astype(int))})
