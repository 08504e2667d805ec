"""The settings of the study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from attrib._nearest import refuse_unnamed
from attrib.functional import METHODS as ALL
from attrib.workflows.fcgr.layers import Layers

METHODS = ("integrated_gradients", "saliency", "deep_lift", "gradient_shap", "smooth_grad", "deep_lift_shap")
CORRECTIONS = ("normalize", "filter", "tangent")
CORRECTED = "saliency"  # the plain gradient, which corrections are of where no method is named


class Settings(NamedTuple):
    """The settings for every pair.

    Attributes
    ----------
    methods, corrections : tuple of str
        Corrections as "METHOD:CORRECTION".
    layers : dict of str to Layers
    interaction : bool
    options : dict
        Arguments of methods.
    seed : int
    batch_size : int or "auto"
        Rows per call of the model.
    """

    methods: tuple[str, ...]
    corrections: tuple[str, ...]
    layers: dict[str, Layers]
    interaction: bool
    options: dict[str, Any]
    seed: int
    batch_size: int | str


def checked_methods(
    methods: Sequence[str], corrections: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The methods, and the corrections as "METHOD:CORRECTION", without repetitions.

    A correction alone is one of saliency, if saliency is among the methods; `all:CORRECTION` of all methods.

    Raises
    ------
    ValueError
        For names that do not exist.
    """
    refuse_unnamed(
        "methods", methods, [n for n, m in ALL.items() if m.about.result == "input" and not m.about.layer]
    )
    if corrections:
        refuse_unnamed("corrections", [c.rpartition(":")[2] for c in corrections], CORRECTIONS)
    chosen = list(dict.fromkeys(methods))
    pairs: list[str] = []
    for correction in corrections:
        of, _, name = correction.rpartition(":")
        if of not in ("", "all", *chosen):
            raise ValueError(
                f"`corrections` is {correction}, but {of} is none of the methods {', '.join(chosen)}"
            )
        several = chosen if of == "all" else [of or CORRECTED]
        pairs += [f"{m}:{name}" for m in several if m in chosen]
    return tuple(chosen), tuple(dict.fromkeys(pairs))
