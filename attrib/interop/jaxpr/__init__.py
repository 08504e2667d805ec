"""JAX functions as torch ops: the jaxpr of a function, translated primitive by primitive.

Methods that work on a model's ops (DeepLIFT's secants, mutagenesis' windows) are written once, for torch. `in_torch`
translates a JAX function to torch ops for them. Each family of primitives has a file; a translation is a short function
below the line that says what the primitive computes.
"""

from attrib.interop.jaxpr.traced import Traced, in_torch

__all__ = ["Traced", "in_torch"]
