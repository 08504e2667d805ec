"""Places in a genome: intervals from BED files and variants from VCF files, with their sequences and alleles.

BED is read here, not by pybedtools, which needs a compiled program.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from attrib._install import install_hint
from attrib._public import public
from attrib.domains.sequences.encoding import fault, other_strand
from attrib.domains.sequences.tables import PROBLEM_COLUMNS, Reading, Records, entries, text_of

GZIP = b"\x1f\x8b"
OTHERWISE = "chr"  # the reason for which all chromosomes are refused that a genome has with this before their names, or without
HEADER = 4096  # bytes that a record's header may have


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


@public
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


@public
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
    wanted, rows = _surroundings(variants, width, records)
    for interval, letters in sequences_of(wanted, fasta, index, records):
        _add(records, interval, letters, rows[interval.line], width)
    reading = records.reading()
    both = reading.sequences
    alternative = both.drop(columns=["sequence", "start", "end"], errors="ignore")
    alternative = alternative.rename(columns={"alternative": "sequence"})
    return Alleles(
        both.drop(columns="alternative", errors="ignore"), alternative, in_lines(reading.problems, variants)
    )


def _surroundings(
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


class Interval(NamedTuple):
    """A line of a BED file.

    Attributes
    ----------
    chrom : str
    start, end : int
        Counted from 0; `end` is not included.
    name, strand : str
        The strand is "+" where the file has none.
    line : int
        Counted from 1.
    """

    chrom: str
    start: int
    end: int
    name: str
    strand: str
    line: int


@public
def read_bed(
    path: str | Path,
    fasta: str | Path,
    *,
    width: int | None = None,
    summits: bool = False,
    index: bool | None = None,
) -> Reading:
    """Read the sequences of a BED file's intervals from a genome.

    Parameters
    ----------
    path : path
        BED, plain or gzip: chromosome, start (counted from 0), end (not included), and optionally name, score and strand.
        Lines that begin with `#`, `track` or `browser` are skipped.
    fasta : path
        The genome, plain or gzip.
    width : int, optional
        Bases per sequence: intervals are cut or widened around their middle; default: each interval as it is.
    summits : bool, default False
        Whether `width` goes around the summit that peak callers write into column 10 of narrowPeak (bases from the start), and
        not around the middle.
    index : bool, optional
        Whether to look intervals up by an index of the FASTA file, with pyfaidx, instead of reading all of it. Default:
        if there is an index beside it (`.fai`) and pyfaidx is installed. True creates a missing index.

    Returns
    -------
    Reading
        `sequences`: `sequence`, as read on the interval's strand (the reverse complement on "-"), `chrom`, `start`, `end`,
        `strand`, in the order of the BED file. Names are those of the fourth column, else `chrom:start-end(strand)`. Left
        out and listed in `problems` are lines that are not intervals, intervals that reach beyond their chromosome, and
        sequences with letters other than A, C, G, T, U, N. A chromosome that the genome lacks is listed once, with the
        names that it has; that it says `1` for `chr1` is said once for all.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is empty or not FASTA; `summits` without `width`; and an index of another file.
    ImportError
        With `index=True`, if pyfaidx is missing.

    Notes
    -----
    Memory without an index: the longest chromosome, and the result.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "g.fa").write_text(">chr1\\nAACCGGTT\\nACGT\\n")
    >>> _ = (folder / "a.bed").write_text("chr1\\t1\\t4\\tfirst\\t0\\t+\\nchr1\\t1\\t4\\tother\\t0\\t-\\nchr1\\t9\\t13\\n")
    >>> reading = read_bed(folder / "a.bed", folder / "g.fa")
    >>> reading.sequences
           sequence chrom  start  end strand
    sample
    first       ACC  chr1      1    4      +
    other       GGT  chr1      1    4      -
    >>> reading.problems.problem[0]
    'chr1 has 12 bases'
    """
    if summits and width is None:
        raise ValueError("`summits` is True, but `width` is missing: bases around the summit")
    records = Records()
    intervals = list(_intervals(path, width, summits, records))
    for interval, letters in sequences_of(intervals, fasta, index, records):
        stranded = other_strand(letters) if interval.strand == "-" else letters
        row = {
            "sequence": stranded,
            "chrom": interval.chrom,
            "start": interval.start,
            "end": interval.end,
            "strand": interval.strand,
        }
        records.add(interval.name, interval.line, row)
    return records.reading()


def _intervals(path: str | Path, width: int | None, summits: bool, records: Records) -> Iterator[Interval]:
    """The lines of a BED file that are intervals."""
    if width is not None and (isinstance(width, bool) or width < 1):
        raise ValueError(f"`width` is {width}, expected at least 1")
    with text_of(path) as file:
        for number, line in enumerate(file, 1):
            words = [
                w.strip() for w in line.split("\t" if "\t" in line.strip() else None)
            ]  # names may have spaces
            if not any(words) or line.startswith("#") or words[0] in ("track", "browser"):
                continue
            try:
                yield _interval(words, number, width, summits)
            except ValueError as error:
                records.refuse(" ".join(words[:3]), number, str(error))


def _interval(words: list[str], line: int, width: int | None, summits: bool) -> Interval:
    if len(words) < 3 or not (words[1].isdecimal() and words[2].isdecimal()):
        raise ValueError("expected a chromosome, a start and an end, two numbers of at least 0")
    start, end = int(words[1]), int(words[2])
    if start >= end:
        raise ValueError(f"it starts at {start} and ends at {end}; a start is below its end")
    strand = words[5] if len(words) > 5 and words[5] not in (".", "") else "+"
    if strand not in ("+", "-"):
        raise ValueError(f"its strand is {strand!r}, expected + or -")
    if width is not None:
        middle = start + _summit(words) if summits else (start + end) // 2
        start = middle - width // 2
        end = start + width
    name = words[3] if len(words) > 3 and words[3] not in (".", "") else f"{words[0]}:{start}-{end}({strand})"
    return Interval(words[0], start, end, name, strand, line)


def _summit(words: list[str]) -> int:
    """Bases from the start of a peak to its summit.

    Raises
    ------
    ValueError
        If column 10 has none: it is missing, or -1.
    """
    if len(words) < 10 or not words[9].isdecimal():
        raise ValueError(
            f"its column 10 is {words[9] if len(words) > 9 else 'missing'!r}, expected the summit of narrowPeak, from 0"
        )
    return int(words[9])


def sequences_of(
    intervals: Iterable[Interval], fasta: str | Path, index: bool | None, records: Records
) -> list[tuple[Interval, str]]:
    """The intervals inside of the genome, with their letters on its + strand. The others are refused in `records`."""
    wanted = list(intervals)
    read = _looked_up if _indexed(Path(fasta), index) else _streamed
    letters_of, names = read(wanted, Path(fasta))
    kind = {w.chrom: OTHERWISE if _otherwise(w.chrom) in names else w.chrom for w in wanted}
    lacking = Counter(kind[w.chrom] for k, w in enumerate(wanted) if k not in letters_of)
    inside = []
    for k, interval in enumerate(wanted):
        size, letters = letters_of.get(k, (None, ""))
        if size is None:
            if count := lacking.pop(kind[interval.chrom], 0):
                records.refuse(interval.chrom, interval.line, _lacks(fasta, interval.chrom, count, names))
        elif interval.start < 0 or interval.end > size:
            problem = f"{interval.chrom} has {size} bases"
            records.refuse(
                interval.name,
                interval.line,
                problem if interval.end > size else f"it starts at {interval.start}",
            )
        else:
            inside.append((interval, letters))
    return inside


def _otherwise(chrom: str) -> str:
    """The chromosome's name in genomes that say `1` for `chr1`, or the other way round."""
    return chrom.removeprefix("chr") if chrom.startswith("chr") else f"chr{chrom}"


def _lacks(fasta: str | Path, chrom: str, count: int, names: list[str]) -> str:
    """That a genome has no such chromosome, or calls all of them otherwise, and what its own are called."""
    if _otherwise(chrom) in names:
        return f"{fasta} has no {chrom}; it has {_otherwise(chrom)}: chromosomes are named otherwise there ({count} intervals)"
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{fasta} has no {chrom} ({count} intervals); its records are {listed}"


Letters = dict[int, tuple[int | None, str]]


def _streamed(wanted: list[Interval], fasta: Path) -> tuple[Letters, list[str]]:
    """Chromosome size and letters of each interval, by its number, with one chromosome in memory at a time; and all names."""
    by_chrom: dict[str, list[int]] = {}
    for k, interval in enumerate(wanted):
        by_chrom.setdefault(interval.chrom, []).append(k)
    letters: Letters = {}
    names = []
    for e in entries(fasta):
        names.append(e.name)
        for k in by_chrom.pop(e.name, []):
            letters[k] = len(e.sequence), e.sequence[max(wanted[k].start, 0) : wanted[k].end]
    return letters, names


def _looked_up(wanted: list[Interval], fasta: Path) -> tuple[Letters, list[str]]:
    """As `_streamed`, by the file's index."""
    import pyfaidx

    letters: Letters = {}
    try:
        genome = pyfaidx.Fasta(str(fasta), as_raw=True)
    except (
        pyfaidx.FastaIndexingError,
        pyfaidx.UnsupportedCompressionFormat,
        ValueError,
        ImportError,
    ) as error:
        raise ValueError(f"{fasta} cannot be indexed: {error}; pass index=False to read all of it") from error
    with genome:
        _check_index(genome, fasta, {w.chrom for w in wanted})
        for k, interval in enumerate(wanted):
            if interval.chrom in genome:
                size = len(genome[interval.chrom])
                inside = interval.start >= 0 and interval.end <= size
                letters[k] = (
                    size,
                    str(genome[interval.chrom][interval.start : interval.end]) if inside else "",
                )
        return letters, list(genome.keys())


def _check_index(genome: Any, fasta: Path, chroms: Iterable[str]) -> None:
    """Raise if the index is of another file: where it says that a record begins and ends, there must be the record's header and end."""
    with fasta.open("rb") as raw:
        if raw.read(2) == GZIP:
            return  # offsets are those of the unpacked letters
        for chrom in chroms:
            if chrom not in genome:
                continue
            entry = genome.faidx.index[chrom]
            raw.seek(max(0, entry.offset - HEADER))
            above = raw.read(min(HEADER, entry.offset)).rstrip(b"\r\n").rpartition(b"\n")[2]
            lines, over = divmod(entry.rlen, entry.lenc) if entry.lenc else (0, 0)
            raw.seek(entry.offset + lines * entry.lenb + over)
            below = raw.read(HEADER).lstrip(b"\r\n")[:1]
            if above[:1] != b">" or above[1:].split()[:1] != [chrom.encode()] or below not in (b"", b">"):
                raise ValueError(
                    f"{fasta}.fai is the index of another file: {chrom} is not where it says; delete it, and it is made anew"
                )


def _indexed(fasta: Path, index: bool | None) -> bool:
    """Whether to use an index: if `index` is True, or if it is None and an index and pyfaidx exist."""
    if not fasta.is_file():
        raise FileNotFoundError(f"there is no file {fasta}")
    if importlib.util.find_spec("pyfaidx") is not None:
        with fasta.open("rb") as raw:
            packed = (
                raw.read(2) == GZIP
            )  # pyfaidx reads bgzip with another package only; all of it is read instead
        return fasta.with_name(fasta.name + ".fai").is_file() and not packed if index is None else index
    if index:
        raise ImportError(f"an index of a FASTA file needs pyfaidx: {install_hint('sequence')}")
    return False
