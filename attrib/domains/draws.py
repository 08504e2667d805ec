"""Some of many samples: drawn by a seed, evenly over labels."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from attrib._arguments import whole_seed

LABELS = ("label", "class")  # names over whose values samples are drawn evenly


def label_among(names: Iterable[Hashable]) -> Hashable | None:
    """The first name of a column or coord of labels, `label` or `class`; None if there is none."""
    return next((n for n in names if str(n).lower() in LABELS), None)


def drawn_evenly(labels: Sequence[Hashable], most: int | None, seed: int = 0) -> list[int]:
    """At most so many samples, the same number of each label as far as there are enough.

    Parameters
    ----------
    labels : sequence
        Of each sample; equal ones for a draw over all samples.
    most : int or None
        None: all samples.
    seed : int, default 0
        Of the draw.

    Returns
    -------
    list of int
        Places of the samples, in their order.

    Examples
    --------
    >>> from attrib.domains.draws import drawn_evenly
    >>> some = drawn_evenly(["HC"] * 90 + ["TLE"] * 6, 8, seed=0)
    >>> [n >= 90 for n in some].count(True)
    4
    """
    if most is None or most >= len(labels):
        return list(range(len(labels)))
    queues: dict[Hashable, list[int]] = {}
    for n in np.random.default_rng([whole_seed(seed), 6]).permutation(len(labels)).tolist():
        queues.setdefault(labels[n], []).append(n)
    in_order = [queues[label] for label in sorted(queues, key=str)]
    turns = [queue[turn] for turn in range(len(labels)) for queue in in_order if turn < len(queue)]
    return sorted(turns[:most])
