"""The settings of the study of magnetic resonance images, the same for every subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

from attrib._arguments import near
from attrib.domains.mri import INTENSITIES
from attrib.workflows.drawing import method_name
from attrib.workflows.plan import ALL_METHODS
from attrib.workflows.plan import Plan as Arguments
from attrib.workflows.plan import plan as arguments_of

METHODS = ("integrated_gradients", "saliency", "gradient_shap")
INNER_STEPS = 20  # of integrated gradients inside a noise tunnel, where the caller names no number
ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "noise_tunnel_ig": (
        "noise_tunnel",
        {"method": "integrated_gradients", "n_steps": INNER_STEPS, "n_samples": 10},
    ),
}
OF_SLICES: dict[str, dict[str, Any]] = {  # a subject's map is a mean over many slices, whose errors even out
    "integrated_gradients": {"n_steps": 16},
    "gradient_shap": {"n_samples": 10},
}
BY_REGION = ("feature_ablation", "shapley_values")
INPUTS = ("volume", "slices")


class Factory(NamedTuple):
    """Code that makes the model, and a file with its arguments.

    Attributes
    ----------
    code : str
        ``"package.module:factory"``, as for `attrib.scale.loading.load_model`.
    parameters : str or path
        JSON with the factory's arguments, of which it gets those that it takes.
    """

    code: str
    parameters: str | Path


class Images(NamedTuple):
    """How images go into the model, and which slices and further files are made of them.

    Attributes
    ----------
    input : str
        ``"volume"``; ``"slices"``: the model takes slices, a subject's score is the mean over its slices, and so are its attributions.
    axis : str
        Of slices and pictures: axial, coronal, sagittal, i, j or k.
    slice_range : (int, int) or None
        First and last slice that go in; None: all.
    orientation : str or None
        Such as ``"RAS"``: how volumes are turned before they go in; attributions come back as the images are stored.
    intensity : str
        ``"none"``, ``"zscore"``, ``"zscore-brain"`` or ``"minmax"``.
    brain_mask : path or None
        For all subjects without a mask in the table.
    atlas, atlas_names : path or None
        Whole numbers on the subjects' grid, and a table of their names; default: the one that is called as the atlas is.
    key_slices : sequence of int or None
        Slices that are drawn; None: seven in the middle half.
    key_mm : sequence of float or None
        The same in mm.
    npy : bool
        Whether maps are written as `.npy` too, in the model's orientation.
    """

    input: str = "volume"
    axis: str = "axial"
    slice_range: tuple[int, int] | None = None
    orientation: str | None = None
    intensity: str = "none"
    brain_mask: str | Path | None = None
    atlas: str | Path | None = None
    atlas_names: str | Path | None = None
    key_slices: Sequence[int] | None = None
    key_mm: Sequence[float] | None = None
    npy: bool = False


class Voxels(NamedTuple):
    """How peaks and groups of voxels are found; options of `attrib.stats.cluster_contrast`.

    Attributes
    ----------
    smooth : float
        Full width at half maximum in mm of the Gaussian before peaks and statistics of voxels.
    threshold, connectivity, tfce
        Of clusters.
    permutations : int
    """

    smooth: float = 6.0
    threshold: float = 0.001
    connectivity: int | None = None
    tfce: bool = False
    permutations: int = 999


@dataclass(frozen=True)
class Plan:
    """How every subject is read, explained and drawn; a folder holds subjects of one plan.

    Attributes
    ----------
    methods : tuple of str
    classes : tuple of str or None
    target : str or None
        A class, ``"predicted"``, or None for the last class.
    input : str
        ``"volume"`` or ``"slices"``.
    axis : str
        Of slices.
    orientation : str or None
    intensity : str
    baselines : str
    layer : str
    options : mapping
        Arguments of methods.
    smooth : float
        Full width at half maximum in mm, of peaks and group statistics.
    batch_size, device, seed
        As for every method.
    slices : tuple of int or None
        First and last slice that go into the model.
    """

    methods: tuple[str, ...] = METHODS
    classes: tuple[str, ...] | None = None
    target: str | None = None
    input: str = "volume"
    axis: str = "axial"
    orientation: str | None = None
    intensity: str = "none"
    baselines: str = "zeros"
    layer: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    smooth: float = 6.0
    batch_size: int | str = "auto"
    device: str | None = None
    seed: int = 0
    slices: tuple[int, int] | None = None

    def arguments(self, method: str, target: int | None, baselines: Any) -> tuple[str, Arguments]:
        """The name in the register and the arguments of a method."""
        base, defaults = ALIASES.get(method, (method, {}))
        options = {f"{base}.{k}": v for k, v in defaults.items()}
        if self.input == "slices":
            options |= {f"{base}.{k}": v for k, v in OF_SLICES.get(method, {}).items()}
        for key, value in self.options.items():
            name, dot, argument = key.rpartition(".")
            if (not dot and self._takes(base, argument, defaults)) or name == method:
                options[f"{base}.{argument}"] = value
        if ALL_METHODS[base].about.layer:
            options.setdefault(f"{base}.layer", self.layer)
        return base, arguments_of(
            [base], target=target, baselines=baselines, batch_size=self.batch_size, device=self.device, seed=self.seed,
            options=options,
        )  # fmt: skip

    def _takes(self, base: str, argument: str, defaults: Mapping[str, Any]) -> bool:
        try:
            arguments_of(
                [base],
                options={f"{base}.{k}": v for k, v in defaults.items() if k == "method"}
                | {f"{base}.{argument}": None},
            )
        except ValueError:
            return False
        return True


def shown(method: str) -> str:
    """A method's name in pictures."""
    return "Noise tunnel of IG" if method == "noise_tunnel_ig" else method_name(method)


def checked(plan: Plan, has_atlas: bool) -> Plan:
    """The plan, if everything in it exists.

    Raises
    ------
    ValueError
        For names that do not exist, with the nearest that does, and numbers out of range.
    """
    names = [n for n, m in ALL_METHODS.items() if m.about.result in ("input", "layer map") or n in BY_REGION]
    names += list(ALIASES)
    for method in plan.methods or ("",):
        _one_of("methods", method, names)
    _one_of("input", plan.input, INPUTS)
    _one_of("intensity", plan.intensity, INTENSITIES)
    regional = [m for m in plan.methods if m in BY_REGION]
    if regional and not has_atlas:
        raise ValueError(
            f"`methods` has {regional[0]}, which replaces regions; pass an atlas of them as `atlas`"
        )
    if plan.slices is not None and (plan.input != "slices" or plan.slices[0] > plan.slices[1]):
        raise ValueError(
            f"`slice_range` is {plan.slices}, expected the first and the last slice, with `input` slices"
        )
    if plan.classes is not None and plan.target not in (None, "predicted", *plan.classes):
        _one_of("target", str(plan.target), ["predicted", *plan.classes])
    for key in plan.options:
        method, dot, argument = key.rpartition(".")
        if dot:
            _one_of("options", method, list(plan.methods))
        takers = [method] if dot else list(plan.methods)
        if not any(
            plan._takes(ALIASES.get(m, (m, {}))[0], argument, ALIASES.get(m, (m, {}))[1]) for m in takers
        ):
            raise ValueError(
                f"`options` {key}: no such argument of {', '.join(takers)}{near(argument, Voxels._fields + Images._fields)}"
            )
    return plan


def refuse_odd_statistics(voxels: Voxels) -> None:
    """Refuse options that the statistics of voxels do not take, before subjects are explained.

    Raises
    ------
    ValueError
        Naming the option.
    """
    smooth, threshold, connectivity, tfce, permutations = voxels
    for name, fits, expected in (
        ("smooth", isinstance(smooth, Real) and smooth >= 0, "mm, or 0"),
        ("threshold", isinstance(threshold, Real) and 0 < threshold < 0.5, "a p below 0.5"),
        ("connectivity", connectivity in (None, 6, 18, 26), "6, 18 or 26"),
        ("tfce", isinstance(tfce, bool), "true or false"),
        ("permutations", isinstance(permutations, Integral) and permutations >= 1, "a number of at least 1"),
    ):
        if not fits:
            raise ValueError(f"`{name}` is {getattr(voxels, name)!r}, expected {expected}")


def _one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is not among the choices, naming the nearest."""
    if value not in choices:
        raise ValueError(f"`{name}` has {value!r}; there are {', '.join(choices)}{near(value, choices)}")
