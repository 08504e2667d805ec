"""Which methods are asked, and with which arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from attrib.functional import METHODS
from attrib.functional.explanation import Method

# Maps of a layer come last: where no method applies, the first one's reason is told.
KNOWN: dict[str, Method[...]] = {
    name: m
    for name, m in sorted(METHODS.items(), key=lambda entry: entry[1].about.layer)
    if m.about.result != "pairs"
}
Options = Mapping[str, Any]
INNER = "input_x_gradient"  # what noise_tunnel averages and guided_grad_cam multiplies, unless told otherwise


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    methods : tuple of str
        Names in `KNOWN`.
    every : bool
        Whether they are all there are: then those that do not apply are skipped, not errors.
    shared : mapping
        Arguments of every method: target or targets, classes, batch_size, device.
    own : mapping of str to mapping
        Arguments by method.
    """

    methods: tuple[str, ...]
    every: bool
    shared: Options
    own: Mapping[str, dict[str, Any]]


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
) -> Plan:
    """Settle which method gets which arguments.

    Parameters
    ----------
    methods : sequence of str, or "all"
        Names in `KNOWN`.
    target, targets, classes, batch_size, device
        As for every method.
    baselines
        For the methods that take them; default: their own default, or 0. A distribution (dim `baseline`) goes to those
        that take one; the others get its mean.
    seed : int
        For the methods that draw.
    options : mapping, optional
        More arguments: by name for every method that takes them, or `"method.name"` for one.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        For unknown methods and arguments, naming those that exist.
    """
    every = methods == "all"
    names = (
        tuple(KNOWN) if every else tuple(dict.fromkeys([methods] if isinstance(methods, str) else methods))
    )
    unknown = [n for n in names if n not in KNOWN]
    if unknown or not names:
        raise ValueError(
            f"there is no method {', '.join(map(repr, unknown)) or 'given'}; there are {', '.join(KNOWN)}, all"
        )
    shared = {
        "target": target,
        "targets": targets,
        "classes": classes,
        "batch_size": batch_size,
        "device": device,
    }
    own = {n: _own(n, baselines, seed) for n in names}
    for key, value in (options or {}).items():
        _set(own, key, value)
    return Plan(names, every, shared, own)


def arguments(method: str) -> dict[str, inspect.Parameter]:
    """The arguments of a method by name."""
    return dict(inspect.signature(KNOWN[method].explain).parameters)


def _own(method: str, baselines: Any, seed: int) -> dict[str, Any]:
    about = KNOWN[method].about
    own: dict[str, Any] = {}
    if about.draws:
        own["seed"] = seed
    if about.wraps:
        own["method"] = KNOWN[INNER]
    if about.baselines == "distribution":
        own["baselines"] = 0.0 if baselines is None else baselines
    elif about.baselines == "point" and baselines is not None:
        own["baselines"] = _one_baseline(baselines)
    return own


def _one_baseline(baselines: Any) -> Any:
    if isinstance(baselines, xr.DataArray | xr.Dataset) and "baseline" in baselines.dims:
        return baselines.mean("baseline", keep_attrs=True)
    return baselines


def _set(own: dict[str, dict[str, Any]], key: str, value: Any) -> None:
    """Give an option to the method named before the dot, or to all that take it."""
    method, dot, name = key.rpartition(".")
    if dot and method not in own:
        raise ValueError(f"--set {key}: {method!r} is not among the methods {', '.join(own)}")
    takers = [
        m for m in ([method] if dot else own) if name in arguments(m) and name not in ("f", "x", "method")
    ]
    if not takers:
        there = sorted({a for m in ([method] if dot else own) for a in arguments(m)} - {"f", "x", "method"})
        raise ValueError(f"--set {key}: no such argument; there are {', '.join(there)}")
    for m in takers:
        own[m][name] = value
