"""Chaos game images: the pixel of each k-mer, and sequences as images of k-mer counts.

Counting is one `bincount` for many sequences, so no package is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from attrib._arguments import list_of, near
from attrib._public import public

LETTERS = "ACGT"
CORNERS = "CGAT"  # upper left, upper right, lower left, lower right
MOST = 8  # 65,536 pixels
NONE = -1  # the code of a letter that is not a nucleotide, and the pixel of a k-mer with such a letter
SEED = (2, 7)  # first and last position of a seed; the first letter of a miRNA has position 1
COMPLEMENT = str.maketrans("ACGTU", "TGCAA")

Leading: TypeAlias = Literal["last", "first"]

SCALES = {"count": "k-mers", "frequency": "share of k-mers", "log": "log(1 + k-mers)"}
ROWS = 1 << 22  # pixels counted at a time


@public
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


@public
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


@public
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
    >>> from attrib.domains.fcgr.images import seed_site
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


@public
def fcgr(
    sequences: Sequence[str] | xr.DataArray,
    *,
    k: int = 6,
    scale: str = "count",
    corners: str = CORNERS,
    leading: Leading = "last",
    samples: Sequence[Any] | None = None,
) -> xr.DataArray:
    """Frequency chaos game representation: an image of 2^k by 2^k pixels per sequence, one pixel per k-mer.

    ``image[n, pixel of w] = number of windows of sequence n that read w``

    Parameters
    ----------
    sequences : sequence of str
        Letters; U is read as T, lower case as upper case. Windows with N or another letter are skipped.
    k : int, default 6
        Letters per window, 1 to 8.
    scale : {"count", "frequency", "log"}, default "count"
        The number of windows; its share of all windows that were counted; or ``log(1 + windows)``.
    corners : str, default "CGAT"
        The letters upper left, upper right, lower left, lower right: those of Jeffrey (1990), row 0 on top.
    leading : {"last", "first"}, default "last"
        Which letter of a k-mer chooses the quarter of the image, see `pixel_of`.
    samples : sequence, optional
        Names of the sequences; default: their numbers.

    Returns
    -------
    DataArray (sample, y, x)
        float32, with the coords `kmer` (y, x), `sequence` (sample), and `skipped` (sample), the number of skipped windows.
        An image is zero if all of its windows were skipped.

    Raises
    ------
    ValueError
        For a sequence of fewer than k letters, and unknown options.

    Notes
    -----
    Memory: the result, and its size again for at most 4 million pixels at a time.

    References
    ----------
    Jeffrey (1990), Chaos game representation of gene structure. doi:10.1093/nar/18.8.2163

    Examples
    --------
    >>> from attrib.domains.fcgr import fcgr
    >>> image = fcgr(["ACGNA"], k=1)[0]
    >>> image.values.tolist(), image.kmer.values.tolist(), image.skipped.item()
    ([[1.0, 1.0], [2.0, 0.0]], [['C', 'G'], ['A', 'T']], 1)
    """
    if scale not in SCALES:
        raise ValueError(f"`scale` is {scale!r}, expected one of {', '.join(SCALES)}{near(scale, SCALES)}")
    texts = as_texts(sequences)
    names = _names(sequences, samples, len(texts))
    _refuse_short(names, texts, checked(k))
    pixels = window_pixels(codes(texts), k, corners, leading)
    counts = _counts(pixels, 4**k)
    windows = np.array([len(t) - k + 1 for t in texts])
    coords = {
        "sample": ("sample", names),
        "y": ("y", np.arange(1 << k), {"long_name": "row"}),
        "x": ("x", np.arange(1 << k), {"long_name": "column"}),
        "kmer": (("y", "x"), kmers(k, corners=corners, leading=leading)),
        "sequence": ("sample", np.array(texts, dtype=str)),
        "skipped": ("sample", windows - (pixels != NONE).sum(1), {"units": "k-mers"}),
    }
    attrs = {"units": SCALES[scale], "long_name": "chaos game image", "scale": scale, "k": int(k), "corners": corners, "leading": leading}  # fmt: skip
    return xr.DataArray(
        _scaled(counts, scale).reshape(-1, 1 << k, 1 << k), dims=("sample", "y", "x"), coords=coords, name="fcgr", attrs=attrs
    )  # fmt: skip


def _refuse_short(names: Iterable[Any], texts: Sequence[str], k: int) -> None:
    for name, text in zip(names, texts, strict=True):
        if len(text) < k:
            raise ValueError(f"`sequences`: {str(name)!r} has {len(text)} letters, expected at least k = {k}")


@public
def by_kmer(a: xr.DataArray) -> xr.DataArray:
    """The dims y, x as one dim `kmer`, in alphabetical order.

    Parameters
    ----------
    a : DataArray
        Dims y, x and others, with the coord `kmer` (y, x): an image, or an attribution of one.

    Returns
    -------
    DataArray
        The other dims, then `kmer`.

    Raises
    ------
    ValueError
        If there is no coord `kmer` (y, x).

    Examples
    --------
    >>> from attrib.domains.fcgr import by_kmer, fcgr
    >>> by_kmer(fcgr(["ACGNA"], k=1))[0].to_series().to_dict()
    {'A': 2.0, 'C': 1.0, 'G': 1.0, 'T': 0.0}
    """
    words = pixel_kmers(a).ravel()
    order = np.argsort(words)
    others = [d for d in a.dims if d not in ("y", "x")]
    values = a.transpose(*others, "y", "x").values
    flat = values.reshape(*values.shape[:-2], -1)[..., order]
    coords = {c: v for c, v in a.coords.items() if not {"y", "x"} & set(v.dims)}
    return xr.DataArray(
        flat, dims=(*others, "kmer"), coords={**coords, "kmer": words[order]}, name=a.name, attrs=a.attrs
    )


@public
def by_pixel(a: xr.DataArray, *, corners: str = CORNERS, leading: Leading = "last") -> xr.DataArray:
    """The dim `kmer` as an image, the inverse of `by_kmer`.

    Parameters
    ----------
    a : DataArray
        With a dim `kmer` whose labels are all k-mers of one length, in any order.
    corners, leading
        As for `pixel_of`.

    Returns
    -------
    DataArray
        The other dims, then y, x.

    Raises
    ------
    ValueError
        If k-mers are missing.

    Examples
    --------
    >>> from attrib.domains.fcgr import by_kmer, by_pixel, fcgr
    >>> image = fcgr(["ACGNA"], k=1)
    >>> by_pixel(by_kmer(image)).values.tolist() == image.values.tolist()
    True
    """
    words = a["kmer"].values.astype(str)
    words_by_pixel = kmers(len(words[0]), corners=corners, leading=leading)
    if sorted(words) != sorted(words_by_pixel.ravel()):
        raise ValueError(
            f"`a` has {len(words)} k-mers, expected all {words_by_pixel.size} of {len(words[0])} letters, each once"
        )
    order = np.argsort(words)[np.searchsorted(np.sort(words), words_by_pixel.ravel())]
    others = [d for d in a.dims if d != "kmer"]
    values = a.transpose(*others, "kmer").values[..., order]
    coords_of_others = {c: v for c, v in a.coords.items() if "kmer" not in v.dims}
    side = np.arange(len(words_by_pixel))
    coords = {
        **coords_of_others,
        "y": ("y", side, {"long_name": "row"}),
        "x": ("x", side, {"long_name": "column"}),
        "kmer": (("y", "x"), words_by_pixel),
    }
    shape = (*values.shape[:-1], *words_by_pixel.shape)
    return xr.DataArray(
        values.reshape(shape), dims=(*others, "y", "x"), coords=coords, name=a.name, attrs=a.attrs
    )


def pixel_kmers(a: xr.DataArray) -> np.ndarray:
    """The k-mers of an image's pixels (y, x).

    Raises
    ------
    ValueError
        If the array has no such coord.
    """
    if "kmer" not in a.coords or set(a["kmer"].dims) != {"y", "x"}:
        raise ValueError(
            f"`a` has dims {a.dims} and no coord kmer (y, x), which images of attrib.domains.fcgr.fcgr have"
        )
    return a["kmer"].transpose("y", "x").values.astype(str)


def as_texts(sequences: Sequence[str] | xr.DataArray) -> list[str]:
    """Sequences as a list of text.

    Raises
    ------
    TypeError
        For a single text, whose letters would be taken for sequences, and for entries that are not text.
    """
    if isinstance(sequences, str):
        raise TypeError(
            f"`sequences` is one text ({sequences[:20]!r}), expected a list of them: [{sequences[:8]!r}, ...]"
        )
    texts = list_of("sequences", sequences)
    for n, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"`sequences`: number {n} is a {type(text).__name__} ({text!r}), expected text")
    return [str(t) for t in texts]


def _names(sequences: Any, samples: Any, count: int) -> np.ndarray:
    if samples is None and isinstance(sequences, xr.DataArray) and sequences.dims[0] in sequences.coords:
        samples = sequences[sequences.dims[0]].values
    names = np.arange(count) if samples is None else np.asarray(samples)
    if names.shape != (count,):
        raise ValueError(f"`samples` has {names.shape} names, expected {count}, one per sequence")
    return names


def _counts(pixels: np.ndarray, size: int) -> np.ndarray:
    """How often each pixel occurs (N, size), some sequences at a time."""
    counts = np.empty((len(pixels), size), np.float32)
    step = max(1, ROWS // size)
    for start in range(0, len(pixels), step):
        part = pixels[start : start + step]
        rows, windows = np.nonzero(part != NONE)
        flat = rows * size + part[rows, windows]
        counts[start : start + step] = np.bincount(flat, minlength=len(part) * size).reshape(-1, size)
    return counts


def _scaled(counts: np.ndarray, scale: str) -> np.ndarray:
    if scale == "log":
        return np.log1p(counts, out=counts)
    if scale == "frequency":
        counts /= np.maximum(counts.sum(1, keepdims=True), 1)
    return counts
