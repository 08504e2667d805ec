"""Gene sets of .gmt files."""

from __future__ import annotations

from pathlib import Path

from attrib.domains.expression.genes import without_version


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
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
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
