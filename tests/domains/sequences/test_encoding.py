"""Texts to labelled one-hot arrays and back, and the other strand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import attrib
from attrib.domains.sequences import decode, one_hot, read_bed, reverse_complement

texts = st.lists(st.text("ACGTN", min_size=1, max_size=12), min_size=1, max_size=5)
pads = st.sampled_from(["right", "left", "both"])


@given(texts, pads, st.integers(0, 3))
def test_decode_undoes_one_hot(given_texts: list[str], pad: str, more: int) -> None:
    x = one_hot(given_texts, pad=pad, length=max(map(len, given_texts)) + more)
    assert decode(x).values.tolist() == given_texts
    assert x.length.values.tolist() == [len(t) for t in given_texts]
    assert (x.mask.sum("position") == x.length).all()
    assert float(x.where(~x.mask, 0).sum()) == 0


@given(texts, pads)
def test_reverse_complement_reads_the_other_strand(given_texts: list[str], pad: str) -> None:
    x = one_hot(given_texts, pad=pad)
    turned = reverse_complement(x)
    assert decode(turned).values.tolist() == [reverse_complement(t) for t in given_texts]
    assert reverse_complement(turned).identical(x)
    partner = dict(zip("ACGT", "TGCA", strict=True))
    for p in x.position.values:  # by label: the same base, on the other strand
        for letter in "ACGT":
            assert (
                turned.sel(nucleotide=partner[letter], position=p).values
                == x.sel(nucleotide=letter, position=p).values
            ).all()


def test_reverse_complement_of_any_order_of_nucleotides_and_of_attributions() -> None:
    x = one_hot({"a": "AACG", "b": "TTT"}) * xr.DataArray(np.arange(4.0) + 1, dims="position")
    mixed = x.sel(nucleotide=list("GATC")).transpose("position", "sample", "nucleotide")
    turned = reverse_complement(mixed)
    assert turned.dims == mixed.dims
    assert turned.nucleotide.values.tolist() == list("GATC")
    assert turned.sel(nucleotide=list("ACGT")).transpose(*x.dims).identical(reverse_complement(x))
    assert turned.sel(sample="a", nucleotide="C").values.tolist() == [4, 0, 0, 0]


def test_letters() -> None:
    """ACGT order, U as T, N zeros, any case."""
    x = one_hot("acgtuUN")
    assert x.dims == ("sample", "nucleotide", "position")
    assert x.nucleotide.values.tolist() == list("ACGT")
    assert x.dtype == np.float32
    assert x.values[0].argmax(0)[:6].tolist() == [0, 1, 2, 3, 3, 3]
    assert x.values[0].sum(0).tolist() == [1, 1, 1, 1, 1, 1, 0]
    assert one_hot("A", dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize(
    ("sequences", "names"),
    [
        ("AC", [0]),
        (["AC", "G"], [0, 1]),
        ({"a": "AC", "b": "G"}, ["a", "b"]),
        (pd.Series(["AC"], index=["a"]), ["a"]),
        (pd.DataFrame({"sequence": ["AC"]}, index=["a"]), ["a"]),
    ],
)
def test_forms_of_sequences(sequences: object, names: list) -> None:
    assert one_hot(sequences).sample.values.tolist() == names  # type: ignore[arg-type]


def test_padding_is_masked() -> None:
    x = one_hot(["ACG", "T"], length=4, pad="both")
    assert x.mask.values.tolist() == [[True, True, True, False], [False, True, False, False]]
    assert x.sel(sample=1).values.argmax(1).tolist() == [0, 0, 0, 1]


def test_other_columns_are_coords_and_survive_a_file(tmp_path: Path) -> None:
    table = pd.DataFrame({"sequence": ["ACG", "T"], "label": [1, 0], "kind": ["x", None]}, index=["a", "b"])
    x = one_hot(table)
    assert x.label.values.tolist() == [1, 0]
    assert x.kind.values.tolist() == ["x", ""]
    a = attrib.saliency(lambda x: (x**2).sum((1, 2)), x)
    assert a.mask.variable.equals(x.mask.variable)
    attrib.save(a, tmp_path / "a.nc")
    assert attrib.load(tmp_path / "a.nc").identical(a)
    assert decode(x).kind.values.tolist() == ["x", ""]


def test_places_on_the_genome_follow_the_bases(tmp_path: Path) -> None:
    """By locus, every base is the genome's, or its complement where the strand is -."""
    genome = "ACCGTTAGCA"
    (tmp_path / "g.fa").write_text(f">c\n{genome}\n")
    (tmp_path / "a.bed").write_text("c\t1\t6\tplus\t0\t+\nc\t3\t10\tminus\t0\t-\nc\t0\t3\tshort\n")
    x = one_hot(read_bed(tmp_path / "a.bed", tmp_path / "g.fa").sequences, pad="both")
    for turned in (x, reverse_complement(x)):
        for s in turned.sample.values:
            one = turned.sel(sample=s)
            letters = [str(v) for v in one.nucleotide.values[one.values.argmax(0)]]
            for letter, place in zip(letters, one.locus.values, strict=True):
                if place >= 0:
                    assert letter == (
                        genome[place] if one.strand == "+" else reverse_complement(genome[place])
                    )
        assert ((turned.locus == -1) == ~turned.mask).all()
    assert x.locus.sel(sample="minus").values.tolist() == [9, 8, 7, 6, 5, 4, 3]
    assert x.chrom.values.tolist() == ["c"] * 3
    assert reverse_complement(x).strand.values.tolist() == ["-", "+", "-"]
    assert x.sel(sample="plus").swap_dims(position="locus").sel(locus=3, nucleotide="G").item() == 1


@pytest.mark.parametrize(
    ("sequences", "options", "text"),
    [
        ([], {}, "`sequences` is empty"),
        ({"a": "ACGT", "b": "ACRT"}, {}, r"1 of 2 .*'b': letter 'R' at position 2 \(counted from 0\)"),
        (["", "A"], {}, "0: it has no letters"),
        ([3], {}, "0: it is a int, no text"),
        (["ACGT", "A"], {"length": 3}, "`length` is 3, but 0 are longer, up to 4"),
        (["A"], {"pad": "middle"}, "`pad` is 'middle'"),
        (pd.DataFrame({"seq": ["A"]}), {}, "expected one called 'sequence'"),
        (
            pd.DataFrame({"sequence": ["A"], "target": [1]}),
            {},
            r"columns \['target'\], names that results need",
        ),
        (pd.DataFrame({"sequence": ["A"], "chrom": ["c"], "start": [3], "end": [5]}), {}, "has 1 letters"),
    ],
)
def test_what_cannot_be_encoded(sequences: object, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        one_hot(sequences, **options)  # type: ignore[arg-type]


def test_what_cannot_be_decoded_or_turned() -> None:
    x = one_hot("ACG")
    with pytest.raises(ValueError, match=r"`x` is not one-hot at position 0, nor at 2 others"):
        decode(x * 0.5)
    with pytest.raises(ValueError, match="not one-hot at position 1"):
        decode(x + one_hot("NAN"))
    with pytest.raises(ValueError, match="expected nucleotide and position"):
        reverse_complement(x.rename(position="x"))
    with pytest.raises(ValueError, match="expected A, C, G and T"):
        reverse_complement(x.isel(nucleotide=slice(3)))


def test_models_take_it() -> None:
    x = one_hot(["ACGTACG", "TTT"])
    a = attrib.in_silico_mutagenesis(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28, 1)), x)
    assert a.nucleotide.values.tolist() == list("ACGT")
    assert a.mask.dtype == bool
