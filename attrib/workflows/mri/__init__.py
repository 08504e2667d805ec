"""The study of magnetic resonance images."""

import sys

from attrib._rooms import CallableModule
from attrib.workflows.mri.plan import METHODS, Factory, Images, Voxels
from attrib.workflows.mri.study import mri

__all__ = ["METHODS", "Factory", "Images", "Voxels", "mri"]

sys.modules[__name__].__class__ = CallableModule
