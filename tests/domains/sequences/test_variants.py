"""Variants read from VCF files, and both of their alleles from a genome."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attrib.domains.sequences import (
    one_hot,
    read_alleles,
    read_vcf,
    variant_effect,
)

VCF = """##fileformat=VCFv4.2
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
c\t7\trs1\tg\tA,T\t.\t.\t.
c\t5\t.\tTG\tCA\t.\t.\t.
c\t8\t.\tA\t<DEL>,*,G\t.\t.\t.
c\tx\t.\tA\tG

c\t9\t.\tT
"""
GENOME = "ACCGTTGATCAGGCATTACG"


def test_vcf(tmp_path: Path) -> None:
    for name, content in (
        ("a.vcf", VCF.encode()),
        ("a.vcf.gz", gzip.compress(VCF.replace("\n", "\r\n").encode(), mtime=0)),
    ):
        (tmp_path / name).write_bytes(content)
        found = read_vcf(tmp_path / name)
        assert found.variants.line.tolist() == [3, 3, 4, 5]
        assert found.variants.drop(columns="line").reset_index().values.tolist() == [
            ["rs1", "c", 7, "G", "A"],
            ["rs1", "c", 7, "G", "T"],
            ["c:5:TG>CA", "c", 5, "TG", "CA"],
            ["c:8:A>G", "c", 8, "A", "G"],
        ]
        assert found.problems.line.tolist() == [5, 5, 6, 8]
        assert "'<DEL>', no letters" in found.problems.problem[0]


@pytest.mark.parametrize("width", [6, 7, 9])
def test_alleles_are_the_edited_genome(tmp_path: Path, width: int) -> None:
    """Expected: the genome edited as a text, and `width` letters of it cut from the same place."""
    (tmp_path / "g.fa").write_text(f">c\n{GENOME.lower()}\n")
    rows = [
        ("c", 8, "A", "G"),
        ("c", 8, "A", "ATT"),
        ("c", 8, "ATC", "A"),
        ("c", 7, "GA", "CC"),
        ("c", 9, "T", "TA"),
    ]
    table = pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"])
    found = read_alleles(table, tmp_path / "g.fa", width=width)
    assert found.problems.empty
    for row, ref, alt in zip(rows, found.reference.itertuples(), found.alternative.itertuples(), strict=True):
        _, pos, given, other = row
        start = pos - 1 - width // 2
        edited = GENOME[: pos - 1] + other + GENOME[pos - 1 + len(given) :]
        assert ref.sequence.upper() == GENOME[start : start + width]
        assert alt.sequence.upper() == edited[start : start + width]
        assert (ref.start, ref.end) == (start, start + width)
    x = one_hot(found.reference)
    assert x.locus.sel(position=width // 2).values.tolist() == [pos - 1 for _, pos, *_ in rows]
    substitutions = table[table.ref.str.len() == table.alt.str.len()]
    f = lambda x: x.sel(nucleotide="C").sum("position")
    change = f(one_hot(found.alternative)) - f(x)
    own = change.sel(sample=[n for n in change.sample.values if n in ("c:8:A>G", "c:7:GA>CC")])
    effects = variant_effect(f, x[[0]], substitutions.assign(sample="c:8:A>G")).effects
    assert effects.difference.values.tolist() == own.values.tolist()


def test_alleles_of_rna_and_places_that_are_none(tmp_path: Path) -> None:
    fasta = tmp_path / "r.fa"
    fasta.write_text(">r\nACGUACGUACGU\n")
    table = pd.DataFrame(
        {"chrom": "r", "pos": [4, 4, np.nan, 4.5, 0, "x"], "ref": ["U", "t", "U", "U", "U", "U"], "alt": "C"}
    )
    both = read_alleles(table, fasta, width=4)
    assert both.reference.sequence.tolist() == ["CGUA", "CGUA"]
    assert both.alternative.sequence.tolist() == ["CGCA", "CGCA"]
    assert both.problems.line.tolist() == [3, 4, 5, 6]
    assert both.problems.problem[0] == "its pos is nan, expected a whole number of at least 1"


def test_alleles_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(f">c\n{GENOME}\n")
    rows = [("c", 8, "A", "G"), ("c", 8, "C", "G"), ("c", 2, "C", "G"), ("c", 19, "C", "G"), ("z", 8, "A", "G"), ("c", 8, "A", "<INS>"), ("c", 8, "A", "ACGTA"), ("c", 17, "TTA", "T")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["chrom", "pos", "ref", "alt"])
    found = read_alleles(table, tmp_path / "g.fa", width=6)
    assert found.reference.index.tolist() == found.alternative.index.tolist() == ["c:8:A>G"]
    listed = found.problems.set_index("line").problem
    assert listed.index.tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert listed[2] == "the genome has A at c:8, not 'C'"
    assert listed[3] == "it starts at -2"
    assert listed[4] == "c has 20 bases"
    assert listed[7] == "its alt has 5 letters; of 6 there are 3 for it"
    assert listed[8] == "c has 20 bases"  # the deletion draws on what follows
    with pytest.raises(ValueError, match=r"lacks the columns \['alt'\]"):
        read_alleles(table.drop(columns="alt"), tmp_path / "g.fa", width=6)
    with pytest.raises(ValueError, match="`width` is 1"):
        read_alleles(table, tmp_path / "g.fa", width=1)
    none = read_alleles(table[4:5], tmp_path / "g.fa", width=6)
    assert len(none.reference) == len(none.alternative) == 0


def test_bcf_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.bcf").write_bytes(gzip.compress(b"BCF\x02\x02" + bytes(50)))
    with pytest.raises(ValueError, match="is BCF, the binary form; convert it: bcftools view"):
        read_vcf(tmp_path / "a.bcf")
