"""The study of cell images."""

from attrib.workflows.cells.explaining import METHODS
from attrib.workflows.cells.study import cells

__all__ = ["METHODS", "cells"]
