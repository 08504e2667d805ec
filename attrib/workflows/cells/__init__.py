"""The study of cell images."""

import sys

from attrib._rooms import CallableModule
from attrib.workflows.cells.explaining import METHODS
from attrib.workflows.cells.study import cells

__all__ = ["METHODS", "cells"]

sys.modules[__name__].__class__ = CallableModule
