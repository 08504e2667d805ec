"""Expression matrices: files to samples by genes, sample tables, gene ids, donors, augmentation, gene sets."""

from attrib.domains.expression.annotation import with_samples
from attrib.domains.expression.genes import aligned, gene_list, read_gmt, without_version
from attrib.domains.expression.matrices import read_matrix
from attrib.domains.expression.preparation import augmented, check_split, scaled, split_by_group, transformed

__all__ = [
    "aligned",
    "augmented",
    "check_split",
    "gene_list",
    "read_gmt",
    "read_matrix",
    "scaled",
    "split_by_group",
    "transformed",
    "with_samples",
    "without_version",
]
