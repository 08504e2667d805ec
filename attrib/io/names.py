"""Names of samples as names of files."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

BYTES = 90  # with what studies add, names stay below 120
DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{k}" for d in ("com", "lpt") for k in range(10))}


PLAIN = r"\w.+-"
LEGAL = r"\w.+\- !#$%&'()@=,;~{}\[\]^`"  # on every system


def file_names(names: Iterable[str], reserved: Iterable[str] = (), characters: str = PLAIN) -> dict[str, str]:
    """A beginning of file names for each name: distinct on every system, below 120 bytes with what follows.

    Parameters
    ----------
    names : iterable of str
        Distinct names of samples; any text.
    reserved : iterable of str
        Beginnings that other files of the folder have.
    characters : str
        What is kept, as in the brackets of a regular expression: `PLAIN`, or `LEGAL`.

    Returns
    -------
    dict of str to str
        Letters, digits and ``_ . + -`` of the name. Names that are long, reserved (also by Windows), or equal to another
        but for such characters or capitals end with a digest of the name.

    Examples
    --------
    >>> from attrib.io.names import file_names
    >>> file_names(["P53", "chr1:5-9", "summary"], reserved=["summary"])
    {'P53': 'P53', 'chr1:5-9': 'chr1_5-9', 'summary': 'summary-761b7ad8'}
    """
    plain = {
        name: re.sub(f"[^{characters}]+", "_", unicodedata.normalize("NFC", name)).strip("._ ")
        for name in names
    }
    taken = {r.casefold() for r in reserved}
    count = Counter(map(str.casefold, plain.values()))

    def chosen(name: str) -> str:
        short, first = plain[name], plain[name].casefold().partition(".")[0]
        fits = 0 < len(short.encode()) <= BYTES
        if fits and count[short.casefold()] == 1 and first not in DEVICES and short.casefold() not in taken:
            return short
        apart = f"_{short}" if first in DEVICES else short
        start = apart.encode()[: BYTES - 9].decode(errors="ignore")
        return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")

    return {name: chosen(name) for name in plain}
