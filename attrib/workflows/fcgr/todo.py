"""What is asked of every pair: methods, corrections, layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from attrib.functional import METHODS as ALL
from attrib.workflows.fcgr.branches import Layers

METHODS = ("integrated_gradients", "saliency", "deep_lift", "gradient_shap", "smooth_grad", "deep_lift_shap")
CORRECTIONS = ("normalize", "filter", "tangent")


class Todo(NamedTuple):
    """What is asked of every pair.

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
    """The methods and corrections asked for, each once.

    Raises
    ------
    ValueError
        For names that do not exist.
    """
    for option, asked, known in (
        ("methods", methods, [n for n, m in ALL.items() if m.about.result == "input" and not m.about.layer]),
        ("corrections", corrections, CORRECTIONS),
    ):
        unknown = [m for m in asked if m not in known]
        if unknown or (option == "methods" and not asked):
            raise ValueError(
                f"--{option} is {' '.join(asked) or 'empty'}, expected some of {', '.join(known)}"
            )
    return tuple(dict.fromkeys(methods)), tuple(dict.fromkeys(corrections))
