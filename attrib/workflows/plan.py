"""Which methods run, and with which arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from attrib._nearest import near
from attrib.functional import METHODS
from attrib.functional.explanation import Method
from attrib.workflows.context import Context

# Attributions of a layer come last: where no method applies, the reason of the first is reported.
ALL_METHODS: dict[str, Method[...]] = {
    name: m
    for name, m in sorted(METHODS.items(), key=lambda entry: entry[1].about.layer)
    if m.about.result != "pairs"
}
Options = Mapping[str, Any]
SET_ELSEWHERE = {"f", "x", "method"}
WRAPPED = {
    n: m for n, m in ALL_METHODS.items() if m.about.result == "input" and not m.about.wraps
}  # what goes inside
PRECISION = {"rtol": 1e-3, "max_steps": 65}  # 5 to 17 points on smooth networks, 65 on those with kinks
FIXED_POINTS = ("n_steps", "quadrature")  # whoever sets one of these wants no others
INNER = "input_x_gradient"  # what noise_tunnel averages and guided_grad_cam multiplies, by default


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    methods : tuple of str
        Names in `ALL_METHODS`.
    every : bool
        Whether they are all methods; then methods that do not apply are skipped instead of raising an error.
    shared : mapping
        Arguments of every method: target or targets, classes, batch_size, device.
    by_method : mapping of str to mapping
        Arguments by method.
    context : Context
        What goes into the model beside the inputs.
    """

    methods: tuple[str, ...]
    every: bool
    shared: Options
    by_method: Mapping[str, dict[str, Any]]
    context: Context = field(default_factory=Context)

    def passing(self, x: xr.DataArray | xr.Dataset) -> dict[str, Any]:
        """Arguments of every method for these inputs, with what goes into the model beside them."""
        return {**self.shared, "additional_forward_args": self.context.of(x)}


def plan(
    methods: Sequence[str] | str,
    *,
    target: Any = None,
    targets: Any = None,
    classes: Sequence[str] | None = None,
    baselines: Any = None,
    batch_size: int | str = "auto",
    device: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    context: Context | None = None,
) -> Plan:
    """Decide which method gets which arguments.

    Parameters
    ----------
    methods : sequence of str, or "all"
        Names in `ALL_METHODS`.
    target, targets, classes, batch_size, device
        As for every method.
    baselines
        For the methods that take them; default: their own default, or 0. A distribution (dim `baseline`) goes to those
        that take one; the others get its mean.
    seed : int
        For the methods that draw.
    options : mapping, optional
        More arguments: by name for every method that takes them, or `"method.name"` for one. Of a method around another one,
        `"noise_tunnel.method"` names the other one, and its arguments go on to it: `"noise_tunnel.n_steps"`.
    context : Context, optional
        What goes into the model beside the inputs.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        For unknown methods and arguments, with the names of those that exist.
    """
    every = methods == "all"
    names = (
        tuple(ALL_METHODS)
        if every
        else tuple(dict.fromkeys([methods] if isinstance(methods, str) else methods))
    )
    unknown = [n for n in names if n not in ALL_METHODS]
    if unknown or not names:
        raise ValueError(
            f"`methods`: there is no method {', '.join(map(repr, unknown)) or 'given'}; there are {', '.join(ALL_METHODS)}, all{near(unknown[0] if unknown else '', ALL_METHODS)}"
        )
    shared = {
        "target": target,
        "targets": targets,
        "classes": classes,
        "batch_size": batch_size,
        "device": device,
    }
    by_method = {n: _default_arguments(n, baselines, seed) for n in names}
    inside: dict[str, dict[str, Any]] = {n: {} for n in names if "method" in by_method[n]}
    for key, value in sorted(
        (options or {}).items(), key=lambda item: item[0].rpartition(".")[2] != "method"
    ):
        _set(by_method, inside, key, value)
    for outer, settings in inside.items():
        by_method[outer]["method"] = _inner(by_method[outer]["method"], settings, baselines)
    return Plan(names, every, shared, by_method, context or Context())


def arguments(method: str) -> dict[str, inspect.Parameter]:
    """The arguments of a method by name."""
    return dict(inspect.signature(ALL_METHODS[method].explain).parameters)


def _default_arguments(method: str, baselines: Any, seed: int) -> dict[str, Any]:
    about = ALL_METHODS[method].about
    chosen: dict[str, Any] = {}
    if about.draws:
        chosen["seed"] = seed
    if set(about.arguments) >= PRECISION.keys():
        chosen |= PRECISION
    if about.wraps:
        chosen["method"] = ALL_METHODS[INNER]
    if about.baselines == "distribution":
        chosen["baselines"] = 0.0 if baselines is None else baselines
    elif about.baselines is not None and baselines is not None:
        chosen["baselines"] = _one_baseline(baselines)
    return chosen


def _one_baseline(baselines: Any) -> Any:
    if isinstance(baselines, xr.DataArray | xr.Dataset) and "baseline" in baselines.dims:
        return baselines.mean("baseline", keep_attrs=True)
    return baselines


def _set(
    by_method: dict[str, dict[str, Any]], inside: dict[str, dict[str, Any]], key: str, value: Any
) -> None:
    """Give an option to the method named before the dot, or to all that take it; or to the method inside one."""
    method, dot, name = key.rpartition(".")
    if dot and method not in by_method:
        raise ValueError(
            f"`options` {key}: {method!r} is not among the methods {', '.join(by_method)}{near(method, by_method)}"
        )
    chosen = [method] if dot else list(by_method)
    if name == "method" and any(m in inside for m in chosen):
        if value not in WRAPPED:
            raise ValueError(
                f"`options` {key}: there is no method {value!r} to go inside; there are {', '.join(WRAPPED)}{near(value, WRAPPED)}"
            )
        for m in (m for m in chosen if m in inside):
            by_method[m]["method"] = WRAPPED[value]
        return
    takers = [m for m in chosen if name in arguments(m) and name not in SET_ELSEWHERE]
    inner = [m for m in chosen if m in inside and m not in takers and name in _arguments_inside(by_method[m])]
    if not takers and not inner:
        names = {a for m in chosen for a in arguments(m)} | {
            a for m in chosen if m in inside for a in _arguments_inside(by_method[m])
        }
        raise ValueError(
            f"`options` {key}: no such argument; there are {', '.join(sorted(names - SET_ELSEWHERE))}{near(name, names - SET_ELSEWHERE)}"
        )
    for m in takers:
        by_method[m][name] = value
        if name in FIXED_POINTS:
            by_method[m].pop("rtol", None)
            by_method[m].pop("max_steps", None)
    for m in inner:
        inside[m][name] = value


def _arguments_inside(options: Options) -> set[str]:
    """What the method inside another one takes."""
    return set(inspect.signature(options["method"].explain).parameters) - SET_ELSEWHERE


def _inner(method: Method[...], settings: dict[str, Any], baselines: Any) -> Any:
    """The method inside another one, with its own arguments."""
    about = method.about
    if about.baselines is not None and baselines is not None and "baselines" not in settings:
        settings["baselines"] = baselines if about.baselines == "distribution" else _one_baseline(baselines)
    return functools.partial(method, **settings) if settings else method
