"""The study of expression: classifiers of samples by their genes, trained and explained."""

import sys

from attrib._rooms import CallableModule
from attrib.workflows.expression.checkpoint import load_checkpoint
from attrib.workflows.expression.download import download
from attrib.workflows.expression.study import METHODS, Report, expression
from attrib.workflows.expression.training import Balance, Layers, Trained, train

__all__ = [
    "METHODS",
    "Balance",
    "Layers",
    "Report",
    "Trained",
    "download",
    "expression",
    "load_checkpoint",
    "train",
]

sys.modules[__name__].__class__ = CallableModule
