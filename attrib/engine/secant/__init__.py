"""DeepLIFT's rescale rule: for each op the secant between the baseline and the input, instead of the slope.

A replay of a recorded graph computes each value as a `Pair`: at the baseline, at the input, and the change between them
as a linear function of the change of the inputs. The rules, a file per family of ops, say how the change passes through an
op; the transpose of the composed linear map gives the multipliers.
"""

from attrib.engine.secant.multipliers import VALUES_PER_ACTIVATION, Chunk, Multipliers, Readout
from attrib.engine.secant.replay import Secant, expressed, secant
from attrib.engine.secant.report import OpShare, shares

__all__ = [
    "VALUES_PER_ACTIVATION",
    "Chunk",
    "Multipliers",
    "OpShare",
    "Readout",
    "Secant",
    "expressed",
    "secant",
    "shares",
]
