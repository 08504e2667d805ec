"""The settings of a study of sequences: methods, outputs, baselines, and the form of the model's input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import xarray as xr

from attrib._nearest import near
from attrib.domains.sequences import dinucleotide_shuffle, shuffle, uniform
from attrib.functional import METHODS as METHODS_HERE
from attrib.workflows.context import Context
from attrib.workflows.folder import digest
from attrib.workflows.plan import Plan, plan
from attrib.workflows.targets import targets

MUTATIONS = "in_silico_mutagenesis"
METHODS = ("deep_lift", "integrated_gradients", "saliency", MUTATIONS)
BASELINES = ("uniform", "zeros", "shuffle", "dinucleotide")
DRAWS = 10  # shuffles of a record, for methods that take several baselines
NOT_HERE = ("occlusion", "feature_ablation")  # these need more arguments: windows, groups


class Settings(NamedTuple):
    """The settings of the attributions, the same for every record.

    Attributes
    ----------
    methods : tuple of str
    target : str or None
        As typed.
    classes : tuple of str or None
        Names of the outputs.
    baselines : str
    dims : tuple of str
        Order of the dims as the model takes them.
    batch_size : int or str
    device : str or None
    seed : int
    options : mapping
        More arguments of methods.
    context : Context
        What goes into the model beside a record, by its name.
    """

    methods: tuple[str, ...]
    target: str | None
    classes: Sequence[str] | None
    baselines: str
    dims: tuple[str, ...]
    batch_size: int | str
    device: str | None
    seed: int
    options: Mapping[str, Any]
    context: Context = Context()

    @property
    def goal(self) -> dict[str, Any]:
        """`target` or `targets`, as methods take them."""
        return targets(self.target, self.classes)

    def plan(self, x: xr.DataArray) -> Plan:
        """Methods and their arguments for an input, on which the baselines depend."""
        return plan(
            self.methods, **self.goal, classes=self.classes, baselines=self._baseline(x), seed=self.seed,
            batch_size=self.batch_size, device=self.device, options=self.options, context=self.context,
        )  # fmt: skip

    def _baseline(self, x: xr.DataArray) -> Any:
        if self.baselines in ("shuffle", "dinucleotide"):
            return (shuffle if self.baselines == "shuffle" else dinucleotide_shuffle)(
                x, n=DRAWS, seed=self.seed
            )
        return uniform(x) if self.baselines == "uniform" else 0.0

    def as_record(self, model: str | Callable[..., Any], f: Callable[..., Any]) -> dict[str, Any]:
        """Everything that the results depend on, beside the records."""
        context = {"context": self.context.digest()} if self.context.values else {}
        return context | {
            "model": model if isinstance(model, str) else type(model).__name__, "parameters": digest(f),
            "dims": list(self.dims), "methods": list(self.methods), "target": self.target, "classes": self.classes,
            "baselines": self.baselines, "seed": self.seed, "options": dict(self.options),
        }  # fmt: skip


def check(settings: Settings) -> None:
    """Check the settings before anything is read.

    Raises
    ------
    ValueError
        For unknown methods, outputs, baselines and dims.
    """
    usable = [
        name
        for name, m in METHODS_HERE.items()
        if m.about.result == "input" and not m.about.wraps and name not in NOT_HERE
    ]
    unknown = [m for m in settings.methods if m not in usable]
    if unknown or not settings.methods:
        raise ValueError(
            f"`methods` is {', '.join(unknown) or 'empty'}, expected some of {', '.join(usable)}{near(unknown[0], usable) if unknown else ''}"
        )
    if settings.baselines not in BASELINES:
        raise ValueError(
            f"`baselines` is {settings.baselines!r}, expected one of {', '.join(BASELINES)}{near(settings.baselines, BASELINES)}"
        )
    if sorted(settings.dims) != ["nucleotide", "position", "sample"] or settings.dims[0] != "sample":
        raise ValueError(
            f"`dims` is {','.join(settings.dims)}, expected sample, and then nucleotide and position"
        )
    targets(settings.target, settings.classes)
