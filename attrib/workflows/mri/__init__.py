"""The study of magnetic resonance images."""

from attrib.workflows.mri.plan import METHODS, Factory, Figures, Images, Voxels
from attrib.workflows.mri.study import mri

__all__ = ["METHODS", "Factory", "Figures", "Images", "Voxels", "mri"]
