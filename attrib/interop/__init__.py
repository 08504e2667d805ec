"""Arrays and models of other libraries."""

from attrib._rooms import rooms

__getattr__, __dir__ = rooms(__name__, ("arrays", "jax"))
