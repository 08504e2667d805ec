"""Variants from VCF files, and both alleles of variants with their flanks from a genome."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from attrib.domains.sequences.alphabet import fault
from attrib.domains.sequences.fasta import PROBLEM_COLUMNS, Records, text_of
from attrib.domains.sequences.intervals import Interval, sequences_of


class Variants(NamedTuple):
    """Variants read from a file, and the problems of the file.

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
    """Read the variants of a VCF file.

    Parameters
    ----------
    path : path
        Plain or gzip.

    Returns
    -------
    Variants
        With the file's `line` of each. Alleles other than letters (symbols, breakends, `*`, missing ones), and lines that are not variants, are left out and
        listed in `problems`. Genotypes are not read.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is empty, or BCF.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.vcf"
    >>> _ = path.write_text("##fileformat=VCFv4.2\\n#CHROM\\tPOS\\tID\\tREF\\tALT\\nchr1\\t7\\trs1\\tA\\tG,<DEL>\\n")
    >>> vcf = read_vcf(path)
    >>> vcf.variants
            chrom  pos ref alt  line
    variant
    rs1      chr1    7   A   G     3
    >>> vcf.problems[["record", "line", "problem"]].values.tolist()
    [['rs1', 3, "its alternative allele is '<DEL>', no letters"]]
    """
    rows: list[tuple[str, str, int, str, str, int]] = []
    problems: list[tuple[str, int, str, bool]] = []
    with text_of(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1 and line.startswith("BCF"):
                raise ValueError(
                    f"{path} is BCF, the binary form; convert it: bcftools view {path} > variants.vcf"
                )
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
                    rows.append((name, words[0], int(words[1]), words[3].upper(), alt.upper(), number))
    table = pd.DataFrame(rows, columns=["variant", "chrom", "pos", "ref", "alt", "line"]).set_index("variant")
    return Variants(table, pd.DataFrame(problems, columns=PROBLEM_COLUMNS))


def in_lines(problems: pd.DataFrame, variants: pd.DataFrame) -> pd.DataFrame:
    """Problems whose `line` is a row of a table, counted from 1, by the lines of the file where the table has these."""
    if "line" not in variants or not len(problems):
        return problems
    return problems.assign(line=variants["line"].to_numpy()[problems["line"].to_numpy() - 1])


def position_of(variant: dict) -> int:
    """The position at which a variant of a table begins, counted from 1.

    Raises
    ------
    ValueError
        If its `pos` is not a whole number of at least 1.
    """
    try:
        position = int(variant["pos"])
        if position < 1 or position != float(variant["pos"]):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"its pos is {variant['pos']!r}, expected a whole number of at least 1") from None
    return position


class Alleles(NamedTuple):
    """Sequences with the reference and with the alternative allele, and the variants that were left out.

    Attributes
    ----------
    reference, alternative : DataFrame
        A row per variant, in the same order and by name: `sequence`, `chrom`, `pos`, `ref`, `alt`; the reference has `start`
        and `end` too. `one_hot` takes both as they are.
    problems : DataFrame
        `record`, `line` (of the file as `variants` has it, else the row, counted from 1), `problem` in words, and whether the record was `kept`.
    """

    reference: pd.DataFrame
    alternative: pd.DataFrame
    problems: pd.DataFrame


def read_alleles(
    variants: pd.DataFrame, fasta: str | Path, *, width: int, index: bool | None = None
) -> Alleles:
    """Read both alleles of variants, of any lengths, with their flanks from a genome.

    Parameters
    ----------
    variants : DataFrame
        A row per variant: `chrom`, `pos` (counted from 1), `ref`, `alt`, as `read_vcf` returns them. The index
        has their names.
    fasta : path
        The genome, plain or gzip.
    width : int
        Letters per sequence. The variant begins at position `width // 2`. After a longer or shorter alternative fewer or
        more letters of the genome follow, so that both alleles have the same length.
    index : bool, optional
        As in `read_bed`.

    Returns
    -------
    Alleles
        Left out, with the reason in `problems`, are variants whose flanks reach beyond the chromosome, and variants whose
        reference differs from the genome.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, columns are missing, or `width` is below 2.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "g.fa"
    >>> _ = path.write_text(">c\\nAACCGGTTAACC\\n")
    >>> table = pd.DataFrame({"chrom": ["c", "c"], "pos": [5, 5], "ref": ["G", "GG"], "alt": ["A", "G"]})
    >>> both = read_alleles(table, path, width=6)
    >>> both.reference.sequence.tolist(), both.alternative.sequence.tolist()
    (['ACCGGT', 'ACCGGT'], ['ACCAGT', 'ACCGTT'])
    """
    missing = [c for c in ("chrom", "pos", "ref", "alt") if c not in variants]
    if missing:
        raise ValueError(f"`variants` lacks the columns {missing}; it has {list(variants)}")
    if width < 2:
        raise ValueError(f"`width` is {width}, expected at least 2")
    records = Records()
    wanted, rows = _intervals(variants, width, records)
    for interval, letters in sequences_of(wanted, fasta, index, records):
        _add(records, interval, letters, rows[interval.line], width)
    reading = records.reading()
    both = reading.sequences
    alternative = both.drop(columns=["sequence", "start", "end"], errors="ignore")
    alternative = alternative.rename(columns={"alternative": "sequence"})
    return Alleles(
        both.drop(columns="alternative", errors="ignore"), alternative, in_lines(reading.problems, variants)
    )


def _intervals(
    variants: pd.DataFrame, width: int, records: Records
) -> tuple[list[Interval], dict[int, dict[str, Any]]]:
    """The interval to read for each variant, and its row by its number. Invalid variants are refused in `records`."""
    named = variants.index.name == "variant"
    rows: dict[int, dict[str, Any]] = {}
    wanted = []
    for number, (label, row) in enumerate(zip(variants.index, variants.to_dict("records"), strict=True), 1):
        name = str(label) if named else f"{row['chrom']}:{row['pos']}:{row['ref']}>{row['alt']}"
        if problem := _fault(row, width):
            records.refuse(name, number, problem)
            continue
        rows[number] = row
        start = position_of(row) - 1 - width // 2
        end = start + width + max(len(row["ref"]) - len(row["alt"]), 0)
        wanted.append(Interval(str(row["chrom"]), start, end, name, "+", number))
    return wanted, rows


def _fault(row: dict[str, Any], width: int) -> str:
    """What is wrong with a row of the table, in words; empty if nothing is."""
    try:
        position_of(row)
    except ValueError as error:
        return str(error)
    for name in ("ref", "alt"):
        wrong = fault(row[name]) if isinstance(row[name], str) else "it is no text"
        if wrong:
            return f"its {name} is {row[name]!r}: {wrong}"
        if len(row[name]) > width - width // 2:
            return (
                f"its {name} has {len(row[name])} letters; of {width} there are {width - width // 2} for it"
            )
    return ""


def _add(records: Records, interval: Interval, letters: str, row: dict[str, Any], width: int) -> None:
    """Add both alleles to `records`, or refuse a variant whose reference differs from the genome."""
    at, ref, alt = width // 2, row["ref"], row["alt"]
    present = letters[at : at + len(ref)]
    if present.upper().replace("U", "T") != ref.upper().replace("U", "T"):
        problem = f"the genome has {present} at {interval.chrom}:{row['pos']}, not {ref!r}"
        return records.refuse(interval.name, interval.line, problem)
    edited = letters[:at] + alt + letters[at + len(ref) :]
    locus = {"chrom": interval.chrom, "start": interval.start, "end": interval.start + width}
    both = {"sequence": letters[:width], "alternative": edited[:width]}
    records.add(
        interval.name, interval.line, {**both, **locus, "pos": position_of(row), "ref": ref, "alt": alt}
    )
