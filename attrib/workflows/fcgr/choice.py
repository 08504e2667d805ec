"""Which pairs are explained, and which form the background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attrib.workflows.fcgr.pairs import Pairs


def chosen(
    pairs: Pairs, samples: Sequence[str] | None, count: int, seed: int
) -> tuple[list[str], dict[str, str]]:
    """Names of the pairs to explain, and the bad pairs with their reasons.

    Parameters
    ----------
    pairs : Pairs
    samples : sequence of str or None
        Names; None: `count` pairs, of both labels in turn.
    count, seed : int

    Raises
    ------
    ValueError
        For names that do not exist, and if none of the named pairs can be used.
    """
    if samples is not None:
        return _by_name(pairs, list(dict.fromkeys(str(s) for s in samples)))
    order = np.random.default_rng([seed, 11]).permutation(len(pairs.table))
    by_label = [[i for i in order if pairs.table["label"].iloc[i] == c] for c in (1, 0)]
    turns = [i for k in range(len(order)) for group in by_label for i in group[k : k + 1]]
    return [str(pairs.table.index[i]) for i in turns[:count]], pairs.bad


def _by_name(pairs: Pairs, names: list[str]) -> tuple[list[str], dict[str, str]]:
    table = pairs.table
    rows = [*pairs.order]
    names = [
        rows[int(s)] if s not in rows and s.isdecimal() and int(s) < len(rows) else s for s in names
    ]  # a row's number, where no pair has it for a name
    unknown = [s for s in names if s not in table.index and s not in pairs.bad]
    good = [s for s in names if s in table.index]
    if unknown:
        raise ValueError(
            f"`samples`: there is no pair {', '.join(unknown[:5])}; names are like {', '.join(map(str, table.index[:3]))}"
        )
    bad = {s: pairs.bad[s] for s in names if s in pairs.bad}
    if not good:
        raise ValueError(f"`samples`: none can be used; {next(iter(bad))}: {next(iter(bad.values()))}")
    return good, bad


def background(pairs: Pairs, count: int, seed: int) -> list[str]:
    """Pairs of the background, the same for all explained pairs."""
    order = np.random.default_rng([seed, 12]).permutation(len(pairs.table))
    return [str(n) for n in pairs.table.index[order[:count]]]
