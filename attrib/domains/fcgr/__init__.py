"""Chaos game images of sequences: from letters to k-mer counts on a square, and from pixels back to positions.

The chaos game starts in the middle of a square and goes, letter by letter, half of the way to that letter's corner.
Its point after a letter depends on all letters so far, and most on the last ones. In an image of 2^k by 2^k pixels the
pixel depends on the last k letters alone. So each k-mer has one pixel and each pixel one k-mer.

The corners are those of Jeffrey (1990), as drawn there: C upper left, G upper right, A lower left, T lower right. Row
0 is on top. All functions take `corners` and `leading` for images that were made by another convention.

References
----------
Jeffrey (1990), Chaos game representation of gene structure. doi:10.1093/nar/18.8.2163
Deschavanne, Giron, Vilain, Fagot, Fertil (1999), Genomic signature. doi:10.1093/oxfordjournals.molbev.a026048
"""

from attrib.domains.fcgr.attributions import along, divided, shares, smoothed, tangent
from attrib.domains.fcgr.images import (
    CORNERS,
    SCALES,
    by_kmer,
    by_pixel,
    complement_pixels,
    fcgr,
    kmers,
    pixel_of,
)

__all__ = [
    "CORNERS",
    "SCALES",
    "along",
    "by_kmer",
    "by_pixel",
    "complement_pixels",
    "divided",
    "fcgr",
    "kmers",
    "pixel_of",
    "shares",
    "smoothed",
    "tangent",
]
