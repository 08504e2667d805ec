"""What is looked for in the attributions and the filters, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import xarray as xr

from attrib.workflows.sequence.asked import Asked
from attrib.workflows.sequence.discovery import discover
from attrib.workflows.sequence.experiments import experiments
from attrib.workflows.sequence.findings import Findings
from attrib.workflows.sequence.importance import importance, leading
from attrib.workflows.sequence.outputs import explained_outputs, scores
from attrib.workflows.sequence.parts import Attributed
from attrib.workflows.sequence.records import Problem


class Search(NamedTuple):
    """What is looked for in the attributions and the filters.

    Attributes
    ----------
    known : mapping of str to DataArray or None
        Known motifs.
    insert : tuple of str
    layer : str
    windows : int or None
    both_strands : bool
    """

    known: Mapping[str, xr.DataArray] | None
    insert: tuple[str, ...]
    layer: str
    windows: int | None
    both_strands: bool


def searched(
    f: Callable[..., Any], done: Attributed, asked: Asked, search: Search, problems: list[Problem],
    say: Callable[[str], None],
) -> Findings:  # fmt: skip
    """Motifs in what was attributed, and the experiments with them.

    Parameters
    ----------
    f : callable
        The model.
    done : Attributed
    asked : Asked
    search : Search
    problems : list of dict
        Records that are not in the results.
    say : callable
        Gets a line.
    """
    lead = leading(asked.methods)
    contribution = importance(lead, done.results[lead], done.x)
    say(f"Looking for motifs in the filters and in the seqlets of {lead}.")
    found = discover(
        f, done.x, contribution, search.known, layer=search.layer, top=search.windows,
        both_strands=search.both_strands, seed=asked.seed,
    )  # fmt: skip
    asking = partial(scores, f, asked=asked, wanted=explained_outputs(asked, done.results[lead]))
    tested = experiments(asking, done.x, found, search.known, search.insert, seed=asked.seed)
    return Findings(done, lead, contribution, found, tested, search.known, problems)
