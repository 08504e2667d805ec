"""The study of expression: which genes a classifier looks at, label by label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.expression import read_gmt, with_samples
from attrib.io import add_group, load, replacing, save, to_anndata, write_json
from attrib.io.annotated import annotated_object
from attrib.io.netcdf import group_names
from attrib.io.place import file_names, read_json, strict
from attrib.scale.runners import connected, shares
from attrib.scale.samples import digest_of
from attrib.workflows.data import loaded, places_of
from attrib.workflows.expression import findings as numbers
from attrib.workflows.expression import page as drawn
from attrib.workflows.expression.checkpoint import Classifier, load_checkpoint
from attrib.workflows.expression.download import read_expression
from attrib.workflows.expression.findings import Findings, means_of_targets, refuse_foreign_sets, target_names
from attrib.workflows.expression.page import gene_data, study_page
from attrib.workflows.expression.selection import (
    Samples,
    background,
    baseline_of,
    chosen,
    classified,
    of_split,
)
from attrib.workflows.folder import Folder, digest, picture_count, refuse_below_one
from attrib.workflows.plan import ALL_METHODS, Plan, context_of, plan
from attrib.workflows.runner import Drawers
from attrib.workflows.study import (
    Tell,
    attribute_in_blocks,
    completeness,
    deletion_curve,
    rehearse,
    write_agreement,
)

PROGRAM = "attrib expression"
RESULTS = "attributions.nc"
METHODS = ("saliency", "integrated_gradients", "deep_lift")
JUDGED = 64  # samples by which methods are compared with random orders and with each other
MAX_H5AD = 8 << 30  # bytes of attributions that are written as h5ad, which has to be in memory


class Report(NamedTuple):
    """Which samples are explained, and what is said of their genes.

    Attributes
    ----------
    split : {"auto", "test", "validation", "train", "all"}
        Of the training. `"auto"`: the test samples, if the data hold samples of the training; else all.
    every : bool
        Whether wrongly predicted samples are explained too.
    top : int
        Leading genes of each label.
    gene_sets : path, mapping or None
        A .gmt file: the leading genes of each label are tested against its sets.
    normalize : bool
        Whether saliency runs from 0 to 1 in each sample.
    """

    split: str = "auto"
    every: bool = False
    top: int = 20
    gene_sets: str | Path | Mapping[str, Sequence[str]] | None = None
    normalize: bool = False


def expression(
    data: Any,
    model: str | Path | Classifier | Callable[..., Any],
    output: str | Path,
    *,
    weights: str | Path | None = None,
    classes: str | Sequence[str] | None = None,
    sample_table: Any = None,
    label: str | None = None,
    layer: str | None = None,
    context: Sequence[str] = (),
    samples: Sequence[str] | None = None,
    max_samples: int | None = None,
    target: str | Sequence[str] = "predicted",
    methods: Sequence[str] = METHODS,
    options: Mapping[str, Any] | None = None,
    baselines: str = "mean",
    report: Report | None = None,
    pictures: int | str = "all",
    batch_size: int | str = "auto",
    device: str | None = None,
    cluster: Any = None,
    seed: int = 0,
    overwrite: bool = False,
    tell: Tell | None = None,
) -> Path:
    """Explain a classifier of expression: attributions of genes for the predicted label, with tables, tests, pictures and a page.

    Parameters
    ----------
    data : path, AnnData, DataFrame or DataArray
        As for `train`. Genes are matched to the model's by their ids.
    model : path, str, Classifier or callable
        The folder of `train`; ``"package.module:factory"`` or a network, with `classes`; or a classifier, see `load_checkpoint`.
    output : path
        Folder for the results. One that holds a run with the same settings is continued: blocks of samples that are done are
        not done again.
    weights : path, optional
        A state dict for the factory, see `load_checkpoint`.
    classes : str or sequence of str, optional
        Names of the outputs of a model of your own: a sequence, a text with commas, or a file with one per line.
    sample_table, label, layer : optional
        As for `train`. The column of labels is by default that of the training; without labels all samples are explained.
    context : sequence of str
        Tables or files with what a model of your own takes beside the matrix, matched to samples by their ids: batch, donor; see
        `attrib.workflows.explain.explain`.
    samples : sequence of str, optional
        Samples by their ids, whatever was predicted of them and whatever split they are of; default: see `Report`.
    max_samples : int, optional
        At most so many, drawn evenly over the labels.
    target : str or sequence of str, default "predicted"
        `"all"` or names of labels: then `mean_by_target.nc` holds, beside everything about the predicted label, the mean
        attribution of every target over the samples of every label.
    methods : sequence of str, default ("saliency", "integrated_gradients", "deep_lift")
        Methods that give a value for each gene.
    options : mapping, optional
        Arguments of methods: ``{"integrated_gradients.quadrature": "exact"}``.
    baselines : str, default "mean"
        See `attrib.workflows.expression.selection.baseline_of`: mean, median, label:NAME or a number.
    report : Report, optional
        Which samples are explained, and what is said of their genes.
    pictures : int, "all" or "none"
        For how many labels heat maps are drawn: those with the most samples.
    batch_size : int or "auto"
        Rows per call of the model.
    device : str, optional
        Where to put a checkpoint's or a factory's network.
    cluster : int, str or Client, optional
        Worker processes, or the address of a Dask scheduler, as for `attrib.cohort`; default: this process.
    seed : int, default 0
        Of draws.
    overwrite : bool, default False
        Whether to begin anew in a folder of an earlier run.
    tell : callable, optional
        Gets (what, done, in all) as the work goes on.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        For arguments that do not fit, before anything is written.

    Notes
    -----
    `label` in the tables is the predicted label, which for correctly predicted samples is the true one. Memory: the data twice, and the
    attributions of one method (of all methods for the h5ad file).

    Examples
    --------
    A model whose logits are the expression of a gene each, and two samples:

    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from attrib.workflows.expression import Report, expression
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> tpm = pd.DataFrame([[50.0, 1.0], [1.0, 50.0]], index=["s1", "s2"], columns=["INS", "ALB"])
    >>> results = expression(
    ...     tpm, "torch.nn:Identity", folder, classes="islet,liver", methods=["integrated_gradients"], baselines="0", report=Report(top=1),
    ...     pictures="none",
    ... )
    >>> pd.read_csv(results / "top_genes.csv")[["label", "gene"]].values.tolist()
    [['islet', 'INS'], ['liver', 'ALB']]
    """
    classifier = loaded(model, Classifier, load_checkpoint, weights=weights, classes=classes, device=device)
    limit, report = picture_count(pictures), report or Report()
    refuse_below_one(top=report.top)
    sets = read_gmt(report.gene_sets) if isinstance(report.gene_sets, str | Path) else report.gene_sets
    notes: list[str] = []
    say = notes.append
    names = target_names(target, classifier.classes)
    matrix = read_expression(
        data, sample_table=sample_table, label=label, layer=layer, genes=classifier.genes
    )
    if label is None and classifier.label in matrix.x.coords:
        matrix = with_samples(matrix, label=classifier.label, need_label=False)
    if sets is not None:
        refuse_foreign_sets(sets, matrix.x)
    shares(1, cluster)
    ids = [str(v) for v in matrix.x["sample"].values]
    named = np.isin(np.arange(len(ids)), places_of(ids, samples))
    beside = context_of(context, classifier.model, ids)
    every_sample = classified(classifier, matrix.x, beside)
    labelled = _labelled(every_sample, classifier)
    if "label" in every_sample.z.coords and not labelled.all():
        say(
            f"{int((~labelled).sum())} samples have no label that the model knows; they are not counted in the accuracy."
        )
    wanted = "all" if samples is not None and report.split == "auto" else report.split
    split, within = of_split(every_sample.z["sample"].values, classifier, wanted, say)
    within &= named
    every = report.every or samples is not None
    selected = chosen(every_sample, within, every=every, max_samples=max_samples, seed=seed, say=say)
    settings = _settings(
        classifier, selected, every_sample, methods, baselines, batch_size, seed, options, say
    )
    settings = replace(settings, context=beside)
    rehearse(classifier.model, selected.z, settings, tell)
    identity = {
        "model": classifier.source, "weights": digest(classifier.model), "samples": digest_of(selected.z), "methods": list(settings.methods),
        "arguments": digest_of([settings.shared["classes"], settings.by_method]), "normalize": report.normalize, "baselines": baselines, "seed": seed,
    } | beside.identity()  # fmt: skip
    with Folder(output, program=PROGRAM, settings=identity, overwrite=overwrite) as folder:
        folder.record |= {
            "data": str(data) if isinstance(data, str | Path) else type(data).__name__, "target": names or "predicted", "split": split,
            "problems": matrix.problems, "methods": [],
        }  # fmt: skip
        with connected(cluster) as client:
            results = _explained(
                classifier, selected, settings, folder, report.normalize, report.top, client, tell
            )
            if names:
                means = means_of_targets(classifier, selected.z, settings, names, folder.parts, client, tell)
                save(means, folder.file("mean_by_target.nc"))
        enriched = _tables(results, selected, every_sample, labelled, sets, folder)
        heatmaps = _draw(results, _beside(selected, classifier), limit, folder, say, tell)
        figures = _judged(every_sample, split, within, labelled) | {"notes": notes}
        summary = figures | _summary(
            matrix.problems, every_sample, selected, results, folder.record["methods"], classifier, heatmaps
        )
        write_json(summary, folder.file("summary.json"))
        _write_page(folder, summary, results, enriched, every_sample)
    return folder.path


def _settings(
    classifier: Classifier, selected: Samples, samples: Samples, methods: Sequence[str], baselines: str, batch_size: int | str,
    seed: int, options: Mapping[str, Any] | None, say: Callable[[str], None],
) -> Plan:  # fmt: skip
    for m in methods:
        about = ALL_METHODS[m].about if m in ALL_METHODS else None
        if about is not None and (about.layer or about.result != "input"):
            raise ValueError(
                f"`methods` names {m}, which gives no value for each gene; expected some of {', '.join(_for_genes())}"
            )
    point = baseline_of(baselines, classifier, samples.x, say)
    distributions = {
        f"{m}.baselines": background(classifier, samples.z, seed)
        for m in methods
        if m in ALL_METHODS and ALL_METHODS[m].about.baselines == "distribution"
    }
    return plan(
        list(methods), target="predicted", classes=list(classifier.classes), baselines=point, batch_size=batch_size, seed=seed,
        options={**distributions, **(options or {})},
    )  # fmt: skip


def _for_genes() -> list[str]:
    return [n for n, m in ALL_METHODS.items() if not m.about.layer and m.about.result == "input"]


def _explained(
    classifier: Classifier, selected: Samples, settings: Plan, folder: Folder, normalize: bool, top: int, cluster: Any, tell: Tell | None
) -> dict[str, Findings]:  # fmt: skip
    """Run the methods; each is in `attributions.nc` before the next begins, and all are in `attributions.h5ad`."""
    results: dict[str, Findings] = {}
    beside = _beside(selected, classifier)
    some = np.unique(np.linspace(0, selected.z.sizes["sample"] - 1, JUDGED).round().astype(int))
    of_some: dict[str, xr.DataArray] = {}
    adata = _annotated(selected, settings)
    for method, a, seconds in _attributions(classifier, selected, settings, folder, normalize, cluster, tell):
        of_some[method] = a.isel(sample=some)
        curve = deletion_curve(classifier.model, selected.z.isel(sample=some), of_some[method], settings)
        median, largest = completeness(a)
        folder.record["methods"].append({
            "method": method, "params": a.attrs.get("params"), "seconds": round(seconds, 3), "completeness_error_median": median,
            "completeness_error_max": largest, "deletion_z_median": float(curve["z"].median()),
        })  # fmt: skip
        results[method] = numbers.findings(a.assign_coords(label=a["predicted"]), beside, top)
        if adata is not None:
            to_anndata(a, adata)
            means = results[method].moments["mean"].transpose("gene", "label")
            adata.varm[f"{method}_mean"] = means.values
            # the columns of varm; as keys of a table their names might not be allowed in a file
            adata.uns["attrib_labels"] = means["label"].values.astype(str)
    write_agreement(of_some, folder)
    if adata is not None:
        with replacing(folder.file("attributions.h5ad")) as temporary:
            adata.write_h5ad(temporary, compression="gzip")
    return results


def _attributions(
    classifier: Classifier, selected: Samples, settings: Plan, folder: Folder, normalize: bool, cluster: Any, tell: Tell | None
) -> Iterator[tuple[str, xr.DataArray, float]]:  # fmt: skip
    """Each method's attributions and the seconds they took: those of an earlier run from its file, the others computed and added to it."""
    file = folder.file(RESULTS)
    for method in settings.methods:
        marker = folder.parts / f"{method}.json"
        if marker.is_file() and file.is_file():
            yield method, load(file, method), read_json(marker)["seconds"]
            continue
        single = replace(settings, methods=(method,))
        for _, a, seconds in attribute_in_blocks(
            classifier.model, selected.z, single, folder.parts, cluster, tell
        ):
            a = a.assign_attrs(units=_unit(str(a.attrs.get("units", "")), classifier))
            a = numbers.normalised(a) if normalize and method == "saliency" else a
            if method not in group_names(file):
                add_group(a, file, method)
            write_json({"seconds": seconds}, marker)
            yield method, a, seconds


def _unit(unit: str, classifier: Classifier) -> str:
    """The unit in the words of the study: outputs are logits, inputs standard deviations of a gene where they are standardised."""
    inputs = "sd" if classifier.mean is not None else "expression"
    return {"output": "logit", "output / input": f"logit / {inputs}"}.get(unit, unit)


def _beside(selected: Samples, classifier: Classifier) -> dict[str, xr.DataArray]:
    x = selected.x.assign_coords(label=("sample", selected.z["predicted"].values))
    return numbers.expression_beside(x, classifier.transform)


def _annotated(selected: Samples, settings: Plan) -> Any:
    """An AnnData object of the samples' expression; None without anndata, and where it would be too large."""
    if selected.z.nbytes * len(settings.methods) > MAX_H5AD:
        return None
    try:
        return annotated_object(selected.z.copy(data=selected.x.values.astype(np.float32)))
    except ImportError:
        return None


def _tables(
    results: Mapping[str, Findings],
    selected: Samples,
    every: Samples,
    labelled: np.ndarray,
    sets: Mapping[str, Sequence[str]] | None,
    folder: Folder,
) -> pd.DataFrame | None:
    """Write the tables; returns the gene sets of the leading genes."""
    save(numbers.wide(results), folder.file("mean_by_label.csv"))
    save(_by_method({m: f.top for m, f in results.items()}), folder.file("top_genes.csv"))
    save(numbers.long_tests(results), folder.file("label_tests.csv"))
    counts = {m: f.overlap.to_dataframe("shared").reset_index() for m, f in results.items()}
    save(_by_method(counts), folder.file("overlap.csv"))
    save(
        _by_method({m: f.agreement for m, f in results.items()}),
        folder.file("attribution_and_expression.csv"),
    )
    z = every.z
    columns = [c for c in ("label", "group", "predicted", "probability", "correct") if c in z.coords]
    table = pd.DataFrame({"sample": z["sample"].values} | {c: z[c].values for c in columns})
    if "correct" in table:
        table["correct"] = table["correct"].astype(object).where(labelled, None)
    save(
        table.assign(explained=np.isin(z["sample"].values, selected.z["sample"].values)),
        folder.file("samples.csv"),
    )
    if not sets:
        return None
    enriched = _by_method({m: numbers.sets_of(f, sets) for m, f in results.items()})
    save(enriched, folder.file("enrichment.csv"))
    return enriched


def _by_method(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(
        [t.assign(method=m)[["method", *t.columns]] for m, t in tables.items()], ignore_index=True
    )


def _draw(
    results: Mapping[str, Findings], beside: Mapping[str, xr.DataArray], limit: int | None, folder: Folder,
    say: Callable[[str], None], tell: Tell | None,
) -> dict[str, dict[str, str]]:  # fmt: skip
    """Draw the pictures; returns the heat maps' files by label and method."""
    heatmaps: dict[str, dict[str, str]] = {}
    if limit == 0:
        return heatmaps
    first = next(iter(results.values()))
    order = first.moments["count"].to_series().sort_values(ascending=False, kind="stable").index
    labels = [str(v) for v in (order if limit is None else order[:limit])]
    if len(labels) < len(order):
        say(f"Heat maps of {len(labels)} of {len(order)} labels, those with the most samples.")
    change = next((beside[c] for c in ("log2_fold_change", "expression_difference") if c in beside), None)
    plain = file_names(labels).values()
    stems = file_names(
        labels, [f"{n}_{m}" for n in plain for m in results]
    )  # names of other methods' heat maps
    for method in results:
        folder.picture(f"leading_genes_{method}.png", drawn.leading_heatmap(results[method], method))
        if len(order) > 1:
            folder.picture(f"overlap_{method}.png", drawn.overlap_heatmap(results[method]))
        if change is not None:
            named = change.rename(
                "log2_fold_change" if "log2_fold_change" in beside else "expression_difference"
            )
            folder.picture(
                f"attribution_and_expression_{method}.png",
                drawn.against_expression(results[method], named, method),
            )
    with Drawers(len(labels) * len(results)) as drawers:
        for k, (method, label) in enumerate(product(results, labels)):
            file = f"heatmap_{stems[label]}{'' if k < len(labels) else f'_{method}'}.png"
            drawers.submit(
                partial(
                    drawn.write_heatmap, folder.file(file), *drawn.of_label(results[method], label, method)
                )
            )
            heatmaps.setdefault(label, {})[method] = file
            if tell is not None:
                tell("pictures", k + 1, len(results) * len(labels))
    return heatmaps


def _labelled(samples: Samples, classifier: Classifier) -> np.ndarray:
    """Which samples have a label that the model knows."""
    z = samples.z
    return np.isin(z["label"].values, classifier.classes) if "label" in z.coords else np.zeros(len(z), bool)


def _judged(every: Samples, split: str, within: np.ndarray, labelled: np.ndarray) -> dict[str, Any]:
    """How many samples of the split are predicted correctly: those of the training say nothing of others."""
    known = within & labelled
    accuracy = float(every.z["correct"].values[known].mean()) if known.any() else None
    return {
        "split": split, "samples_of_split": int(within.sum()), "labelled_of_split": int(known.sum()), "accuracy_of_split": accuracy,
    }  # fmt: skip


def _summary(
    problems: Mapping[str, str], every: Samples, selected: Samples, results: Mapping[str, Findings], methods: Sequence[Mapping[str, Any]],
    classifier: Classifier, heatmaps: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:  # fmt: skip
    counts = next(iter(results.values())).moments["count"].to_series()
    leading = {}
    for method, part in results.items():
        column = "symbol" if "symbol" in part.top else "gene"
        leading[method] = {
            str(n): t[column].astype(str).head(5).tolist() for n, t in part.top.groupby("label")
        }
    content: dict[str, Any] = {
        "samples": every.z.sizes["sample"], "explained": selected.z.sizes["sample"], "genes": every.z.sizes["gene"],
        "labels": {str(k): int(v) for k, v in counts.items()},
        "labels_with_few_samples": [str(k) for k, v in counts.items() if v < numbers.FEW],
        "labels_without_explained_samples": [c for c in classifier.classes if c not in counts.index],
        "missing_genes": selected.missing, "problems": dict(problems), "methods": list(methods),
        "leading_genes": leading, "heatmaps": heatmaps,
    }  # fmt: skip
    return dict(strict(content))


def _write_page(
    folder: Folder,
    summary: Mapping[str, Any],
    results: Mapping[str, Findings],
    enriched: pd.DataFrame | None,
    every: Samples,
) -> None:
    folder.text("genes.js", gene_data(results))
    text = study_page(summary, results, enriched, [f for f in folder.files if f != "genes.js"])
    folder.text("index.html", text)
