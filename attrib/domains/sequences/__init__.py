"""DNA and RNA: files to labelled arrays, baselines, corrections and experiments."""

from attrib.domains.sequences.ablation import ablate
from attrib.domains.sequences.alleles import Alleles, read_alleles
from attrib.domains.sequences.baselines import dinucleotide_shuffle, random_sequences, shuffle, uniform, zeros
from attrib.domains.sequences.corrections import gradient_correction, hypothetical
from attrib.domains.sequences.effects import VariantEffects, variant_effect
from attrib.domains.sequences.encoding import decode, one_hot
from attrib.domains.sequences.experiments import marginalize, space
from attrib.domains.sequences.fasta import read_fasta
from attrib.domains.sequences.intervals import read_bed
from attrib.domains.sequences.mutagenesis import saturation
from attrib.domains.sequences.records import Reading
from attrib.domains.sequences.strands import reverse_complement
from attrib.domains.sequences.tables import read_table
from attrib.domains.sequences.variants import Variants, read_vcf

__all__ = [
    "Alleles",
    "Reading",
    "VariantEffects",
    "Variants",
    "ablate",
    "decode",
    "dinucleotide_shuffle",
    "gradient_correction",
    "hypothetical",
    "marginalize",
    "one_hot",
    "random_sequences",
    "read_alleles",
    "read_bed",
    "read_fasta",
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
