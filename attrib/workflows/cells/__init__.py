"""The study of cell images."""

from attrib.workflows.cells.explaining import METHODS
from attrib.workflows.cells.study import Study, cells

__all__ = ["METHODS", "Study", "cells"]
