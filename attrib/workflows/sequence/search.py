"""The search for motifs in attributions and filters, and the experiments with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import xarray as xr

from attrib.workflows.folder import Folder
from attrib.workflows.sequence.asked import Settings
from attrib.workflows.sequence.discovery import Discovered, discover
from attrib.workflows.sequence.experiments import evolved, experiments, inserted, spaced, usual_length
from attrib.workflows.sequence.findings import Findings
from attrib.workflows.sequence.importance import importance, leading
from attrib.workflows.sequence.modisco import modisco
from attrib.workflows.sequence.outputs import explained_outputs, scores
from attrib.workflows.sequence.parts import Attributed
from attrib.workflows.sequence.records import Problem
from attrib.workflows.sequence.variation import Variation, effects_of_variants


class Search(NamedTuple):
    """Settings of the search for motifs.

    Attributes
    ----------
    database : mapping of str to DataArray or None
        Known motifs.
    insert : tuple of str
    layer : str
    windows : int or None
    both_strands : bool
    variants : Variation or None
        Read from a file.
    modisco : bool
        Whether to run TF-MoDISco.
    pairs : mapping of str to (str, str)
        Letters of two motifs that are put into backgrounds at all distances.
    rounds : int
        Of directed evolution; 0 for none.
    """

    database: Mapping[str, xr.DataArray] | None
    insert: tuple[str, ...]
    layer: str
    windows: int | None
    both_strands: bool
    variants: Variation | None
    modisco: bool = False
    pairs: Mapping[str, tuple[str, str]] = {}
    rounds: int = 0


def searched(
    f: Callable[..., Any], done: Attributed, settings: Settings, search: Search, problems: list[Problem],
    say: Callable[[str], None], run: Folder,
) -> Findings:  # fmt: skip
    """Find motifs in the attributions and the filters, and run the experiments with them.

    Parameters
    ----------
    f : callable
        The model.
    done : Attributed
    settings : Settings
    search : Search
    problems : list of dict
        Records that are not in the results.
    say : callable
        Gets a line.
    run : Folder
        For the files of TF-MoDISco.
    """
    lead = leading(settings.methods)
    contribution = importance(lead, done.results[lead], done.x)
    say(f"Looking for motifs in the filters and in the seqlets of {lead}.")
    patterns, failed = modisco(run, f, done.x, settings, say) if search.modisco else ({}, {})
    discovered = discover(
        f, done.x, contribution, search.database, layer=search.layer, top=search.windows,
        both_strands=search.both_strands, seed=settings.seed, modisco=patterns,
        context=settings.context,
    )  # fmt: skip
    score = partial(scores, f, settings=settings, wanted=explained_outputs(settings, done.results[lead]))
    tested = experiments(score, done.x, discovered, search.database, search.insert, seed=settings.seed)
    varied = None if search.variants is None else effects_of_variants(score, done.x, search.variants)
    discovered = discovered._replace(
        notes=discovered.notes | failed | _left_out(done.x, discovered, search, varied)
    )
    if search.pairs or search.rounds:
        say("Putting pairs of motifs at all distances, and evolving shuffled sequences.")
    pairs = spaced(score, done.x, search.pairs, seed=settings.seed)
    grown = evolved(score, done.x, search.rounds, seed=settings.seed)
    return Findings(
        done, lead, contribution, discovered, tested, search.database, problems, varied, pairs, grown
    )


def _left_out(
    x: xr.DataArray, discovered: Discovered, search: Search, varied: Variation | None
) -> dict[str, str]:
    """Motifs and variants without an experiment, and why."""
    notes = {}
    words = inserted(discovered, search.database, search.insert)
    long = [name for name, letters in words.items() if len(letters) > usual_length(x)]
    if long:
        notes["experiments"] = (
            f"{', '.join(long)} not inserted: longer than most records, {usual_length(x)} letters"
        )
    if varied is not None and len(varied.problems):
        first = varied.problems.problem.iloc[0]
        notes["variants"] = f"{len(varied.problems)} left out, see variant_problems.csv; the first: {first}"
    return notes
