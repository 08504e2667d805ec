"""Motifs as text in the formats of databases: MEME, JASPAR, TRANSFAC and HOMER.

One bad motif is listed, and the others are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._public import public
from attrib.domains.motifs.matrix import EVEN, LETTERS, as_motif, background_of, counted_motif, matrix_of
from attrib.domains.sequences.tables import PROBLEM_COLUMNS

Lines = list[tuple[int, str]]
Read = tuple[str, int, Callable[[str], xr.DataArray]]
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

MEME = re.compile(r"MEME version", re.IGNORECASE)
FACT = re.compile(r"(\w+)=\s*(\S+)")
TAIL = re.compile(r"\s+width\s*=\s*\d+.*$")  # of a MOTIF line in the full output: facts, no name


class MotifReading(NamedTuple):
    """Motifs read from a text, and its problems.

    Attributes
    ----------
    motifs : dict of str to DataArray
        By name, as `as_motif` returns them.
    problems : DataFrame
        A row per problem: `record`, `line` (counted from 1), `problem` in words, and whether the motif was `kept`.
    """

    motifs: dict[str, xr.DataArray]
    problems: pd.DataFrame


@public
def read_motifs(text: str, *, source: str = "the text") -> MotifReading:
    """The motifs of a text in the format of MEME (minimal or full), JASPAR, TRANSFAC or HOMER.

    Parameters
    ----------
    text : str
        Content of a file; the format is known by how it begins.
    source : str
        Name of the text in error messages.

    Returns
    -------
    MotifReading
        Counts become frequencies, without pseudocounts. U is read as T. A motif that cannot be read is left out and listed; of
        motifs of one name the second is called ``NAME_2``, which is listed too.

    Raises
    ------
    ValueError
        For another format, protein motifs, and if no motif can be read.

    Examples
    --------
    >>> from attrib.domains.motifs import consensus, read_motifs
    >>> jaspar = ">M1 first\\nA [0 9]\\nC [9 0]\\nG [0 0]\\nT [0 0]\\n>M2\\nA [1]\\n"
    >>> reading = read_motifs(jaspar)
    >>> consensus(reading.motifs["M1"]), reading.problems.problem.tolist()
    ('CA', ['it has 1 rows, expected 4: A, C, G, T'])
    """
    lines: Lines = [(k, line.strip()) for k, line in enumerate(text.lstrip("\ufeff").splitlines(), 1)]
    sections = _format(lines, source)(lines, source)
    motifs: dict[str, xr.DataArray] = {}
    problems: list[tuple[str, int, str, bool]] = []
    for name, number, make in sections:
        try:
            motif = make(name)
        except ValueError as error:
            problems.append((name, number, str(error), False))
            continue
        unique, count = name or "unnamed", 1
        while unique in motifs:
            count += 1
            unique = f"{name or 'unnamed'}_{count}"
        if unique != name:
            why = f"the name {name!r} is used more than once" if name else "it has no name"
            problems.append((name, number, f"{why}; it is called {unique!r}", True))
        motifs[unique] = motif.rename(unique)
    if not motifs:
        why = f"; line {problems[0][1]}: {problems[0][2]}" if problems else ""
        raise ValueError(f"{source} has no motifs{why}")
    return MotifReading(motifs, pd.DataFrame(problems, columns=PROBLEM_COLUMNS))


def _format(lines: Lines, source: str) -> Callable[[Lines, str], Iterator[Read]]:
    """The reader of the text's format."""
    written = [line for _, line in lines if line]
    if any(MEME.match(line) for line in written):
        return meme_motifs
    if any(re.match(r"(P0|PO)\s", line) for line in written):
        return _transfac
    if written and written[0].startswith(">"):
        return _homer if "\t" in written[0] and len(written) > 1 and not written[1][:1].isalpha() else _jaspar
    first = written[0][:40] if written else ""
    raise ValueError(
        f"{source} is no file of motifs: it begins with {first!r}, expected 'MEME version 4', or JASPAR, TRANSFAC or HOMER"
    )


def _headed(lines: Lines) -> Iterator[tuple[int, str, Lines]]:
    """Line number, text and the lines below of each header that begins with >."""
    starts = [k for k, (_, line) in enumerate(lines) if line.startswith(">")]
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        below = [(n, line) for n, line in lines[start + 1 : end] if line and not line.startswith("#")]
        yield lines[start][0], lines[start][1][1:].strip(), below


def _jaspar(lines: Lines, source: str) -> Iterator[Read]:
    """Rows A, C, G, T of counts, with or without letters and brackets."""
    for number, header, below in _headed(lines):
        words = header.split(None, 1) or [""]

        def make(name: str, below: Lines = below, words: list[str] = words) -> xr.DataArray:
            rows = [[float(m.group()) for m in NUMBER.finditer(re.sub(r"^[ACGTU]\s*[\[|]?", "", line))] for _, line in below]  # fmt: skip
            letters = [line[0].upper().replace("U", "T") for _, line in below if line[:1].isalpha()]
            if len(rows) != 4:
                raise ValueError(f"it has {len(rows)} rows, expected 4: A, C, G, T")
            if letters and sorted(letters) != ["A", "C", "G", "T"]:
                raise ValueError(f"its rows are {', '.join(letters)}, expected A, C, G, T")
            order = [letters.index(c) for c in "ACGT"] if letters else range(4)
            return _counted([rows[k] for k in order], name, " ".join(words[1:]))

        yield words[0], number, make


def _homer(lines: Lines, source: str) -> Iterator[Read]:
    """A row of four probabilities per position; the header has a consensus, a name and a threshold between tabs."""
    for number, header, below in _headed(lines):
        fields = [f.strip() for f in header.split("\t")]

        def make(name: str, below: Lines = below, fields: list[str] = fields) -> xr.DataArray:
            rows = [_numbers(line) for _, line in below]
            strange = next((r for r in rows if len(r) != 4), None)
            if strange is not None or not rows:
                raise ValueError(f"it has {len(strange or [])} numbers in a row, expected 4: A, C, G, T")
            return as_motif(np.array(rows).T, name=name, alternative=fields[0])

        label = fields[1] if len(fields) > 1 and fields[1] else fields[0]
        yield re.sub(r"\s+", "_", label), number, make


def _transfac(lines: Lines, source: str) -> Iterator[Read]:
    """Blocks up to //, with ID or AC, and rows of counts below P0."""
    block: Lines = []
    for number, line in [*lines, (len(lines) + 1, "//")]:
        if not line.startswith("//"):
            block.append((number, line))
            continue
        heads = [k for k, (_, text) in enumerate(block) if re.match(r"(P0|PO)\s", text)]
        if heads:
            facts = {text[:2]: text[2:].strip() for _, text in block[: heads[0]] if text[:2].isalpha()}
            name = next((facts[k] for k in ("ID", "AC", "NA", "DE") if facts.get(k)), "")
            yield re.sub(r"\s+", "_", name), block[heads[0]][0], _transfac_motif(block[heads[0] :], facts.get("NA", ""))  # fmt: skip
        block = []


def _transfac_motif(block: Lines, alternative: str) -> Callable[[str], xr.DataArray]:
    def make(name: str) -> xr.DataArray:
        letters = [c.upper().replace("U", "T") for c in block[0][1].split()[1:]]
        if sorted(letters) != ["A", "C", "G", "T"]:
            raise ValueError(f"its columns are {', '.join(letters)}, expected A, C, G, T")
        rows = [line.split() for _, line in block[1:] if re.match(r"\d+\s", line)]
        if not rows or any(len(r) < 5 for r in rows):
            raise ValueError("it has no rows of a position and four counts")
        counts = [[_number(r[1 + letters.index(c)]) for r in rows] for c in "ACGT"]
        return _counted(counts, name, alternative if alternative != name else "")

    return make


def _counted(rows: list[list[float]], name: str, alternative: str) -> xr.DataArray:
    """Counts or frequencies of A, C, G, T as a motif."""
    if len({len(r) for r in rows}) != 1 or not rows[0]:
        raise ValueError(
            f"its rows have {', '.join(str(len(r)) for r in rows)} numbers, expected equally many"
        )
    counts = np.array(rows)
    if (counts < 0).any() or not np.isfinite(counts).all() or (counts.sum(0) <= 0).any():
        raise ValueError("it has a position without counts, or counts below 0")
    if np.allclose(counts.sum(0), 1, atol=0.02):
        return as_motif(counts / counts.sum(0), name=name, alternative=alternative)
    return counted_motif(counts, name=name, alternative=alternative)


def _numbers(line: str) -> list[float]:
    return [_number(word) for word in line.split()]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{word!r} is no number") from None


@public
def meme_text(motifs: Mapping[str, xr.DataArray], *, background: Sequence[float] = EVEN) -> str:
    """Motifs in the minimal MEME format.

    Parameters
    ----------
    motifs : mapping of str to DataArray
        By name, without spaces. `sites`, `alternative` and `evalue` are taken from the attrs; an alternative may be of several
        words.
    background : sequence of 4 floats, default a quarter each
        Probabilities of A, C, G, T where there is no motif.

    Returns
    -------
    str
        Numbers have all their digits, so that `read_motifs` restores them exactly.

    Raises
    ------
    ValueError
        For names that the format cannot hold.

    References
    ----------
    https://meme-suite.org/meme/doc/meme-format.html

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif, meme_text
    >>> print(meme_text({"m": as_motif([[1.0], [0], [0], [0]], sites=20)}).splitlines()[-2])
    letter-probability matrix: alength= 4 w= 1 nsites= 20
    """
    b = background_of(background)
    head = ["MEME version 4", "", "ALPHABET= ACGT", "", "strands: + -", "", "Background letter frequencies"]
    frequencies = " ".join(f"{c} {_digits(v)}" for c, v in zip(LETTERS, b, strict=True))
    blocks = [_block(name, m) for name, m in motifs.items()]
    return "\n".join([*head, frequencies, "", *("\n".join(b) + "\n" for b in blocks)])


def _block(name: str, motif: xr.DataArray) -> list[str]:
    alternative = " ".join(str(motif.attrs.get("alternative", "")).split())
    if not name or re.search(r"\s", name):
        raise ValueError(f"a motif is called {name!r}, expected a name without spaces")
    p = matrix_of(motif)
    facts = f"letter-probability matrix: alength= 4 w= {p.shape[1]}"
    for key, attribute in (("nsites", "sites"), ("E", "evalue")):
        if motif.attrs.get(attribute) is not None:
            facts += f" {key}= {_digits(motif.attrs[attribute])}"
    rows = [" ".join(map(_digits, column)) for column in p.T]
    return [f"MOTIF {name} {alternative}".rstrip(), facts, *rows]


def _digits(value: float) -> str:
    """All digits; whole numbers without a point."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def meme_motifs(lines: Lines, source: str) -> Iterator[tuple[str, int, Callable[[str], xr.DataArray]]]:
    """Name and line of each motif of a MEME text, minimal or full, and a function that reads it.

    Raises
    ------
    ValueError
        For protein motifs.
    """
    _check_alphabet(lines, source)
    for number, words, block in _blocks(lines):
        yield words[1] if len(words) > 1 else "", number, partial(_motif, words, block, number)


def _check_alphabet(lines: Lines, source: str) -> None:
    for number, line in lines:
        if line.startswith("ALPHABET="):
            letters = line.partition("=")[2].strip()
            if letters not in ("ACGT", "ACGU"):
                raise ValueError(f"{source}, line {number}: the alphabet is {letters}, expected ACGT or ACGU")


def _blocks(lines: Lines) -> Iterator[tuple[int, list[str], Lines]]:
    """Line number and words of each MOTIF line, and the lines up to the next."""
    starts = [k for k, (_, line) in enumerate(lines) if line.split()[:1] == ["MOTIF"]]
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        yield lines[start][0], TAIL.sub("", lines[start][1]).split(), lines[start + 1 : end]


def _motif(words: list[str], block: Lines, number: int, name: str) -> xr.DataArray:
    head = next(
        (k for k, (_, line) in enumerate(block) if line.startswith("letter-probability matrix")), None
    )
    if head is None:
        raise ValueError("it has no letter-probability matrix")
    facts = dict(FACT.findall(block[head][1]))
    width = int(facts["w"]) if facts.get("w", "").isdecimal() else None
    rows = list(_rows(block[head + 1 :], width))
    if not rows or (width is not None and len(rows) != width):
        raise ValueError(f"it has {len(rows)} rows, expected {facts.get('w', 'some')}")
    sites, evalue = (_fact(facts, k) for k in ("nsites", "E"))
    return as_motif(np.array(rows).T, name=name, sites=sites, alternative=" ".join(words[2:]), evalue=evalue)


def _fact(facts: Mapping[str, str], key: str) -> float | None:
    try:
        return float(facts[key]) if key in facts else None
    except ValueError:
        raise ValueError(f"its {key} is {facts[key]!r}, expected a number") from None


def _rows(lines: Lines, width: int | None) -> Iterator[list[float]]:
    """Rows of numbers below blank lines: `width` of them, or up to the first line of another kind."""
    begin = next((k for k, (_, line) in enumerate(lines) if line), len(lines))
    for k, (number, line) in enumerate(lines[begin:]):
        if k == width or not line or not re.match(r"[-+.\d]", line):
            return
        try:
            row = [float(v) for v in line.split()]
        except ValueError:
            raise ValueError(f"line {number}: {line!r} is not a row of numbers") from None
        if len(row) != 4:
            raise ValueError(f"line {number}: {len(row)} numbers, expected 4: A, C, G, T")
        yield row
