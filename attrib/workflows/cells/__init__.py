"""The study of cell images."""

from attrib.workflows.cells.explaining import METHODS
from attrib.workflows.cells.study import cells
from attrib.workflows.runner import Studied

__all__ = ["METHODS", "Studied", "cells"]
