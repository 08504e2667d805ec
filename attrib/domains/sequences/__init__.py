"""DNA and RNA: files to labelled arrays, baselines, corrections and experiments."""

from attrib.domains.sequences.baselines import (
    dinucleotide_shuffle,
    random_sequences,
    shuffle,
    uniform,
    zeros,
)
from attrib.domains.sequences.corrections import gradient_correction, hypothetical
from attrib.domains.sequences.encoding import decode, one_hot
from attrib.domains.sequences.fasta import read_fasta
from attrib.domains.sequences.intervals import read_bed
from attrib.domains.sequences.records import Reading
from attrib.domains.sequences.strands import reverse_complement
from attrib.domains.sequences.tables import read_table

__all__ = [
    "Reading",
    "decode",
    "dinucleotide_shuffle",
    "gradient_correction",
    "hypothetical",
    "one_hot",
    "random_sequences",
    "read_bed",
    "read_fasta",
    "read_table",
    "reverse_complement",
    "shuffle",
    "uniform",
    "zeros",
]
