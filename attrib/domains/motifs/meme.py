"""Motifs as text in the minimal MEME format, version 4."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import xarray as xr

from attrib.domains.motifs.matrix import EVEN, LETTERS, as_motif, background_of, matrix_of

MEME = re.compile(r"MEME version", re.IGNORECASE)
FACT = re.compile(r"(\w+)=\s*(\S+)")
TAIL = re.compile(r"\s+width\s*=\s*\d+.*$")  # of a MOTIF line in the full output: facts, no name
Lines = list[tuple[int, str]]


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
    frequencies = " ".join(f"{c} {_number(v)}" for c, v in zip(LETTERS, b, strict=True))
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
            facts += f" {key}= {_number(motif.attrs[attribute])}"
    rows = [" ".join(map(_number, column)) for column in p.T]
    return [f"MOTIF {name} {alternative}".rstrip(), facts, *rows]


def _number(value: float) -> str:
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
