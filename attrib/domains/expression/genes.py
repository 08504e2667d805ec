"""Ids of genes: versions, lists and sets in files, and matrices brought into the order of a model's genes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import text_in
from attrib._public import public
from attrib.labels.frames import matched

VERSION = re.compile(r"^(ENS[A-Z]*\d{6,})\.\d+(_PAR_Y)?$")
MOST_MISSING = 0.05  # share of a model's genes that may be absent


@public
def without_version(ids: Sequence[str] | np.ndarray | pd.Index) -> pd.Index:
    """Ids of ENSEMBL without their version: ``ENSG00000254647.6`` becomes ``ENSG00000254647``.

    Parameters
    ----------
    ids : sequence of str
        Other ids, such as symbols with a dot (``HLA-A``, ``RP11-34P13.7``), stay as they are.

    Returns
    -------
    Index
        The mark ``_PAR_Y``, which tells the copy on chromosome Y from that on X, is kept.

    Examples
    --------
    >>> from attrib.domains.expression import without_version
    >>> without_version(["ENSG00000254647.6", "ENSG00000182378.14_PAR_Y", "RP11-34P13.7"]).tolist()
    ['ENSG00000254647', 'ENSG00000182378_PAR_Y', 'RP11-34P13.7']
    """
    return pd.Index([VERSION.sub(lambda m: m[1] + (m[2] or ""), str(i).strip()) for i in ids])


@public
def gene_list(file: str | Path) -> list[str]:
    """Genes of a text file: the first field of each line, without versions.

    Parameters
    ----------
    file : path
        An id a line; empty lines and lines that begin with ``#`` are left out.

    Returns
    -------
    list of str
        In the file's order, each once.

    Raises
    ------
    FileNotFoundError, ValueError
        For a file that does not exist or holds no id.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from attrib.domains.expression import gene_list
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "genes.txt"
    ...     _ = file.write_text("# markers\\nENSG00000254647.7\\nENSG00000115263\\n")
    ...     gene_list(file)
    ['ENSG00000254647', 'ENSG00000115263']
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"`input_filter`: there is no file {path}")
    lines = [line.strip() for line in text_in("input_filter", path).splitlines()]
    ids = [re.split(r"[\s,;]+", line)[0].strip('"') for line in lines if line and not line.startswith("#")]
    if not ids:
        raise ValueError(f"`input_filter`: {path} holds no gene, expected an id a line")
    return list(dict.fromkeys(without_version(ids)))


class Aligned(NamedTuple):
    """A matrix in the order of a model's genes.

    Attributes
    ----------
    x : DataArray
        Samples by the model's genes.
    missing : list of str
        Genes that the matrix lacks; they hold what `fill` says.
    """

    x: xr.DataArray
    missing: list[str]


@public
def aligned(
    x: xr.DataArray, genes: Sequence[str], fill: np.ndarray | float, *, gene: str = "gene"
) -> Aligned:
    """Bring a matrix into the order of a model's genes, matched by their ids.

    Parameters
    ----------
    x : DataArray
        With the dim `gene`. Genes that the model does not know are left out.
    genes : sequence of str
        The model's.
    fill : float, array or Series (genes,)
        Expression of the genes that `x` lacks, such as the mean of the training samples.
    gene : str, default "gene"
        The dim.

    Returns
    -------
    Aligned

    Raises
    ------
    ValueError
        If more than a twentieth of the model's genes are missing.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.expression import aligned
    >>> x = xr.DataArray([[1.0, 2.0]], dims=("sample", "gene"), coords={"gene": ["ENSG00000000002.1", "ENSG00000000001.1"]})
    >>> aligned(x, ["ENSG00000000001", "ENSG00000000002"], 0.0).x.values
    array([[2., 1.]])
    """
    if gene not in x.coords:
        raise ValueError(
            f"`gene` is {gene!r}, expected a labelled dim of `x`, which has {', '.join(map(str, x.indexes)) or 'none'}"
        )
    if isinstance(fill, pd.Series):
        of_model = xr.DataArray(np.zeros(len(genes)), dims=gene, coords={gene: list(genes)})
        labelled = xr.DataArray(fill.to_numpy(), dims=gene, coords={gene: fill.index})
        fill = matched(labelled, of_model, "fill", other="genes").values
    wanted, present = without_version(list(genes)), without_version(x[gene].values)
    if present.has_duplicates:
        x = x.isel({gene: ~present.duplicated()})
        present = present[~present.duplicated()]
    place = present.get_indexer(wanted)
    absent = place < 0
    missing = wanted[absent].tolist()
    if len(missing) > MOST_MISSING * len(wanted):
        raise ValueError(
            f"`data` lacks {len(missing)} of the {len(wanted)} genes of the model, such as {', '.join(missing[:3])} (it has "
            f"{', '.join(map(str, present[:3]))}, ...); at most {MOST_MISSING:.0%} may be missing"
        )
    rows = x.isel({gene: np.where(absent, 0, place)})
    labels: dict[str, object] = {gene: (gene, np.array(wanted, dtype=object))}
    if "symbol" in x.coords:
        labels["symbol"] = (gene, np.where(absent, wanted, rows["symbol"].values).astype(object))
    rows = rows.assign_coords(labels)
    if missing:
        values = xr.DataArray(np.broadcast_to(np.asarray(fill, dtype=x.dtype), len(wanted)), dims=gene)
        rows = rows.where(xr.DataArray(~absent, dims=gene), values)
    return Aligned(rows, missing)


@public
def read_gmt(file: str | Path) -> dict[str, list[str]]:
    """Gene sets: a line each, of a name, a description and genes, with tabs between.

    Parameters
    ----------
    file : path

    Returns
    -------
    dict of str to list of str
        Genes of each set, each once; versions of ENSEMBL ids are cut.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, and for lines of fewer than three fields, naming the line.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from attrib.domains.expression import read_gmt
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "sets.gmt"
    >>> _ = file.write_text("islet\\thormones\\tINS\\tGCG\\n")
    >>> read_gmt(file)
    {'islet': ['INS', 'GCG']}
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"`gene_sets`: there is no file {path}")
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(text_in("gene_sets", path).splitlines(), 1):
        if not line.strip():
            continue
        name, *fields = line.rstrip("\r\n").split("\t")
        genes = [g.strip() for g in fields[1:] if g.strip()]
        if not genes:
            raise ValueError(
                f"`gene_sets`: line {number} of {path} has {len(fields) + 1} fields, expected a name, a description and "
                "genes with tabs between"
            )
        if name in sets:
            raise ValueError(f"`gene_sets`: line {number} of {path} names {name!r} a second time")
        sets[name] = list(dict.fromkeys(without_version(genes)))
    if not sets:
        raise ValueError(f"`gene_sets`: {path} holds no set")
    return sets
