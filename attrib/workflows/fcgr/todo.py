"""The settings of the study, the same for every pair: methods, corrections, layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from attrib.functional import METHODS as ALL
from attrib.workflows.fcgr.branches import Layers

METHODS = ("integrated_gradients", "saliency", "deep_lift", "gradient_shap", "smooth_grad", "deep_lift_shap")
CORRECTIONS = ("normalize", "filter", "tangent")


class Settings(NamedTuple):
    """The settings for every pair.

    Attributes
    ----------
    methods, corrections : tuple of str
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
    """The methods and corrections, without repetitions.

    Raises
    ------
    ValueError
        For names that do not exist.
    """
    for option, names, available in (
        ("methods", methods, [n for n, m in ALL.items() if m.about.result == "input" and not m.about.layer]),
        ("corrections", corrections, CORRECTIONS),
    ):
        unknown = [m for m in names if m not in available]
        if unknown or (option == "methods" and not names):
            raise ValueError(
                f"`{option}` is {' '.join(names) or 'empty'}, expected some of {', '.join(available)}"
            )
    return tuple(dict.fromkeys(methods)), tuple(dict.fromkeys(corrections))
