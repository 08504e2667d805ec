"""Motifs as text in the minimal MEME format, version 4."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from attrib.domains.motifs.matrix import EVEN, LETTERS, as_motif, background_of, matrix_of

FACT = re.compile(r"(\w+)=\s*(\S+)")
Lines = list[tuple[int, str]]


def meme_text(motifs: Mapping[str, xr.DataArray], *, background: Sequence[float] = EVEN) -> str:
    """Motifs in the minimal MEME format.

    Parameters
    ----------
    motifs : mapping of str to DataArray
        By name, without spaces. `sites`, `alternative` and `evalue` are taken from the attrs.
    background : sequence of 4 floats, default a quarter each
        Probabilities of A, C, G, T where there is no motif.

    Returns
    -------
    str
        Numbers have all their digits, so that `parse_meme` restores them exactly.

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
    alternative = str(motif.attrs.get("alternative", ""))
    bad = next((n for n in (name, alternative) if re.search(r"\s", n)), None)
    if bad is not None or not name:
        raise ValueError(
            f"a motif is called {name if bad is None else bad!r}, expected a name without spaces"
        )
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


def parse_meme(text: str, *, source: str = "the text") -> dict[str, xr.DataArray]:
    """The motifs of a MEME text, minimal or full.

    Parameters
    ----------
    text : str
        Content of a file of the MEME suite, or of JASPAR, HOCOMOCO or CIS-BP in that format.
    source : str
        Name of the text in error messages.

    Returns
    -------
    dict of str to DataArray
        By name, in the order of the text, as `as_motif` returns them. U is read as T.

    Raises
    ------
    ValueError
        For text in another format, protein motifs, rows that are not probabilities, and repeated names. The message names the
        line.

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif, meme_text, parse_meme
    >>> m = as_motif([[0.1], [0.2], [0.3], [0.4]], name="m", sites=7)
    >>> parse_meme(meme_text({"m": m}))["m"].identical(m)
    True
    """
    lines: Lines = [(k, line.strip()) for k, line in enumerate(text.splitlines(), 1)]
    if not any(line.startswith("MEME version") for _, line in lines):
        raise ValueError(f"{source} is not a MEME file: it lacks the line 'MEME version 4'")
    _check_alphabet(lines, source)
    motifs: dict[str, xr.DataArray] = {}
    for number, words, block in _blocks(lines):
        if len(words) < 2:
            raise ValueError(f"{source}, line {number}: MOTIF without a name")
        if words[1] in motifs:
            raise ValueError(f"{source}, line {number}: there are two motifs {words[1]!r}; rename one")
        motifs[words[1]] = _motif(words, block, number, source)
    if not motifs:
        raise ValueError(f"{source} has no motifs")
    return motifs


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
        yield lines[start][0], lines[start][1].split(), lines[start + 1 : end]


def _motif(words: list[str], block: Lines, number: int, source: str) -> xr.DataArray:
    head = next(
        (k for k, (_, line) in enumerate(block) if line.startswith("letter-probability matrix")), None
    )
    if head is None:
        raise ValueError(f"{source}, line {number}: motif {words[1]!r} has no letter-probability matrix")
    facts = dict(FACT.findall(block[head][1]))
    width = int(facts["w"]) if facts.get("w", "").isdecimal() else None
    rows = list(_rows(block[head + 1 :], width, source))
    if not rows or (width is not None and len(rows) != width):
        raise ValueError(
            f"{source}, line {block[head][0]}: motif {words[1]!r} has {len(rows)} rows, expected {facts.get('w', 'some')}"
        )
    try:
        sites, evalue = (None if facts.get(k) is None else float(facts[k]) for k in ("nsites", "E"))
        return as_motif(
            np.array(rows).T, name=words[1], sites=sites, alternative=" ".join(words[2:]), evalue=evalue
        )
    except ValueError as error:
        raise ValueError(f"{source}, line {block[head][0]}: {error}") from None


def _rows(lines: Lines, width: int | None, source: str) -> Iterator[list[float]]:
    """Rows of numbers: `width` of them, or up to the first line of another kind."""
    for k, (number, line) in enumerate(lines):
        if k == width or not line or not re.match(r"[-+.\d]", line):
            return
        try:
            row = [float(v) for v in line.split()]
        except ValueError:
            raise ValueError(f"{source}, line {number}: {line!r} is not a row of numbers") from None
        if len(row) != 4:
            raise ValueError(f"{source}, line {number}: {len(row)} numbers, expected 4: A, C, G, T")
        yield row
