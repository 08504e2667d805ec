"""The study of expression: classifiers of samples by their genes, trained and explained."""

from attrib.workflows.expression.checkpoint import load_checkpoint
from attrib.workflows.expression.download import download
from attrib.workflows.expression.training import train

__all__ = ["download", "load_checkpoint", "train"]
