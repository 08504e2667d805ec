"""JAX functions as torch ops: the jaxpr of a function, read primitive by primitive.

What reads a model's ops (DeepLIFT's secants, mutagenesis' windows) is written once, for torch. `in_torch` gives it a
function of the same values made of torch ops. Each family of primitives has a file; a translation is a short function
next to the line that says what the primitive does.
"""

from attrib.interop.jaxpr.traced import Traced, in_torch

__all__ = ["Traced", "in_torch"]
