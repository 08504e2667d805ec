"""DNA and RNA: from files to labelled arrays, baselines, corrections and experiments."""

from attrib.domains.sequences.baselines import dinucleotide_shuffle, random_sequences, shuffle, uniform, zeros
from attrib.domains.sequences.edits import reverse_complement
from attrib.domains.sequences.effects import VariantEffects, variant_effect
from attrib.domains.sequences.encoding import decode, gradient_correction, hypothetical, one_hot
from attrib.domains.sequences.experiments import ablate, marginalize, space
from attrib.domains.sequences.mutagenesis import evolve, saturation
from attrib.domains.sequences.tables import Reading, read_fasta, read_seqdata, read_table
from attrib.domains.sequences.variants import Alleles, Variants, read_alleles, read_bed, read_vcf

__all__ = [
    "Alleles",
    "Reading",
    "VariantEffects",
    "Variants",
    "ablate",
    "decode",
    "dinucleotide_shuffle",
    "evolve",
    "gradient_correction",
    "hypothetical",
    "marginalize",
    "one_hot",
    "random_sequences",
    "read_alleles",
    "read_bed",
    "read_fasta",
    "read_seqdata",
    "read_table",
    "read_vcf",
    "reverse_complement",
    "saturation",
    "shuffle",
    "space",
    "uniform",
    "variant_effect",
    "zeros",
]
