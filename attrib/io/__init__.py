"""Results on disk: netCDF, .npy with its labels, CSV tables and MEME motifs. A file is whole or absent."""

from attrib.io.annotated import from_anndata, to_anndata
from attrib.io.files import add_group, load, save, save_rows
from attrib.io.motifs import load_modisco, load_motifs, motif_reading, save_motifs
from attrib.io.nifti import from_nifti, save_nifti, to_nifti
from attrib.io.place import replacing, write_json
from attrib.io.reading import opened, read
from attrib.io.tracks import save_bedgraph, save_modisco

__all__ = [
    "add_group",
    "from_anndata",
    "from_nifti",
    "load",
    "load_modisco",
    "load_motifs",
    "motif_reading",
    "opened",
    "read",
    "replacing",
    "save",
    "save_bedgraph",
    "save_modisco",
    "save_motifs",
    "save_nifti",
    "save_rows",
    "to_anndata",
    "to_nifti",
    "write_json",
]
