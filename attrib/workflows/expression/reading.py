"""The data of the study: a matrix with the labels and donors of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrib.domains.expression import gene_list, read_matrix, with_samples
from attrib.domains.expression.annotation import known_samples, read_samples
from attrib.domains.expression.matrices import Matrix
from attrib.workflows.expression.download import GROUP, LABEL, local_files


def read_expression(
    data: Any,
    *,
    samples: Any = None,
    label: str | None = None,
    group: str | None = None,
    input_filter: str | Path | Sequence[str] | None = None,
    layer: str | None = None,
    columns: Sequence[str] = (),
    genes: Sequence[str] | None = None,
) -> Matrix:
    """Read a matrix and its sample table.

    Parameters
    ----------
    data, samples, label, group, input_filter, layer
        As for `train`. Of a folder with GTEx' own sample table, tissues are the labels and donors the groups.
    columns : sequence of str
        More columns that are no genes.
    genes : sequence of str, optional
        Genes of a model, by which they are found, and beyond which none are read.

    Returns
    -------
    Matrix

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        See `attrib.domains.expression`.
    """
    if isinstance(data, str | Path):
        files = local_files(data)
        data, samples = files.matrix, files.samples if samples is None else samples
    table = None if samples is None else read_samples(samples)
    if table is not None and {LABEL, "SAMPID"} <= set(table.rows.columns):
        label, group = label or LABEL, group or GROUP
    wanted = (
        input_filter
        if input_filter is None or not isinstance(input_filter, str | Path)
        else gene_list(input_filter)
    )
    described = [
        c for c in (label, None if group is None or "(" in group else group, *columns) if c is not None
    ]
    matrix = read_matrix(
        data, genes=wanted if genes is None else genes, samples=None if table is None else known_samples(table),
        columns=[] if table is not None else described, layer=layer,
    )  # fmt: skip
    if genes is not None:
        matrix.problems.pop("input_filter", None)
    return with_samples(matrix, table, label=label, group=group, need_label=genes is None)
