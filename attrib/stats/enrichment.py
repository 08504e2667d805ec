"""Whether leading entries are in known sets more often than by chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from attrib.stats.one_against_rest import false_discovery_rate


def enrichment(
    chosen: Mapping[str, Sequence[str]],
    sets: Mapping[str, Iterable[str]],
    background: Iterable[str],
    *,
    least: int = 2,
) -> pd.DataFrame:
    """Hypergeometric test of each label's leading genes against gene sets.

    ``p = P(X >= overlap)``, X hypergeometric: `chosen` genes drawn from the background, of which `size` are in the set

    Parameters
    ----------
    chosen : mapping of str to sequence of str
        Leading genes of each label.
    sets : mapping of str to iterable of str
        Gene sets, such as those of a .gmt file.
    background : iterable of str
        All genes that could have been chosen: those of the model. Genes of the sets that are not among them are left out.
    least : int, default 2
        Sets with fewer genes in the background are left out.

    Returns
    -------
    DataFrame
        Columns `label`, `set`, `overlap`, `size` (of the set in the background), `chosen`, `background`, `expected`, `p`, `q` (false
        discovery rate of Benjamini and Hochberg over the sets of one label), `genes` (the overlap, with spaces); by label and p.

    Raises
    ------
    ValueError
        For leading genes outside the background, and if no set has genes in it, with examples of both names.

    References
    ----------
    Rivals et al. (2007), Enrichment or depletion of a GO category within a class of genes: which test?
    doi:10.1093/bioinformatics/btl633

    Examples
    --------
    >>> from attrib.stats import enrichment
    >>> genes = [f"g{k}" for k in range(100)]
    >>> table = enrichment({"liver": genes[:5]}, {"near": genes[:4], "far": genes[50:90]}, genes)
    >>> table[["set", "overlap"]].values.tolist(), bool(table.p[0] < 1e-5)
    ([['near', 4], ['far', 0]], True)
    """
    from scipy.stats import hypergeom

    genes = pd.Index(background).unique()
    inside = {name: genes.intersection(pd.Index(list(members)).unique()) for name, members in sets.items()}
    tested = {name: members for name, members in inside.items() if len(members) >= least}
    if not tested:
        some = [g for members in sets.values() for g in members][:3]
        raise ValueError(
            f"`sets` has no set with {least} genes of the background; its genes are called {', '.join(some)}, those of the "
            f"background {', '.join(map(str, genes[:3]))}"
        )
    tables = []
    for label, members in chosen.items():
        leading = pd.Index(list(members)).unique()
        outside = leading[~leading.isin(genes)]
        if len(outside):
            raise ValueError(f"`chosen` has {outside[0]!r} for {label}, which is not in the background")
        shared = {name: [g for g in leading if g in members] for name, members in tested.items()}
        size = np.array([len(m) for m in tested.values()])
        hits = np.array([len(s) for s in shared.values()])
        p = hypergeom.sf(hits - 1, len(genes), size, len(leading))
        table = pd.DataFrame(
            {
                "label": label,
                "set": list(tested),
                "overlap": hits,
                "size": size,
                "chosen": len(leading),
                "background": len(genes),
            }
        )
        table = table.assign(
            expected=size * len(leading) / len(genes),
            p=p,
            q=false_discovery_rate(p),
            genes=[" ".join(s) for s in shared.values()],
        )
        tables.append(table.sort_values("p", kind="stable"))
    return pd.concat(tables, ignore_index=True)
