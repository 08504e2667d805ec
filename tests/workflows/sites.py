"""Generated pairs in which the truth is known: a site is put into the targets of label 1."""

import numpy as np
import pandas as pd

PAIRS = str.maketrans("ACGT", "TGCA")


def planted(mirnas: int = 60, each: int = 10, length: int = 24, seed: int = 0) -> pd.DataFrame:
    """miRNAs of 12 letters with targets of both labels; label 1 has the reverse complement of positions 2 to 7."""
    rng = np.random.default_rng(seed)
    word = lambda n: "".join(rng.choice(list("ACGT"), n))
    rows = []
    for _ in range(mirnas):
        mirna = word(12)
        site = mirna[1:7].translate(PAIRS)[::-1]
        for n in range(each):
            target, at = word(length), int(rng.integers(0, length - 6))
            rows.append((mirna, target[:at] + site + target[at + 6 :] if n % 2 else target, n % 2))
    return pd.DataFrame(rows, columns=["mirna", "target", "label"])
