"""The study of sequences: what a network of DNA or RNA looks for, record by record and over all of them."""

import sys

from attrib._rooms import CallableModule
from attrib.workflows.sequence.settings import METHODS, Source
from attrib.workflows.sequence.study import Search, sequence

__all__ = ["METHODS", "Search", "Source", "sequence"]

sys.modules[__name__].__class__ = CallableModule
