"""All rules, registered: importing a family's file enters its rules in the table."""

from attrib.engine.secant import bilinear, elementwise, linear, normalisation, pooling, sums
from attrib.engine.secant.rules import RULES

FAMILIES = (linear, sums, bilinear, elementwise, pooling, normalisation)

__all__ = ["FAMILIES", "RULES"]
