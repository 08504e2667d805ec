"""Statistics over the samples of a cohort, block by block: each block gives a part, and parts are merged in their order.

Sums are float64. Means and sums of squares are merged as in Chan, Golub & LeVeque (1983), doi:10.1080/00031305.1983.10483115.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from attrib._arguments import list_of, near

Arrays = dict[str, np.ndarray]
NAMES = ("mean", "var", "abs_mean", "min", "max", "count", "quantiles", "top:K")

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 256
_FINEST = 50  # bins are at least 2^-50 of the largest magnitude wide, so that their numbers are exact


def checked(reductions: str | Sequence[str]) -> tuple[str, ...]:
    """The names, without repetitions.

    Raises
    ------
    ValueError
        For a name that is none of `NAMES`, and two numbers of top entries.
    """
    names = tuple(dict.fromkeys(map(str, list_of("reductions", reductions))))
    for name in names:
        if name not in NAMES[:-1] and not re.fullmatch(r"top:[1-9]\d*", name):
            raise ValueError(
                f"`reductions` has {name!r}, expected some of {', '.join(NAMES)} (such as top:20){near(name, NAMES)}"
            )
    if sum(name.startswith("top:") for name in names) > 1:
        raise ValueError(f"`reductions` has {', '.join(names)}; pass one top:K, its ranks hold all smaller K")
    return names


@dataclass(frozen=True)
class Reduction:
    """What is computed of one variable, over all samples or over those of each group.

    Attributes
    ----------
    names : tuple of str
        Of `NAMES`.
    groups : int
        Number of groups; one where there are none.
    """

    names: tuple[str, ...]
    groups: int

    def part(self, values: np.ndarray, codes: np.ndarray) -> Arrays:
        """What one block contributes.

        Parameters
        ----------
        values : array (n, ...)
            Attributions of the block's samples.
        codes : array (n,) of int
            The group of each; samples with -1 belong to none.
        """
        present = np.unique(codes[codes >= 0])
        fields: dict[str, list] = {name: [] for name in ("mean", "squares", "magnitude", "min", "max")}
        for group in present:
            of_group = values[codes == group].astype(np.float64)
            mean = of_group.mean(0)
            fields["mean"].append(mean)
            if "var" in self.names:
                fields["squares"].append(((of_group - mean) ** 2).sum(0))
            if self._magnitude:
                fields["magnitude"].append(np.abs(of_group).sum(0))
            if "min" in self.names:
                fields["min"].append(of_group.min(0))
            if "max" in self.names:
                fields["max"].append(of_group.max(0))
        part = {k: np.stack(v) for k, v in fields.items() if v}
        part["groups"] = present
        part["count"] = np.bincount(codes[codes >= 0], minlength=self.groups)[present]
        if "quantiles" in self.names:
            part |= {"values": values, "codes": codes}
        return part

    @property
    def _magnitude(self) -> bool:
        return "abs_mean" in self.names or any(name.startswith("top:") for name in self.names)

    def merge(self, state: Arrays, part: Mapping[str, np.ndarray]) -> None:
        """Add a part to the state, which is empty at first."""
        groups = part["groups"]
        if not state:
            state["count"] = np.zeros(self.groups, np.int64)
        for name, empty in (
            ("mean", 0.0),
            ("squares", 0.0),
            ("magnitude", 0.0),
            ("min", np.inf),
            ("max", -np.inf),
        ):
            if name in part and name not in state:
                state[name] = np.full((self.groups, *part[name].shape[1:]), empty)
        if "values" in part:
            self._add_values(state, part)
        if not len(groups):
            return
        before, added = state["count"][groups], part["count"]
        along = (-1, *[1] * (part["mean"].ndim - 1))
        share = (added / (before + added)).reshape(along)
        change = part["mean"] - state["mean"][groups]
        if "squares" in part:
            state["squares"][groups] += part["squares"] + change**2 * share * before.reshape(along)
        state["mean"][groups] += change * share
        state["count"][groups] += added
        if "magnitude" in part:
            state["magnitude"][groups] += part["magnitude"]
        if "min" in part:
            state["min"][groups] = np.minimum(state["min"][groups], part["min"])
        if "max" in part:
            state["max"][groups] = np.maximum(state["max"][groups], part["max"])

    def _add_values(self, state: Arrays, part: Mapping[str, np.ndarray]) -> None:
        values, codes = part["values"], part["codes"]
        histograms = Histograms(state, self.groups, values.shape[1:])
        for group in np.unique(codes[codes >= 0]):
            histograms.add(int(group), values[codes == group].astype(np.float64))

    def results(
        self, state: Mapping[str, np.ndarray], template: xr.DataArray, by: xr.DataArray | None
    ) -> xr.Dataset:
        """The reductions by name.

        Parameters
        ----------
        state : mapping
            All parts, merged.
        template : DataArray
            One sample's attribution without its sample dims: dims, coords and attrs.
        by : DataArray, optional
            Labels of the groups, along the dim that the results get.
        """
        lead: tuple[Hashable, ...] = () if by is None else by.dims
        dims = (*lead, *template.dims)
        count = state["count"]
        filled = np.where(count, count, 1).reshape(-1, *[1] * template.ndim)
        missing = (count == 0).reshape(-1, *[1] * template.ndim)

        def laid_out(values: np.ndarray, more: tuple[Hashable, ...] = ()) -> tuple[tuple, np.ndarray]:
            return (*dims[: len(lead)], *more, *template.dims), values if lead else values[0]

        def averaged(sums: np.ndarray) -> np.ndarray:
            return np.where(missing, np.nan, sums / filled)

        variables: dict[Hashable, Any] = {}
        coords: dict[Hashable, Any] = {
            k: v.variable for k, v in template.coords.items() if set(v.dims) <= set(template.dims)
        }
        if by is not None:
            coords[lead[0]] = by.variable
        for name in self.names:
            if name == "count":
                variables[name] = (lead, count if lead else count[0], {"long_name": "number of samples"})
            elif name == "mean":
                variables[name] = laid_out(np.where(missing, np.nan, state["mean"]))
            elif name == "var":
                variables[name] = laid_out(averaged(state["squares"]))
            elif name == "abs_mean":
                variables[name] = laid_out(averaged(state["magnitude"]))
            elif name in ("min", "max"):
                variables[name] = laid_out(np.where(missing, np.nan, state[name]))
            elif name == "quantiles":
                histograms = Histograms(dict(state), self.groups, template.shape)
                variables[name] = laid_out(histograms.quantiles(count), ("quantile",))
                variables["quantiles_error"] = (
                    *laid_out(histograms.width(count)),
                    {"long_name": "largest error of each quantile"},
                )
                coords["quantile"] = np.asarray(QUANTILES)
            else:
                top, labels = self._top(
                    int(name[4:]),
                    averaged(state["magnitude"]),
                    np.where(missing, np.nan, state["mean"]),
                    template,
                )
                ranked_dims = (*lead, *(d for d in template.dims if d == "target"), "rank")
                variables[name] = (ranked_dims, top if lead else top[0])
                coords["rank"] = np.arange(1, top.shape[-1] + 1)
                coords |= {
                    f"top_{d}": (ranked_dims, values if lead else values[0]) for d, values in labels.items()
                }
        units = template.attrs.get("units", "")
        results = xr.Dataset(variables, coords)
        for key, a in results.data_vars.items():
            if key != "count":
                a.attrs["units"] = f"({units})^2" if key == "var" and units else units
        return results

    def _top(
        self, k: int, magnitude: np.ndarray, mean: np.ndarray, template: xr.DataArray
    ) -> tuple[np.ndarray, dict[Hashable, np.ndarray]]:
        """Mean attributions of the k entries with the largest mean magnitude, by rank, and the labels of these entries."""
        core = [d for d in template.dims if d != "target"]
        order = [
            0,
            *(1 + template.get_axis_num(d) for d in template.dims if d == "target"),
            *(1 + template.get_axis_num(d) for d in core),
        ]
        flat = magnitude.transpose(order).reshape(*(magnitude.shape[i] for i in order[: -len(core)]), -1)
        means = mean.transpose(order).reshape(flat.shape)
        ranked = np.argsort(-flat, axis=-1, kind="stable")[..., :k]
        where = np.unravel_index(ranked, [template.sizes[d] for d in core])
        labels = {
            d: np.asarray(template.indexes[d])[i] if d in template.indexes else i
            for d, i in zip(core, where, strict=True)
        }
        labels = {d: v.astype(str) if v.dtype == object else v for d, v in labels.items()}
        return np.take_along_axis(means, ranked, -1), labels


class Histograms:
    """A histogram for each entry of each group.

    Parameters
    ----------
    state : dict of arrays
        Where the histograms live: ``counts`` (groups, entries, bins), ``exponent`` and ``base`` (groups, entries), ``lowest``
        and ``highest`` (groups, entries). They are added if they are missing.
    groups : int
    shape : tuple of int
        Of the entries.

    Notes
    -----
    Bin b of an entry holds the values in [(base + b) w, (base + b + 1) w) with w = 2^exponent, the smallest power of two for
    which the bins reach from the least to the largest value. Edges are multiples of w, so bins of width w fit into those
    of width 2w: the counts do not depend on the order of the values. Each order statistic is known up to w, which is at
    most 1/127 of the range. Memory: a kilobyte per entry and group.
    """

    def __init__(self, state: dict[str, np.ndarray], groups: int, shape: tuple[int, ...]) -> None:
        entries = int(np.prod(shape))
        self.state, self._shape = state, shape
        if "counts" not in state:
            state["counts"] = np.zeros((groups, entries, BINS), np.uint32)
            state["exponent"] = np.full((groups, entries), np.iinfo(np.int32).min, np.int32)
            state["base"] = np.zeros((groups, entries), np.int64)
            state["lowest"] = np.full((groups, entries), np.inf)
            state["highest"] = np.full((groups, entries), -np.inf)

    def add(self, group: int, values: np.ndarray) -> None:
        """Add float64 values (n, ...) to the histograms of a group."""
        values = values.reshape(len(values), -1)
        lowest = np.minimum(self.state["lowest"][group], values.min(0))
        highest = np.maximum(self.state["highest"][group], values.max(0))
        exponent = _smallest_exponent(lowest, highest)
        self._widen(group, exponent, _bin(lowest, exponent))
        self.state["lowest"][group], self.state["highest"][group] = lowest, highest
        bins = _bin(values, exponent) - self.state["base"][group]
        flat = (np.arange(values.shape[1]) * BINS + bins).ravel()
        counts = np.bincount(flat, minlength=values.shape[1] * BINS)
        self.state["counts"][group] += counts.reshape(-1, BINS).astype(np.uint32)

    def _widen(self, group: int, exponent: np.ndarray, base: np.ndarray) -> None:
        """Pour the counts into bins of other widths, from another first one on."""
        old_exponent, old_base = self.state["exponent"][group], self.state["base"][group]
        used = self.state["lowest"][group] <= self.state["highest"][group]
        changed = np.flatnonzero(used & ((exponent != old_exponent) | (base != old_base)))
        if len(changed):
            shift = np.minimum(exponent - old_exponent, 62)[changed, None].astype(np.int64)
            bins = ((old_base[changed, None] + np.arange(BINS)) >> shift) - base[changed, None]
            counts = self.state["counts"][group][changed]
            bins = np.where(counts > 0, bins, 0)
            flat = (np.arange(len(changed))[:, None] * BINS + bins).ravel()
            poured = np.bincount(flat, weights=counts.ravel(), minlength=len(changed) * BINS)
            self.state["counts"][group][changed] = poured.reshape(-1, BINS).astype(np.uint32)
        self.state["exponent"][group], self.state["base"][group] = exponent, base

    def quantiles(self, count: np.ndarray) -> np.ndarray:
        """Quantiles (groups, quantiles, ...), linear between order statistics as in NumPy; NaN where there are no samples."""
        groups = len(count)
        quantiles = np.full((groups, len(QUANTILES), int(np.prod(self._shape))), np.nan)
        for group in map(int, np.flatnonzero(count)):
            for k, q in enumerate(QUANTILES):
                rank, part = divmod(q * (count[group] - 1), 1)
                low = self._order_statistic(group, int(rank))
                high = self._order_statistic(group, min(int(rank) + 1, int(count[group]) - 1))
                quantiles[group, k] = low + part * (high - low)
        return quantiles.reshape(groups, len(QUANTILES), *self._shape)

    def _order_statistic(self, group: int, rank: int) -> np.ndarray:
        """The value number `rank` of each entry: its place in its bin, as if the values in it had equal distances."""
        counts = self.state["counts"][group]
        total = counts.cumsum(1, dtype=np.int64)
        bins = (total <= rank).sum(1)
        inside = np.take_along_axis(counts, bins[:, None], 1)[:, 0]
        before = np.take_along_axis(total, bins[:, None], 1)[:, 0] - inside
        place = self.state["base"][group] + bins + (rank - before + 0.5) / inside
        values = np.ldexp(place, self.state["exponent"][group])
        return np.clip(values, self.state["lowest"][group], self.state["highest"][group])

    def width(self, count: np.ndarray) -> np.ndarray:
        """Widths of the bins (groups, ...), which bound the errors; NaN where there are no samples."""
        exponent = np.where(count[:, None] > 0, self.state["exponent"], 0)
        widths = np.where(count[:, None] > 0, np.ldexp(1.0, exponent), np.nan)
        return widths.reshape(len(count), *self._shape)


def _bin(values: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    return np.floor(np.ldexp(values, -exponent)).astype(np.int64)


def _smallest_exponent(lowest: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """The exponent of the smallest power of two of which the bins reach from the least to the largest value."""
    largest = np.maximum(np.maximum(np.abs(lowest), np.abs(highest)), np.finfo(np.float64).tiny)
    finest = np.frexp(largest)[1] - _FINEST
    spread = highest - lowest
    exponent = np.where(spread > 0, np.maximum(finest, np.frexp(spread / BINS)[1] - 1), finest).astype(
        np.int32
    )
    for _ in range(3):
        exponent += _bin(highest, exponent) - _bin(lowest, exponent) >= BINS
    return exponent
