"""Chaos game images of sequences: from letters to k-mer counts on a square, and from cells back to positions.

The chaos game starts in the middle of a square and goes, letter by letter, half of the way to that letter's corner.
Where it stands after a letter is settled by the letters before, the last ones most. On a grid of 2^k by 2^k cells the
cell is settled by the last k letters alone, so each k-mer has one cell and each cell one k-mer.

The corners are those of Jeffrey (1990), as seen on paper: C upper left, G upper right, A lower left, T lower right. Row
0 is on top. All functions take `corners` and `leading` for images that were made by another convention.

References
----------
Jeffrey (1990), Chaos game representation of gene structure. doi:10.1093/nar/18.8.2163
Deschavanne, Giron, Vilain, Fagot, Fertil (1999), Genomic signature. doi:10.1093/oxfordjournals.molbev.a026048
"""

from attrib.domains.fcgr.corrections import divided, smoothed, tangent
from attrib.domains.fcgr.images import SCALES, by_cell, by_kmer, fcgr
from attrib.domains.fcgr.kmers import CORNERS, cell_of, complement_cells, kmers
from attrib.domains.fcgr.positions import along, shares

__all__ = [
    "CORNERS",
    "SCALES",
    "along",
    "by_cell",
    "by_kmer",
    "cell_of",
    "complement_cells",
    "divided",
    "fcgr",
    "kmers",
    "shares",
    "smoothed",
    "tangent",
]
