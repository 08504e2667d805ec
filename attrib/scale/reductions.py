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

from attrib.scale.histogram import QUANTILES, Histograms

Arrays = dict[str, np.ndarray]
NAMES = ("mean", "var", "abs_mean", "min", "max", "count", "quantiles", "top:K")


def checked(reductions: str | Sequence[str]) -> tuple[str, ...]:
    """The names, without repetitions.

    Raises
    ------
    ValueError
        For a name that is none of `NAMES`, and two numbers of top entries.
    """
    names = tuple(dict.fromkeys([reductions] if isinstance(reductions, str) else reductions))
    for name in names:
        if name not in NAMES[:-1] and not re.fullmatch(r"top:[1-9]\d*", name):
            raise ValueError(
                f"`reductions` has {name!r}, expected some of {', '.join(NAMES)} (such as top:20)"
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
