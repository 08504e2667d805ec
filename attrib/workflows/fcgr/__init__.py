"""The study of two-branch networks on chaos game images of a miRNA and its target."""

from attrib.workflows.fcgr.predictor import Predictor, load_predictor
from attrib.workflows.fcgr.study import fcgr
from attrib.workflows.fcgr.training import Trained, train
from attrib.workflows.runner import Studied

__all__ = ["Predictor", "Studied", "Trained", "fcgr", "load_predictor", "train"]
