"""One file per study: load, attribute, summarise, draw, write."""

from attrib._rooms import rooms

__getattr__, __dir__ = rooms(__name__, ("cells", "checkpoint", "expression", "fcgr", "mri", "sequence"))
