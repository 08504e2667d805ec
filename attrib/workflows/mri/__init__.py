"""The study of magnetic resonance images."""

from attrib.workflows.mri.plan import METHODS
from attrib.workflows.mri.study import mri

__all__ = ["METHODS", "mri"]
