"""The axioms that each method claims, on random models of all kinds."""

from typing import Any

import pytest
import torch
from hypothesis import given

from attrib.testing import AXIOMS, Specimen, specimens
from tests.cases import CASES, Case
from tests.examples import examples

CLAIMS = [(case, axiom) for case in CASES.values() for axiom in case.axioms]
# Relative to the largest value. Quadrature converges geometrically on smooth networks, slowest where a layer norm meets
# the path: 160 points leave 1e-5 there (scanned over seeds), 24 points leave 1e-9 elsewhere.
QUADRATURE = 2e-4
ROUNDING = {torch.float32: 2e-4, torch.float64: 1e-9}


def test_claims_are_checks() -> None:
    assert {axiom for _, axiom in CLAIMS} <= set(AXIOMS)


@pytest.mark.explore
@pytest.mark.parametrize(("case", "axiom"), CLAIMS, ids=[f"{case.name}-{axiom}" for case, axiom in CLAIMS])
def test_axiom(case: Case, axiom: str) -> None:
    kinds = [k for k in case.kinds if axiom != "sensitivity" or k in ("mlp", "number", "two_inputs")]
    # A step of a ReLU between two points of a path is seen by neither: what quadrature promises, it promises on smooth models.
    smooth = True if axiom == "completeness" or (axiom == "sensitivity" and "n_steps" in case.light) else None
    targets = ("one", "each") if axiom == "linearity" else ("one", "each", "predicted")

    @examples(12)
    @given(specimens(kinds, smooth=smooth, targets=targets))
    def check(s: Specimen) -> None:
        holds(case, axiom, s)

    check()


def holds(case: Case, axiom: str, s: Specimen) -> None:
    """The axiom holds for the method on a specimen."""
    dtype = (s.x[0] if isinstance(s.x, tuple) else s.x).dtype
    method, options = case.bound(), {**case.baselines(s), "target": s.target}
    tolerance = ROUNDING[dtype]
    if axiom == "completeness":
        tolerance = case.options.get("rtol", QUADRATURE)
        if "n_steps" in case.light:
            method = _with(method, n_steps=160)
    if case.takes == "distribution" and axiom in ("symmetry", "translation"):
        options["baselines"] = s.baselines  # the checks move points
        method = _of_point(method)
    if axiom == "translation" and case.takes is None:
        options["baselines"] = None
    AXIOMS[axiom](method, s.f, s.x, tolerance=tolerance, **options)


def _with(method: Any, **options: Any) -> Any:
    return lambda f, x, **given: method(f, x, **{**given, **options})


def _of_point(method: Any) -> Any:
    """A method that takes a distribution, given a distribution of one for each sample."""

    def given_one(f: Any, x: Any, *, baselines: Any, **options: Any) -> Any:
        if isinstance(baselines, torch.Tensor):
            baselines = baselines[:, None]
        elif isinstance(baselines, tuple):
            baselines = tuple(b[:, None] for b in baselines)
        return method(f, x, baselines=baselines, **options)

    return given_one
