"""Motifs assembled from k-mers whose answer is known."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from attrib.stats import assemble


def kmer_scores(scores: dict[str, float]) -> xr.DataArray:
    return xr.DataArray(list(scores.values()), dims="kmer", coords={"kmer": list(scores)})


def test_a_planted_motif_is_assembled() -> None:
    site = "GCACTTTACG"
    words = {site[i : i + 6]: 10.0 - i for i in range(5)} | {"AAAAAA": 1.0, "CCGGTA": 0.5, "TTTTGG": -4.0}
    found = assemble(kmer_scores(words), sequences=[f"TT{site}A", "ccgguaaa", "GCACTTAA"])
    assert found.consensus.tolist() == [site, "AAAAAA", "CCGGTA"]
    assert found.support.tolist() == [5, 1, 1]
    assert found.score.tolist() == [40.0, 1.0, 0.5]
    assert found.sequences.tolist() == [2, 0, 1]
    assert found.whole.tolist() == [1, 0, 1]


def test_only_the_top_and_only_real_overlaps() -> None:
    words = kmer_scores({"ACGTAC": 3.0, "CGTACC": 2.0, "ACCTTT": 1.0})
    assert assemble(words).consensus.tolist() == ["ACGTACC", "ACCTTT"]
    assert assemble(words, overlap=3).consensus.tolist() == ["ACGTACCTTT"]
    assert assemble(words, top=1).consensus.tolist() == ["ACGTAC"]
    assert assemble(kmer_scores({"A": -1.0})).empty


@given(st.text("AC", min_size=4, max_size=14))
def test_each_kmer_is_in_one_motif(text: str) -> None:
    words = {text[i : i + 3]: float(len(text) - i) for i in range(len(text) - 2)}
    found = assemble(kmer_scores(words))
    members = [w.split(",") for w in found.kmers]
    assert sorted(w for m in members for w in m) == sorted(words)
    assert all(w in c for c, m in zip(found.consensus, members, strict=True) for w in m)
    assert found.score.sum() == sum(words.values())


@pytest.mark.parametrize(
    ("scores", "options", "text"),
    [
        ({"AC": 1.0, "A": 1.0}, {}, "different lengths"),
        ({"AC": 1.0}, {"overlap": 2}, "`overlap` 2"),
        ({}, {}, "no entries"),
        ({"AC": np.inf}, {}, "infinite"),
    ],
)
def test_refusals_of_assembly(scores: dict, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        assemble(kmer_scores(scores), **options)


def test_assembly_of_rna_words() -> None:
    found = assemble(kmer_scores({"ACU": 2.0, "CUG": 1.0}), sequences=["aacug", "AACTG", "ACC"])
    assert found[["consensus", "sequences", "whole"]].values.tolist() == [["ACUG", 2, 2]]
