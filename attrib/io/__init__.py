"""Results on disk: netCDF, npy with its labels, and CSV tables, each file whole or absent."""

from attrib.io.files import load, save
from attrib.io.motifs import load_motifs, save_motifs
from attrib.io.place import add_group, replacing, write_json
from attrib.io.reading import read
from attrib.io.tables import save_rows

__all__ = [
    "add_group",
    "load",
    "load_motifs",
    "read",
    "replacing",
    "save",
    "save_motifs",
    "save_rows",
    "write_json",
]
