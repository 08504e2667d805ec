"""All rules, registered: importing a family's file enters its rules in the table."""

from attrib.engine.secant import bilinear, elementwise, extrema, linear, pooling, powers, softmax, steps, sums
from attrib.engine.secant.rules import RULES

FAMILIES = (linear, sums, bilinear, elementwise, powers, steps, extrema, pooling, softmax)

__all__ = ["FAMILIES", "RULES"]
