"""The settings of the study of cells, the same for every image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from attrib._nearest import near
from attrib.functional import METHODS as METHODS_HERE
from attrib.workflows.checkpoint import Classifier

METHODS = ("grad_cam", "grad_cam_plus_plus", "layer_cam")
SIDE_BY_SIDE = 20  # at most so many classes are explained for every image


class Plan(NamedTuple):
    """The settings for every image; a folder holds images of one plan."""

    methods: tuple[str, ...]
    layer: str
    targets: str | tuple[str, ...]
    classes: tuple[str, ...]
    source: str
    seed: int = 0

    @property
    def goals(self) -> str | list[Any]:
        """The targets that are computed: all classes if they are few, for the picture that compares them."""
        if self.targets == "all" or len(self.classes) <= SIDE_BY_SIDE:
            return "all"
        return [*(self.classes.index(t) for t in self.targets if self.targets != "predicted"), "predicted"]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the targets that are computed."""
        goals: Any = self.goals
        return (
            self.classes
            if goals == "all"
            else tuple(g if isinstance(g, str) else self.classes[g] for g in goals)
        )

    @property
    def saved_labels(self) -> tuple[str, ...]:
        """The labels of the target dim of the results."""
        if self.targets == "all":
            return self.classes
        return ("predicted",) if self.targets == "predicted" else tuple(self.targets)


def plan_of(
    classifier: Classifier, methods: Sequence[str], layer: str, targets: str | Sequence[str], seed: int = 0
) -> Plan:
    """The plan for these arguments.

    Raises
    ------
    ValueError
        For unknown methods and classes.
    """
    maps = [name for name, m in METHODS_HERE.items() if m.about.result == "layer map"]
    unknown = [m for m in methods if m not in maps]
    if unknown or not methods:
        raise ValueError(
            f"`methods` is {' '.join(methods) or 'empty'}, expected some of {', '.join(maps)}{near(unknown[0] if unknown else '', maps)}"
        )
    chosen = (
        targets
        if targets in ("predicted", "all")
        else tuple([targets] if isinstance(targets, str) else targets)
    )
    strange = [t for t in chosen if t not in classifier.classes] if isinstance(chosen, tuple) else []
    if strange or not chosen:
        raise ValueError(
            f"`targets` is {' '.join(strange) or 'empty'}, expected predicted, all, or classes: {', '.join(classifier.classes[:20])}{near(strange[0] if strange else '', [*classifier.classes, 'predicted', 'all'])}"
        )
    return Plan(tuple(dict.fromkeys(methods)), layer, chosen, classifier.classes, classifier.source, seed)
