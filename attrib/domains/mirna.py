"""miRNAs and the sites they bind."""

from __future__ import annotations

import numpy as np

SEED = (2, 7)  # first and last position, the first letter of the miRNA being 1
COMPLEMENT = str.maketrans("ACGTU", "TGCAA")


def seed_site(mirna: str, target: str, *, first: int = SEED[0], last: int = SEED[1]) -> np.ndarray:
    """Positions of a target that pair with a miRNA's seed: where it reads the seed's reverse complement.

    Parameters
    ----------
    mirna, target : str
        Letters, both from 5' to 3'; U is T.
    first, last : int, default 2, 7
        The seed's positions in the miRNA, the first letter being 1.

    Returns
    -------
    array (letters of the target,)
        True in every occurrence of the site; False everywhere if there is none.

    Raises
    ------
    ValueError
        If the miRNA is shorter than `last`, or `first` and `last` are out of order.

    References
    ----------
    Bartel (2009), MicroRNAs: target recognition and regulatory functions. doi:10.1016/j.cell.2009.01.002

    Examples
    --------
    >>> from attrib.domains.mirna import seed_site
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
