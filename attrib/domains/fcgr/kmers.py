"""The pixel of each k-mer in a chaos game image, and where sequences read a k-mer or pair with a miRNA's seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

LETTERS = "ACGT"
CORNERS = "CGAT"  # upper left, upper right, lower left, lower right
MOST = 8  # 65,536 pixels
NONE = -1  # the code of a letter that is not a nucleotide, and the pixel of a k-mer with such a letter
SEED = (2, 7)  # first and last position of a seed; the first letter of a miRNA has position 1
COMPLEMENT = str.maketrans("ACGTU", "TGCAA")

Leading: TypeAlias = Literal["last", "first"]


def pixel_of(kmer: str, *, corners: str = CORNERS, leading: Leading = "last") -> tuple[int, int]:
    """Row and column of a k-mer's pixel.

    ``row = sum over letters i of row bit of letter i times 2^i``, with i = 0 for the first letter; the same for columns

    Parameters
    ----------
    kmer : str
        Letters A, C, G, T or U.
    corners : str, default "CGAT"
        The letters upper left, upper right, lower left, lower right.
    leading : {"last", "first"}, default "last"
        Which letter chooses the quarter of the image. In the chaos game it is the last; some programs fill the image from
        the first letter on.

    Returns
    -------
    (int, int)
        Row from the top, column from the left.

    Raises
    ------
    ValueError
        For other letters.

    Examples
    --------
    >>> from attrib.domains.fcgr import pixel_of
    >>> pixel_of("A"), pixel_of("AC"), pixel_of("CA")
    ((1, 0), (1, 0), (2, 0))
    """
    pixels = window_pixels(codes([kmer]), checked(len(kmer)), corners, leading)
    if pixels[0, 0] == NONE:
        raise ValueError(f"`kmer` is {kmer!r}, expected letters of {LETTERS} or U")
    row, column = divmod(int(pixels[0, 0]), 1 << len(kmer))
    return row, column


def kmers(k: int, *, corners: str = CORNERS, leading: Leading = "last") -> np.ndarray:
    """The k-mer of each pixel.

    Parameters
    ----------
    k : int
        Letters, 1 to 8.
    corners, leading
        As for `pixel_of`.

    Returns
    -------
    array (2^k, 2^k) of str
        Rows from the top.

    Examples
    --------
    >>> from attrib.domains.fcgr import kmers
    >>> kmers(1).tolist()
    [['C', 'G'], ['A', 'T']]
    """
    side = 1 << checked(k)
    order = _order(corners, leading)
    shift = np.arange(k) if leading == "last" else np.arange(k)[::-1]
    rows, columns = (np.arange(side)[:, None] >> shift & 1 for _ in range(2))
    letter = np.array(list(order))[2 * rows[:, None] + columns[None]]
    return np.ascontiguousarray(letter).view(f"<U{k}")[..., 0]


def complement_pixels(
    k: int, *, corners: str = CORNERS, leading: Leading = "last"
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the reverse complements: rows and columns that turn an image into that of the other strand.

    Parameters
    ----------
    k : int
        Letters, 1 to 8.
    corners, leading
        As for `pixel_of`.

    Returns
    -------
    (array (2^k,), array (2^k,))
        ``image[rows][:, columns]`` is the image of the reverse complement.

    Notes
    -----
    Reversing the k-mer reverses the bits of row and column. With any corners A and T differ in the same bits as C and G.
    So the complement flips rows, columns, or both.

    Examples
    --------
    >>> from attrib.domains.fcgr import complement_pixels, kmers
    >>> rows, columns = complement_pixels(2)
    >>> dict(zip(kmers(2).ravel().tolist(), kmers(2)[rows][:, columns].ravel().tolist()))["AC"]
    'GT'
    """
    order = _order(corners, leading)
    flip = order.index("A") ^ order.index("T")
    numbers = np.arange(1 << checked(k))
    reversed_bits = np.zeros_like(numbers)
    for i in range(k):
        reversed_bits |= (numbers >> i & 1) << (k - 1 - i)
    top = len(numbers) - 1
    return reversed_bits ^ (top if flip & 2 else 0), reversed_bits ^ (top if flip & 1 else 0)


def seed_site(mirna: str, target: str, *, first: int = SEED[0], last: int = SEED[1]) -> np.ndarray:
    """Positions of a target that pair with a miRNA's seed, because the target reads the seed's reverse complement there.

    Parameters
    ----------
    mirna, target : str
        Letters, both from 5' to 3'; U is read as T.
    first, last : int, default 2, 7
        First and last position of the seed, counted from 1.

    Returns
    -------
    array (letters of the target,)
        True where a position belongs to an occurrence of the site.

    Raises
    ------
    ValueError
        If the miRNA is shorter than `last`, or `first` and `last` are out of order.

    References
    ----------
    Bartel (2009), MicroRNAs: target recognition and regulatory functions. doi:10.1016/j.cell.2009.01.002

    Examples
    --------
    >>> from attrib.domains.fcgr.kmers import seed_site
    >>> seed_site("UGGAAGACUAGU", "CCGTCTTCCAA").astype(int).tolist()
    [0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    """
    if not 1 <= first <= last <= len(mirna):
        raise ValueError(
            f"`first` is {first}, `last` {last}; expected 1 to {len(mirna)}, the letters of the miRNA, in order"
        )
    site = mirna.upper()[first - 1 : last].translate(COMPLEMENT)[::-1]
    text = target.upper().replace("U", "T")
    inside = np.zeros(len(text), bool)
    at = text.find(site)
    while at >= 0:
        inside[at : at + len(site)] = True
        at = text.find(site, at + 1)
    return inside


def codes(sequences: Sequence[str]) -> np.ndarray:
    """Numbers of the letters (N, longest): A 0, C 1, G 2, T and U 3, -1 for others and beyond the end."""
    width = max((len(s) for s in sequences), default=0)
    rows = np.full((len(sequences), width), NONE, np.int8)
    table = np.full(256, NONE, np.int8)
    for number, letters in enumerate(("Aa", "Cc", "Gg", "TtUu")):
        table[[ord(c) for c in letters]] = number
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = table[np.frombuffer(sequence.encode("latin-1", "replace"), np.uint8)]
    return rows


def window_pixels(
    numbers: np.ndarray, k: int, corners: str = CORNERS, leading: Leading = "last"
) -> np.ndarray:
    """The flat pixel of each window of k letters (N, windows); -1 for windows with a letter that is not a nucleotide."""
    order = _order(corners, leading)
    corner = np.array([*(order.index(c) for c in LETTERS), 0])  # the last entry stands for code -1
    bits = corner[numbers]
    count = max(0, numbers.shape[1] - k + 1)
    row = np.zeros((len(numbers), count), np.int32)
    column, invalid = np.zeros_like(row), np.zeros(row.shape, bool)
    for i in range(k):
        part, weight = bits[:, i : i + count], i if leading == "last" else k - 1 - i
        row += (part >> 1) << weight
        column += (part & 1) << weight
        invalid |= numbers[:, i : i + count] == NONE
    return np.where(invalid, NONE, (row << k) + column)


def checked(k: int) -> int:
    """`k` if it is a whole number from 1 to 8."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MOST:
        raise ValueError(f"`k` is {k!r}, expected a whole number from 1 to {MOST}")
    return int(k)


def _order(corners: str, leading: Leading) -> str:
    """The corners as capital letters of DNA. Wrong options are refused."""
    if leading not in ("last", "first"):
        raise ValueError(f'`leading` is {leading!r}, expected "last" or "first"')
    order = corners.upper().replace("U", "T")
    if sorted(order) != list(LETTERS):
        raise ValueError(
            f"`corners` is {corners!r}, expected the letters A, C, G, T in the order upper left, upper right, lower "
            "left, lower right"
        )
    return order
