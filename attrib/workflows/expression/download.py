"""The data of the study: a matrix with labels and donors, from files or the public ones of GTEx, fetched once."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from attrib._install import install_hint
from attrib.domains.expression import gene_list, read_matrix, with_samples
from attrib.domains.expression.annotation import known_samples, read_samples
from attrib.domains.expression.matrices import Matrix, is_expression_file

SOURCE = "https://storage.googleapis.com/adult-gtex"
MATRIX = "bulk-gex/v8/rna-seq/GTEx_Analysis_2017-06-05_v8_RNASeQCv1.1.9_gene_tpm.gct.gz"
SAMPLES = "annotations/v8/metadata-files/GTEx_Analysis_v8_Annotations_SampleAttributesDS.txt"
LABEL, GROUP = "SMTSD", "^([^-]+-[^-]+)"


class Files(NamedTuple):
    """An expression matrix and its sample table."""

    matrix: Path
    samples: Path | None


def download(folder: str | Path, source: str | None = None, progress: bool = False) -> Files:
    """Fetch the public TPM matrix of GTEx (v8, 1.6 GB) and its sample table; what is there already stays.

    Parameters
    ----------
    folder : path
        Created if it does not exist.
    source : str, optional
        Another address in front of the files' paths, such as a mirror; default: `SOURCE`.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    Files

    Raises
    ------
    ImportError
        Without pooch: ``pip install -e '.[download]'``.
    OSError
        If a file cannot be fetched, naming its address. A file that is cut off or damaged leaves nothing.

    Examples
    --------
    >>> from attrib.workflows.expression import download, train
    >>> files = download("gtex")  # doctest: +SKIP
    >>> train(files.matrix, "model", sample_table=files.samples, label="SMTSD", group="^([^-]+-[^-]+)")  # doctest: +SKIP
    """
    try:
        import pooch
    except ImportError as error:
        raise ImportError(f"downloads need pooch: {install_hint('download')}") from error
    pooch.get_logger().setLevel("ERROR")
    base = (source or SOURCE).rstrip("/")
    files = []
    for path in (MATRIX, SAMPLES):
        file = Path(folder) / Path(path).name
        if not file.is_file():
            try:
                pooch.retrieve(
                    f"{base}/{path}", known_hash=None, fname=file.name, path=folder, progressbar=progress
                )
                _read_through(file)
            except Exception as error:  # of the network, in many classes
                file.unlink(missing_ok=True)
                raise OSError(
                    f"`download`: {base}/{path} cannot be fetched: {' '.join(str(error).split())[:200]}"
                ) from error
        files.append(file)
    return Files(*files)


def _read_through(file: Path) -> None:
    """Compare a file of gzip with the checksum at its end; a server need not say how long a file is."""
    if file.suffix == ".gz":
        with gzip.open(file) as stream:
            while stream.read(1 << 22):
                pass


def local_files(path: str | Path) -> Files:
    """The matrix and the sample table of a folder, or a matrix alone.

    Raises
    ------
    FileNotFoundError, ValueError
        For a folder with no matrix or several, naming them.
    """
    folder = Path(path)
    if not folder.is_dir():
        return Files(folder, None)
    files = sorted(p for p in folder.iterdir() if p.is_file() and is_expression_file(p))
    tables = [
        p for p in files if any(w in p.name.lower() for w in ("sample", "annotation", "metadata", "pheno"))
    ]
    matrices = [p for p in files if p not in tables]
    if not matrices:
        raise FileNotFoundError(
            f"`data`: {folder} holds no expression matrix (.gct, .csv, .tsv, .parquet, .h5ad)"
        )
    if len(matrices) > 1 or len(tables) > 1:
        names = ", ".join(p.name for p in (matrices if len(matrices) > 1 else tables))
        raise ValueError(f"`data`: {folder} holds {names}; name one file")
    return Files(matrices[0], tables[0] if tables else None)


def read_expression(
    data: Any,
    *,
    sample_table: Any = None,
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
    data, sample_table, label, group, input_filter, layer
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
        data, sample_table = files.matrix, files.samples if sample_table is None else sample_table
    table = None if sample_table is None else read_samples(sample_table)
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
