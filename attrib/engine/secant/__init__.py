"""DeepLIFT's reading of a graph: for each op the slope between the baseline and the input, not the tangent.

A replay carries each value as a `Twin`: at the baseline, at the input, and a carrier of their difference that every
op maps linearly. The rules, a file per family of ops, say how; the transpose of the whole map gives the multipliers.
"""

from attrib.engine.secant.pairs import Pairs
from attrib.engine.secant.replay import Secant, expressed, secant
from attrib.engine.secant.report import OpShare, Readout, shares

__all__ = ["OpShare", "Pairs", "Readout", "Secant", "expressed", "secant", "shares"]
