"""One file per study: load, attribute, summarise, draw, write."""

from attrib._rooms import rooms

__getattr__, __dir__ = rooms(
    __name__, ("cells", "checkpoint", "demo", "explain", "expression", "fcgr", "judge", "mri", "sequence")
)
