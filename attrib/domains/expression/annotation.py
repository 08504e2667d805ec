"""Sample tables: labels and donors of the samples of a matrix, matched by their ids."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import near
from attrib._public import public
from attrib.domains.expression.matrices import RESERVED, Matrix, kind_of


class Table(NamedTuple):
    """A sample table.

    Attributes
    ----------
    rows : DataFrame
        All columns as text.
    source : str
        Its name in messages.
    """

    rows: pd.DataFrame
    source: str


def read_samples(file: str | Path | pd.DataFrame) -> Table:
    """Read a sample table: CSV (commas or semicolons), else tabs; `.gz` too.

    Raises
    ------
    FileNotFoundError, ValueError
        If it does not exist or cannot be read.
    """
    if isinstance(file, pd.DataFrame):
        return Table(file.reset_index() if file.index.name else file, "the sample table")
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"`sample_table`: there is no file {path}")
    separator = "," if kind_of(path) == ".csv" else "\t"
    try:
        header = pd.read_csv(path, sep=separator, nrows=0, encoding="utf-8-sig").columns
        if separator == "," and len(header) == 1 and ";" in header[0]:
            separator = ";"
        rows = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig")
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        OSError,
        EOFError,
        zlib.error,
    ) as error:
        raise ValueError(f"`sample_table`: {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(rows.index, pd.RangeIndex):  # R's tables: row names without a name
        rows = rows.reset_index(names="sample_id")
    return Table(rows, str(path))


def known_samples(table: Table) -> list[str]:
    """All ids that the table's columns could mean: values that are different in every row."""
    ids: list[str] = []
    for c in table.rows.columns:
        column = table.rows[c].dropna().astype(str)
        if column.is_unique and len(column):
            ids.extend(column)
    return ids


@public
def with_samples(
    matrix: Matrix,
    table: Table | None = None,
    *,
    label: str | None = None,
    group: str | None = None,
    need_label: bool = True,
) -> Matrix:
    """A matrix with the coords `label` and `group`, and the columns of the sample table.

    Parameters
    ----------
    matrix : Matrix
    table : Table, optional
        See `read_samples`. The column with the most ids of the matrix names the samples. Default: the matrix' own coords.
    label : str, optional
        The column with what is predicted, such as the tissue.
    group : str, optional
        The column with what must not be divided, such as the donor; or a regular expression with one pair of parentheses, which
        finds it in the sample's id: ``"^(GTEX-[^-]+)"``.
    need_label : bool, default True
        Whether samples without a label are left out.

    Returns
    -------
    Matrix
        Only samples that the table has, if there is one.

    Raises
    ------
    ValueError
        For columns that do not exist, with the nearest name, and if no sample is left.

    Examples
    --------
    >>> import pandas as pd
    >>> from attrib.domains.expression import read_matrix, with_samples
    >>> from attrib.domains.expression.annotation import read_samples
    >>> matrix = read_matrix(pd.DataFrame({"INS": [1.0, 2.0]}, index=["d1-a", "d2-a"]))
    >>> table = read_samples(pd.DataFrame({"id": ["d2-a", "d1-a"], "tissue": ["liver", "skin"]}))
    >>> x = with_samples(matrix, table, label="tissue", group="^([^-]+)").x
    >>> x.label.values.tolist(), x.group.values.tolist()
    (['skin', 'liver'], ['d1', 'd2'])
    """
    x, problems = matrix.x, dict(matrix.problems)
    if table is not None:
        x = _joined(x, table, problems)
    if label is not None:
        x = x.assign_coords(label=("sample", _column(x, label, "label")))
    if group is not None:
        x = x.assign_coords(group=("sample", _groups(x, group)))
    if "label" in x.coords and need_label:
        empty = pd.isna(x["label"].values) | np.isin(x["label"].values.astype(str), ["", "nan", "NA", "None"])
        if empty.any():
            problems["without label"] = _some(
                "samples have no label and are left out", x["sample"].values[empty]
            )
            x = x.isel(sample=~empty)
        x = x.assign_coords(label=("sample", x["label"].values.astype(str).astype(object)))
    if not x.sizes["sample"]:
        raise ValueError("`data` has no sample that is in the sample table and has a label")
    return Matrix(x, problems)


def _joined(x: xr.DataArray, table: Table, problems: dict[str, str]) -> xr.DataArray:
    ids = pd.Index(x["sample"].values.astype(str))
    hits = {c: int(ids.isin(table.rows[c].astype(str)).sum()) for c in table.rows.columns}
    column = max(hits, key=lambda c: hits[c])
    if not hits[column]:
        raise ValueError(
            f"`sample_table`: {table.source} names none of the samples of `data`, such as {', '.join(ids[:3])}; its columns: "
            f"{', '.join(map(str, table.rows.columns[:8]))}"
        )
    rows = table.rows.set_axis(table.rows[column].astype(str))
    if rows.index.duplicated().any():
        again = rows.index[rows.index.duplicated()]
        problems["sample table"] = _some(
            "samples have several rows, of which the first counts", again[again.isin(ids)].unique()
        )
        rows = rows[~rows.index.duplicated()]
    listed = ids.isin(rows.index)
    if not listed.all():
        problems["not in the sample table"] = _some("samples are left out", ids[~listed])
    unused = int((~rows.index.isin(ids)).sum())
    if unused:
        problems["only in the sample table"] = f"{unused} rows have no sample in the data"
    x = x.isel(sample=listed)
    matched = rows.loc[x["sample"].values.astype(str)]
    taken = set(map(str, x.coords)) | set(RESERVED)
    columns = {str(c): matched[c].to_numpy(dtype=object) for c in matched.columns if c != column}
    return x.assign_coords(
        {
            (f"sample_{c}" if c in taken and c not in ("label", "group") else c): ("sample", v)
            for c, v in columns.items()
        }
    )


def _some(what: str, names: pd.Index | np.ndarray) -> str:
    return f"{len(names)} {what}, such as {', '.join(map(str, names[:3]))}"


def _column(x: xr.DataArray, name: str, argument: str) -> np.ndarray:
    columns = [str(c) for c, v in x.coords.items() if v.dims == ("sample",) and c != "sample"]
    if name not in columns:
        raise ValueError(
            f"`{argument}` is {name!r}, which is no column of the samples; there are {', '.join(columns[:20]) or 'none: pass a sample table as `sample_table`'}{near(name, columns)}"
        )
    return x[name].values


def _groups(x: xr.DataArray, group: str) -> np.ndarray:
    """The donor of each sample, from a column or from its id."""
    if "(" not in group:
        values = _column(x, group, "group")
        empty = pd.isna(values)
        if empty.any():
            raise ValueError(
                f"`group`: {int(empty.sum())} samples have no {group}, such as {x['sample'].values[empty][0]}"
            )
        return values.astype(str).astype(object)
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise ValueError(f"`group` is {group!r}, which is no regular expression: {error}") from error
    matches = [pattern.search(str(s)) for s in x["sample"].values]
    if pattern.groups != 1 or not all(matches):
        wrong = next((str(s) for s, m in zip(x["sample"].values, matches, strict=True) if not m), "")
        raise ValueError(
            f"`group` is {group!r}, expected one pair of parentheses that every sample's id matches; {wrong} does not"
        )
    return np.array([m[1] for m in matches if m], dtype=object)
