"""Three matrices of JASPAR, counts of A, C, G, T per position, and a database around them.

From JASPAR CORE vertebrates 2015 (Mathelier et al. 2014, doi:10.1093/nar/gkt997), CC BY 4.0: CTCF MA0139.1, of which
positions 4 to 15 are taken, HNF1A MA0046.1 and NHLH1 MA0048.1.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from attrib.domains.motifs import as_motif, counted_motif

COUNTS = {
    "MA0139.1": ("CTCF", [
        [56, 8, 744, 40, 107, 851, 5, 333, 54, 12, 56, 104],
        [800, 903, 13, 528, 433, 11, 0, 3, 12, 0, 8, 733],
        [21, 0, 65, 334, 48, 32, 903, 566, 504, 890, 775, 5],
        [36, 2, 91, 11, 324, 18, 3, 9, 341, 8, 71, 67],
    ]),
    "MA0046.1": ("HNF1A", [
        [5, 1, 1, 1, 20, 16, 1, 8, 14, 2, 0, 13, 8, 5],
        [0, 0, 0, 0, 0, 2, 0, 2, 0, 0, 4, 1, 8, 13],
        [14, 20, 0, 0, 0, 1, 0, 4, 1, 0, 0, 3, 3, 0],
        [2, 0, 20, 20, 1, 2, 20, 7, 6, 19, 17, 4, 2, 3],
    ]),
    "MA0048.1": ("NHLH1", [
        [13, 13, 3, 1, 54, 1, 1, 1, 0, 3, 2, 5],
        [13, 39, 5, 53, 0, 1, 50, 1, 0, 37, 0, 17],
        [17, 2, 37, 0, 0, 52, 3, 0, 53, 8, 37, 12],
        [11, 0, 9, 0, 0, 0, 0, 52, 1, 6, 15, 20],
    ]),
}  # fmt: skip


def matrices() -> dict[str, xr.DataArray]:
    """The three motifs by their JASPAR identifiers."""
    return {k: counted_motif(c, name=k, alternative=name) for k, (name, c) in COUNTS.items()}


def database(decoys: int = 37) -> dict[str, xr.DataArray]:
    """The three, and made-up motifs of random columns."""
    rng = np.random.default_rng(7)
    made = {
        f"decoy_{k}": as_motif(rng.dirichlet([0.3] * 4, size=rng.integers(8, 15)).T, name=f"decoy_{k}")
        for k in range(decoys)
    }
    return matrices() | made


def drawn(motif: xr.DataArray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Codes 0 to 3 (n, positions) of sites drawn from a motif."""
    edges = motif.transpose("position", "nucleotide").values.cumsum(1)
    return (rng.random((n, motif.sizes["position"], 1)) > edges[None, :, :3]).sum(2)


def planted(
    motifs: dict[str, xr.DataArray], n: int, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random sequences, in each of which one site of each motif lies; codes (n, length), and where the sites are.

    Sites of several motifs lie in equal parts of the sequence, so that they never overlap.
    """
    codes = rng.integers(4, size=(n, length))
    sites = np.zeros((n, length), int)
    part = length // max(1, len(motifs))
    for k, m in enumerate(motifs.values()):
        width = m.sizes["position"]
        start = k * part + rng.integers(0, part - width + 1, size=n)
        at = start[:, None] + np.arange(width)
        np.put_along_axis(codes, at, drawn(m, n, rng), 1)
        np.put_along_axis(sites, at, k + 1, 1)
    return codes, sites


def one_hot(codes: np.ndarray) -> xr.DataArray:
    """Codes as one-hot DataArray."""
    values = np.eye(5)[codes][..., :4].transpose(0, 2, 1).astype(np.float32)
    return xr.DataArray(
        values, dims=("sample", "nucleotide", "position"), coords={"nucleotide": list("ACGT")}
    )
