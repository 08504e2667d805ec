"""The study of expression: classifiers of samples by their genes, trained and explained."""

from attrib.workflows.expression.checkpoint import load_checkpoint
from attrib.workflows.expression.download import download
from attrib.workflows.expression.study import METHODS, expression
from attrib.workflows.expression.training import Trained, train

__all__ = ["METHODS", "Trained", "download", "expression", "load_checkpoint", "train"]
