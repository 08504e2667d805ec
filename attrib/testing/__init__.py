"""The axioms of attribution as checks, for the methods here and for yours; strategies that draw models and inputs; pictures.

The checks run without hypothesis; the strategies need it: ``pip install -e '.[test]'``.
"""

from attrib.testing.axioms import (
    completeness,
    dummy,
    implementation_invariance,
    linearity,
    sensitivity,
    symmetry,
    translation,
)
from attrib.testing.contract import (
    by_label,
    by_name,
    chunk_independence,
    context_independence,
    order_independence,
    purity,
    row_independence,
)
from attrib.testing.legibility import LegibilityError, legible
from attrib.testing.state import independent_rows, untouched
from attrib.testing.strategies import KINDS, Specimen, labelled_arrays, specimen, specimens, tensors
from attrib.testing.violation import AxiomError, Violation

AXIOMS = {
    check.__name__: check
    for check in (
        completeness, sensitivity, dummy, linearity, symmetry, implementation_invariance, translation,
    )
}  # fmt: skip
CONTRACT = {
    check.__name__: check
    for check in (
        row_independence, order_independence, chunk_independence, context_independence, by_name, by_label, purity,
    )
}  # fmt: skip

__all__ = [
    "AXIOMS",
    "CONTRACT",
    "KINDS",
    "AxiomError",
    "LegibilityError",
    "Specimen",
    "Violation",
    "by_label",
    "by_name",
    "chunk_independence",
    "completeness",
    "context_independence",
    "dummy",
    "implementation_invariance",
    "independent_rows",
    "labelled_arrays",
    "legible",
    "linearity",
    "order_independence",
    "purity",
    "row_independence",
    "sensitivity",
    "specimen",
    "specimens",
    "symmetry",
    "tensors",
    "translation",
    "untouched",
]
