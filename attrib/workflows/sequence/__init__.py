"""The study of sequences: what a network of DNA or RNA looks for, record by record and over all of them."""

from attrib.workflows.sequence.settings import Source
from attrib.workflows.sequence.study import Search, Studied, sequence

__all__ = ["Search", "Source", "Studied", "sequence"]
