"""Positions of extrema, and sorting: of values that do not depend on the inputs, as nothing has a rule for them."""

from __future__ import annotations

import torch
from torch import Tensor

from attrib.interop.jaxpr.constants import dtype_of
from attrib.interop.jaxpr.program import Step
from attrib.interop.jaxpr.table import refuse, translation


@translation("argmax", "argmin")
def position(step: Step, x: Tensor) -> Tensor:
    """Where the largest or smallest element is, the first of several."""
    find = torch.argmax if step.name == "argmax" else torch.argmin
    (axis,) = step.params["axes"]
    if x.dtype == torch.bool and step.name == "argmax":
        return _first_true(x, axis).to(dtype_of(step.params["index_dtype"]))
    return find(x, axis).to(dtype_of(step.params["index_dtype"]))


def _first_true(x: Tensor, axis: int) -> Tensor:
    """As a chain of choices, which have a rule: that is how `jnp.select` takes its pick."""
    rows = x.unbind(axis)
    found = torch.zeros((), dtype=torch.long, device=x.device)
    for i in reversed(range(len(rows))):
        found = torch.where(rows[i], i, found)
    return found


@translation("sort")
def sort(step: Step, *xs: Tensor) -> list[Tensor]:
    """In ascending order along a dim, the others in that of the first."""
    d = step.params["dimension"]
    if len(xs) > 1 and step.params["num_keys"] > 1:
        refuse(step, "it sorts by several keys")
    keys, order = torch.sort(xs[0], dim=d, stable=True)
    return [keys, *(x.gather(d, order) for x in xs[1:])]


@translation("top_k")
def top(step: Step, x: Tensor) -> list[Tensor]:
    """The k largest of the last dim (or of `axis`), and where they are."""
    axis = step.params.get("axis", -1)
    found = torch.sort(x, dim=axis, descending=True, stable=True)
    values, places = (t.narrow(axis, 0, step.params["k"]) for t in found)
    return [values, places.to(dtype_of(step.makes[1].dtype))]
