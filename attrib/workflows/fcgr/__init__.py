"""The study of two-branch networks on chaos game images of a miRNA and its target."""

import sys

from attrib._rooms import CallableModule
from attrib.workflows.fcgr.predictor import Predictor, load_predictor
from attrib.workflows.fcgr.study import fcgr
from attrib.workflows.fcgr.training import Trained, train

__all__ = ["Predictor", "Trained", "fcgr", "load_predictor", "train"]

sys.modules[__name__].__class__ = CallableModule
