"""Expression matrices from files: GCT, CSV, TSV, parquet and AnnData as samples by genes."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._install import install_hint
from attrib._public import public
from attrib.domains.expression.genes import VERSION, without_version
from attrib.labels import frames
from attrib.labels.frames import annotated_array, is_anndata

SUFFIXES = (".gct", ".csv", ".tsv", ".txt", ".parquet", ".h5ad")
SYMBOLS = ("symbol", "description", "gene_symbol", "gene_name", "pr_gene_symbol", "hgnc_symbol", "gene_symbols", "feature_name")  # fmt: skip
RESERVED = (*frames.RESERVED, "sample", "gene")
ROWS = 2000  # genes of a text file in memory at a time, before those that are not wanted are left out


class Matrix(NamedTuple):
    """An expression matrix and what was odd about its file.

    Attributes
    ----------
    x : DataArray (sample, gene)
        float32, with the coord `symbol` where the file has one, and the file's other columns as coords.
    problems : dict of str to str
        What was left out, and why.
    """

    x: xr.DataArray
    problems: dict[str, str]


@public
def read_matrix(
    data: Any,
    *,
    genes: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    layer: str | None = None,
) -> Matrix:
    """Read an expression matrix.

    Parameters
    ----------
    data : path, AnnData, DataFrame or DataArray
        `.gct` (1.2 and 1.3), `.csv`, `.tsv`, `.txt` (tabs), each also with `.gz`; `.parquet`; `.h5ad`, read gene block by
        block. Tables hold ids in their first column and their header. A DataArray has samples in its first dim.
    genes : sequence of str, optional
        Keep only these; versions of ENSEMBL ids do not matter.
    samples : sequence of str, optional
        Ids that are known to be samples. Where they, or else `genes`, or else ids of ENSEMBL, are found tells whether samples are
        the rows or the columns of a table; without any of them samples are the rows.
    columns : sequence of str
        Columns of a table that are no genes, such as the label.
    layer : str, optional
        Of AnnData; default: ``X``.

    Returns
    -------
    Matrix
        Ids of genes without versions; of genes and samples that come twice, the first.

    Raises
    ------
    FileNotFoundError, ValueError
        For another suffix, files that are cut off, values that are no numbers, and matrices without a gene.
    ImportError
        For parquet without pyarrow and h5ad without anndata, with the command that installs them.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.expression import read_matrix
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tpm.csv"
    >>> _ = file.write_text("gene,s1,s2\\nENSG00000254647.6,1,2\\nENSG00000115263.14,0,4\\n")
    >>> read_matrix(file).x.to_pandas()
    gene    ENSG00000254647  ENSG00000115263
    sample
    s1                  1.0              0.0
    s2                  2.0              4.0
    """
    wanted = None if genes is None else without_version(genes)
    if isinstance(data, xr.DataArray):
        x = _of_array(data)
    elif isinstance(data, pd.DataFrame):
        x = _of_table(data, wanted, samples, columns)
    elif is_anndata(data):
        x = _of_anndata(data, layer)
    else:
        x = _of_file(Path(data), wanted, samples, columns, layer)
    if layer is not None and not (is_anndata(data) or str(data).endswith(".h5ad")):
        raise ValueError(f"`layer` is {layer!r}, but `data` is no AnnData, which alone has layers")
    return _finished(x, wanted)


def is_expression_file(path: Path) -> bool:
    """Whether the suffix is one that `read_matrix` knows, with or without .gz."""
    return kind_of(path) in SUFFIXES


def kind_of(path: Path) -> str:
    """The suffix of a file, without .gz."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _of_file(
    path: Path,
    wanted: pd.Index | None,
    samples: Sequence[str] | None,
    columns: Sequence[str],
    layer: str | None,
) -> xr.DataArray:
    if not is_expression_file(path):
        raise ValueError(f"`data` is {path}, expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"`data`: there is no file {path}")
    kind = kind_of(path)
    try:
        if kind == ".gct":
            return _gct(path, wanted)
        if kind == ".h5ad":
            return _h5ad(path, wanted, layer)
        table = _parquet(path) if kind == ".parquet" else _text(path, kind)
        return _of_table(table, wanted, samples, columns)
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"`data`: {path} cannot be read as {kind}: {' '.join(str(error).split())}"
        ) from error


# ------------------------------------------------------------------ GCT


def _opened(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _gct(path: Path, wanted: pd.Index | None) -> xr.DataArray:
    """The format of the Broad Institute: genes in rows, `#1.2` with Name and Description, `#1.3` with any metadata."""
    with _opened(path) as stream:
        version = stream.readline().strip()
        sizes = stream.readline().split()
        header = stream.readline().rstrip("\r\n").split("\t")
        if (
            version not in ("#1.2", "#1.3")
            or not all(s.isdecimal() for s in sizes)
            or len(sizes) != (2 if version == "#1.2" else 4)
        ):
            raise ValueError(
                f"`data`: {path} begins with {version[:20]!r} and {' '.join(sizes)[:20]!r}, expected #1.2 with two sizes or #1.3 with four"
            )
        rows, count, *extra = map(int, sizes)
        about, above = (extra[0], extra[1]) if extra else (1, 0)
        names = header[1 + about :]
        if len(names) != count:
            raise ValueError(f"`data`: {path} has {len(names)} samples, its second line says {count}")
        on_samples = [stream.readline().rstrip("\r\n").split("\t") for _ in range(above)]
        fields = [f"r{k}" for k in range(1 + about)] + [f"s{k}" for k in range(count)]
        dtypes: Any = {f: (np.float32 if f.startswith("s") else str) for f in fields}
        parts, seen = [], 0
        reader = pd.read_csv(
            stream,
            sep="\t",
            header=None,
            names=fields,
            dtype=dtypes,
            chunksize=ROWS,
            quoting=csv.QUOTE_NONE,
            index_col=False,
        )
        try:
            for part in reader:
                seen += len(part)
                parts.append(part if wanted is None else part[without_version(part["r0"]).isin(wanted)])
        except ValueError as error:
            raise ValueError(f"`data`: {path} holds something else than numbers: {error}") from error
    if seen != rows:
        raise ValueError(f"`data`: {path} has {seen} genes, its second line says {rows}; it may be cut off")
    table = pd.concat(parts)
    coords: dict[str, Any] = {"sample": names, "gene": table["r0"].to_numpy(dtype=object)}
    coords |= {
        _safe(n, coords): ("gene", table[f"r{k}"].fillna("").to_numpy(dtype=object))
        for k, n in enumerate(header[1 : 1 + about], 1)
    }
    coords |= {
        _safe(line[0], coords): ("sample", np.array(line[1 + about :], dtype=object)) for line in on_samples
    }
    return xr.DataArray(table[fields[1 + about :]].to_numpy().T, dims=("sample", "gene"), coords=coords)


def _safe(name: str, taken: Iterable[Any]) -> str:
    return f"file_{name}" if name in RESERVED or name in taken else name


# ------------------------------------------------------------------ tables


def _text(path: Path, kind: str) -> pd.DataFrame:
    """A table with ids in its first column; of R's tables, whose header has one field less, too."""
    with _opened(path) as stream:
        first = stream.readline().lstrip("\ufeff")
    separator = "," if kind == ".csv" else "\t"
    if kind == ".csv" and "," not in first and ";" in first:
        separator = ";"
    if separator not in first:
        raise ValueError(
            f"`data`: the header of {path} has no {'tab' if separator == chr(9) else 'comma'} in it"
        )
    table = pd.read_csv(path, sep=separator, low_memory=False, encoding="utf-8-sig")
    return _indexed(table)


def _indexed(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its ids as index: row names, or the first column."""
    plain = isinstance(table.index, pd.RangeIndex)
    if not plain:
        return table.set_axis(table.index.astype(str))
    ids = table.iloc[:, 0]
    if ids.dtype.kind == "f" and not (ids.dropna() % 1 == 0).all():
        raise ValueError(
            f"`data`: the first column, {table.columns[0]!r}, holds fractions, expected the ids of the rows"
        )
    return table.iloc[:, 1:].set_axis(ids.astype(str))


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return _indexed(pd.read_parquet(path))
    except ImportError as error:
        raise ImportError("reading parquet needs pyarrow: pip install pyarrow") from error


def _of_table(
    table: pd.DataFrame, wanted: pd.Index | None, samples: Sequence[str] | None, columns: Sequence[str]
) -> xr.DataArray:
    """Samples by genes from a table of either orientation."""
    table = table.set_axis(table.columns.astype(str), axis=1).set_axis(table.index.astype(str))
    missing = [c for c in table.columns if table[c].dtype.kind in "fiub" and table[c].isna().any()]
    rows = _samples_in_rows(table, wanted, samples, columns)
    about = _metadata(table, rows, columns)
    numbers = table.drop(columns=about)
    bad = [c for c in numbers.columns if numbers[c].dtype.kind not in "fiub"]
    if bad or not numbers.size:
        raise ValueError(
            f"`data`: column {bad[0]!r} holds text, such as {_first_text(numbers[bad[0]])!r}"
            if bad
            else "`data` holds no numbers"
        )
    inside = [c for c in missing if c in numbers.columns]
    if inside:
        raise ValueError(
            f"`data`: column {inside[0]!r} has {int(table[inside[0]].isna().sum())} empty entries"
        )
    values = numbers.to_numpy(dtype=np.float32)
    dims = ("sample", "gene") if rows else ("gene", "sample")
    coords: dict[str, Any] = {
        dims[0]: numbers.index.to_numpy(dtype=object),
        dims[1]: numbers.columns.to_numpy(dtype=object),
    }
    coords |= {_safe(c, coords): (dims[0], table[c].to_numpy(dtype=object)) for c in about}
    return xr.DataArray(values, dims=dims, coords=coords).transpose("sample", "gene")


def _first_text(column: pd.Series) -> str:
    numbers = pd.to_numeric(column, errors="coerce")
    return str(column[numbers.isna()].iloc[0])


def _metadata(table: pd.DataFrame, rows: bool, columns: Sequence[str]) -> list[str]:
    """Columns that describe the rows: those named, text, and beside ids of ENSEMBL whatever is none."""
    ensembl = [c for c in table.columns if _is_ensembl(c)]
    described = []
    for c in table.columns:
        text = table[c].dtype.kind not in "fiub" and pd.to_numeric(table[c], errors="coerce").isna().all()
        other = rows and len(ensembl) > len(table.columns) / 2 and not _is_ensembl(c)
        if c in columns or text or other:
            described.append(c)
    return described


def _is_ensembl(name: str) -> bool:
    return VERSION.match(f"{name}.1" if "." not in name else name) is not None


def _samples_in_rows(
    table: pd.DataFrame, wanted: pd.Index | None, samples: Sequence[str] | None, columns: Sequence[str]
) -> bool:
    down, across = table.index, table.columns
    if samples is not None:
        hits = int(down.isin(list(samples)).sum()), int(across.isin(list(samples)).sum())
        if not any(hits):
            raise ValueError(
                f"`data` has none of the samples of the sample table, {', '.join(repr(str(s)) for s in list(samples)[:2])}, ...; its ids are "
                f"{', '.join(map(str, down[:2]))}, ... and {', '.join(map(str, across[:2]))}, ..."
            )
        return hits[0] > hits[1]
    if any(c in across for c in columns):
        return True
    if wanted is not None:
        hits = int(without_version(across).isin(wanted).sum()), int(without_version(down).isin(wanted).sum())
        if hits[0] != hits[1]:
            return hits[0] > hits[1]
    return sum(map(_is_ensembl, down)) <= sum(map(_is_ensembl, across))


# ------------------------------------------------------------------ AnnData and arrays


def _h5ad(path: Path, wanted: pd.Index | None, layer: str | None) -> xr.DataArray:
    try:
        import anndata
    except ImportError as error:
        raise ImportError(f"reading .h5ad needs anndata: {install_hint('anndata')}") from error
    try:
        adata = anndata.read_h5ad(path, backed="r")
    except (OSError, KeyError) as error:
        raise ValueError(f"`data`: {path} cannot be read as .h5ad: {' '.join(str(error).split())}") from error
    try:
        x = _of_anndata(adata, layer)
        keep = (
            slice(None) if wanted is None else np.flatnonzero(without_version(x["gene"].values).isin(wanted))
        )
        return x.isel(gene=keep).compute()
    finally:
        adata.file.close()


def _of_anndata(adata: Any, layer: str | None) -> xr.DataArray:
    return annotated_array(adata, ("sample", "gene"), layer=layer, name="data")


def _of_array(x: xr.DataArray) -> xr.DataArray:
    if x.ndim != 2 or any(d not in x.indexes for d in x.dims):
        raise ValueError(f"`data` has dims {x.dims}, expected two with labels: samples and genes")
    return x.rename({d: n for d, n in zip(x.dims, ("sample", "gene"), strict=True) if d != n})


# ------------------------------------------------------------------ what all have to be


def _finished(x: xr.DataArray, wanted: pd.Index | None) -> Matrix:
    """Ids without versions, each once; only wanted genes; numbers that are finite."""
    problems: dict[str, str] = {}
    x = x.assign_coords(
        sample=x["sample"].values.astype(str).astype(object),
        gene=np.array(without_version(x["gene"].values), dtype=object),
    )
    if wanted is not None:
        present = pd.Index(x["gene"].values)
        absent = wanted[~wanted.isin(present)]
        if len(absent):
            problems["input_filter"] = (
                f"{len(absent)} of {len(wanted)} genes are not in the data, such as {', '.join(absent[:3])}"
            )
        x = x.isel(gene=np.flatnonzero(present.isin(wanted)))
    for dim in ("sample", "gene"):
        twice = pd.Index(x[dim].values).duplicated()
        if twice.any():
            some = ", ".join(pd.Index(x[dim].values)[twice][:3])
            problems[f"duplicate {dim}s"] = (
                f"{int(twice.sum())} {dim}s come a second time and are left out there, such as {some}"
            )
            x = x.isel({dim: ~twice})
    if wanted is not None and len(present) and not x.sizes["gene"]:
        raise ValueError(f"`input_filter`: none of its {len(wanted)} genes is in `data`, such as {wanted[0]}; `data` has {present[0]}, ...")  # fmt: skip
    if not x.size:
        raise ValueError(
            f"`data` has {x.sizes['sample']} samples and {x.sizes['gene']} genes after selection, expected some"
        )
    x = _with_symbol(x).astype(np.float32).compute()
    bad = ~np.isfinite(x.values)
    if bad.any():
        n, g = np.argwhere(bad)[0]
        raise ValueError(
            f"`data` has {int(bad.sum())} values that are missing or not finite, the first in sample {x['sample'].values[n]} at gene {x['gene'].values[g]}"
        )
    x.name = "expression"
    return Matrix(x, problems)


def _with_symbol(x: xr.DataArray) -> xr.DataArray:
    """The coord of gene symbols under the name `symbol`."""
    by_name = {str(c).lower(): c for c, v in x.coords.items() if v.dims == ("gene",) and c != "gene"}
    column = next((by_name[s] for s in SYMBOLS if s in by_name), None)
    if column is None:
        return x
    texts = pd.Series(np.asarray(x[column].values, dtype=object))
    symbols = texts.where(texts.notna() & (texts.astype(str) != ""), pd.Series(x["gene"].values)).astype(str)
    return x.assign_coords(symbol=("gene", symbols.to_numpy(dtype=object)))
