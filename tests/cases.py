"""Every method with its options: what the contract suite and the axiom suite run over.

A new method buys both suites with one line here. `test_every_method_is_registered` fails until it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attrib.functional import (
    METHODS,
    deep_lift,
    deep_lift_shap,
    feature_ablation,
    gradient_shap,
    in_silico_mutagenesis,
    input_x_gradient,
    integrated_gradients,
    noise_tunnel,
    occlusion,
    saliency,
    shapley_values,
    smooth_grad,
)
from attrib.testing import KINDS, Specimen, specimen

Options = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A method under test.

    `options` are always given; `light` make it fast where accuracy does not matter; `takes` says which baselines it has,
    a "point" or a "distribution"; `axioms` are those it claims (in `about`, unless the options change that); `engines` can be asked for by
    `engine=`; `kinds` of models it can explain; `alone` is False where several targets at once are not what each would
    be on its own; `many_baselines` where a method that takes one baseline or many is tried with many.
    """

    name: str
    method: Callable[..., Any]
    options: Options = field(default_factory=dict)
    light: Options = field(default_factory=dict)
    axioms: tuple[str, ...] = ()
    engines: tuple[str, ...] = ("func", "autograd")
    kinds: tuple[str, ...] = KINDS
    alone: bool = True
    many_baselines: bool = False

    @property
    def takes(self) -> str | None:
        kind = self.method.about.baselines
        return kind if kind != "any" else "distribution" if self.many_baselines else "point"

    def bound(self, light: bool = True) -> Callable[..., Any]:
        """The method with its options."""
        return partial(self.method, **self.options, **(self.light if light else {}))

    def explain(self, light: bool = True) -> Callable[..., Any]:
        """The same, for an `Explanation`."""
        return partial(self.method.explain, **self.options, **(self.light if light else {}))

    def baselines(self, s: Specimen) -> Options:
        """Baselines of a specimen, in the form that the method takes."""
        if self.takes is None:
            return {}
        if self.takes == "point":
            return {"baselines": s.baselines}
        return {"baselines": distribution(s, lead=self.method.about.baselines == "any")}


def distribution(s: Specimen, count: int = 3, lead: bool = False) -> Any:
    """Baselines (B, ...) or with `lead` (1, B, ...) for all samples, or (N, B, ...) where the specimen has one for each."""
    xs = s.x if isinstance(s.x, tuple) else (s.x,)
    x0s = s.baselines if isinstance(s.baselines, tuple) else (s.baselines,) * len(xs)
    found = tuple(_around(x, b, count) for x, b in zip(xs, x0s, strict=True))
    if lead:
        found = tuple(b[None] if b.ndim == x.ndim else b for x, b in zip(xs, found, strict=True))
    return found if len(found) > 1 else found[0]


def _around(x: Tensor, b: Any, count: int) -> Tensor:
    steps = torch.linspace(-0.5, 0.5, count, dtype=x.dtype).view(-1, *[1] * (x.ndim - 1))
    if not isinstance(b, Tensor):
        return steps + x.new_full((count, *x.shape[1:]), b)
    return b[:, None] + steps if len(b) == len(x) > 1 else b[:1] + steps


CASES: dict[str, Case] = {}


def register(
    method: Callable[..., Any],
    variant: str = "",
    *,
    but: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    **fields: Any,
) -> None:
    """Add a method, or a variant of it that lacks some axioms (`but`) or has more (`also`)."""
    name = method.__name__ + (f"-{variant}" if variant else "")
    axioms = tuple(a for a in method.about.axioms if a not in but) + also
    CASES[name] = Case(name, method, axioms=axioms, **fields)


EDITS = ("window", "dense")
IG_LIGHT = {"n_steps": 6}
register(saliency)
register(saliency, "signed", options={"absolute": False}, also=("linearity",))
register(input_x_gradient)
register(integrated_gradients, light=IG_LIGHT)
register(  # the points depend on the model, and several targets share them
    integrated_gradients, "rtol", options={"rtol": 1e-3}, alone=False, but=("linearity",)
)
for _rule in ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"):
    register(
        integrated_gradients, _rule, light=IG_LIGHT, options={"quadrature": _rule},
        but=("completeness",),  # to first or second order only: tests/functional/test_integrated_gradients.py
    )  # fmt: skip
register(
    integrated_gradients, "gradients", light=IG_LIGHT, options={"multiply_by_inputs": False},
    but=("completeness", "sensitivity"),
)  # fmt: skip
register(smooth_grad, light={"n_samples": 4})
for _reduce in ("square", "variance"):
    register(smooth_grad, _reduce, options={"reduce": _reduce}, light={"n_samples": 4}, but=("linearity",))
register(gradient_shap, light={"n_samples": 4})
register(gradient_shap, "noisy", light={"n_samples": 4}, options={"stdevs": 0.1}, but=("symmetry",))
register(gradient_shap, "gradients", light={"n_samples": 4}, options={"multiply_by_inputs": False})
register(deep_lift, engines=("secant",))
register(
    deep_lift,
    "multipliers",
    engines=("secant",),
    options={"multiply_by_inputs": False},
    but=("completeness", "sensitivity"),
)
register(deep_lift_shap, engines=("secant",))
register(occlusion, engines=EDITS)
register(occlusion, "windows", engines=EDITS, options={"window": 2, "stride": 2})
register(feature_ablation, engines=EDITS)
FEW = (
    "mlp",
    "number",
    "logits",
)  # of 4 and 5 features: all subsets of ten are a thousand calls of each sample
register(shapley_values, engines=EDITS, kinds=(*FEW, "two_inputs"))
register(
    shapley_values,
    "baselines",
    engines=EDITS,
    kinds=FEW,
    many_baselines=True,
    but=("completeness", "sensitivity"),
)
register(
    shapley_values, "sampled", engines=EDITS, options={"exact": False}, light={"n_permutations": 4},
    but=("symmetry",),  # in expectation only
)  # fmt: skip
register(
    shapley_values, "rtol", engines=EDITS, options={"exact": False, "rtol": 0.2}, light={"n_permutations": 4},
    kinds=("mlp", "two_inputs"), alone=False, but=("symmetry", "linearity"),
)  # fmt: skip
register(in_silico_mutagenesis, engines=EDITS, kinds=("sequence", "attention", "lstm"))


def _through(method: Callable[..., Any], variant: str) -> None:
    """A noise tunnel around a method, in the form (f, x, **options) of all others."""

    tunnel = partial(noise_tunnel, method)
    tunnel.__name__, tunnel.about = "noise_tunnel", noise_tunnel.about
    tunnel.explain = partial(noise_tunnel.explain, method)
    register(tunnel, variant, light={"n_samples": 3})


_through(saliency, "saliency")
_through(partial(integrated_gradients, n_steps=4), "integrated_gradients")

SHAPED_LIKE_X = {name for name, m in METHODS.items() if m.about.result == "input" and not m.about.layer}
UNREGISTERED = SHAPED_LIKE_X - {c.name.partition("-")[0] for c in CASES.values()}


def each(x: Any) -> tuple[Tensor, ...]:
    return x if isinstance(x, tuple) else (x,)


def agree(one: Any, other: Any, rtol: float = 1e-10) -> None:
    """Equal up to rounding, relative to the largest value; where all are zero, to that of outputs near one."""
    for a, b in zip(each(one), each(other), strict=True):
        scale = max(float(a.abs().max()), float(b.abs().max()), 1e-4)
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= rtol * scale


def drawn(case: Case, kind: str, **how: Any) -> tuple[Specimen, dict[str, Any]]:
    """A specimen of float64 (of another kind, if the method cannot explain this one), and the options that fit it."""
    kind = kind if kind in case.kinds else "attention" if "attention" in case.kinds else case.kinds[0]
    s = specimen(kind, seed=sum(map(ord, kind)), **{"dtype": torch.float64, **how})
    return s, {"target": s.target, **case.baselines(s)}
