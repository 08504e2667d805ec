"""From a field's raw data to labelled inputs, and what only that field needs."""

from attrib._rooms import rooms

__getattr__, __dir__ = rooms(__name__, ("cells", "expression", "fcgr", "motifs", "mri", "sequences"))
