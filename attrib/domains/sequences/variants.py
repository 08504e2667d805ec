"""Variants in VCF files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from attrib.domains.sequences.fasta import text_of
from attrib.domains.sequences.letters import fault
from attrib.domains.sequences.records import PROBLEM_COLUMNS


class Variants(NamedTuple):
    """Variants read from a file, and what was wrong.

    Attributes
    ----------
    variants : DataFrame
        A row per alternative allele: `chrom`, `pos` (counted from 1), `ref`, `alt`, and the names as index, called
        `variant`: the file's ID, else `chrom:pos:ref>alt`.
    problems : DataFrame
        A row per problem: `record`, `line` (counted from 1), `problem` in words, and whether the record was `kept`.
    """

    variants: pd.DataFrame
    problems: pd.DataFrame


def read_vcf(path: str | Path) -> Variants:
    """The variants of a VCF file.

    Parameters
    ----------
    path : path
        Plain or gzip.

    Returns
    -------
    Variants
        Alleles that are no letters (symbols, breakends, `*`, missing ones), and lines that are no variants, are left out
        and stand in `problems`. Genotypes are not read.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is empty.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.vcf"
    >>> _ = path.write_text("##fileformat=VCFv4.2\\n#CHROM\\tPOS\\tID\\tREF\\tALT\\nchr1\\t7\\trs1\\tA\\tG,<DEL>\\n")
    >>> found = read_vcf(path)
    >>> found.variants
            chrom  pos ref alt
    variant
    rs1      chr1    7   A   G
    >>> found.problems[["record", "line", "problem"]].values.tolist()
    [['rs1', 3, "its alternative allele is '<DEL>', no letters"]]
    """
    rows: list[tuple[str, str, int, str, str]] = []
    problems: list[tuple[str, int, str, bool]] = []
    with text_of(path) as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#") or not line.strip():
                continue
            words = line.rstrip("\r\n").split("\t")
            if len(words) < 5 or not words[1].isdecimal() or int(words[1]) < 1 or fault(words[3]):
                why = "expected chromosome, position (from 1), ID, letters of the reference and alternatives, between tabs"
                problems.append((" ".join(words[:3])[:60], number, why, False))
                continue
            for alt in words[4].split(","):
                name = words[2] if words[2] not in (".", "") else f"{words[0]}:{words[1]}:{words[3]}>{alt}"
                if fault(alt):
                    problems.append((name, number, f"its alternative allele is {alt!r}, no letters", False))
                else:
                    rows.append((name, words[0], int(words[1]), words[3].upper(), alt.upper()))
    table = pd.DataFrame(rows, columns=["variant", "chrom", "pos", "ref", "alt"]).set_index("variant")
    return Variants(table, pd.DataFrame(problems, columns=PROBLEM_COLUMNS))


def place_of(variant: dict) -> int:
    """Where a variant of a table begins, counted from 1.

    Raises
    ------
    ValueError
        If its `pos` is no whole number of at least 1.
    """
    try:
        place = int(variant["pos"])
        if place < 1 or place != float(variant["pos"]):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"its pos is {variant['pos']!r}, expected a whole number of at least 1") from None
    return place
