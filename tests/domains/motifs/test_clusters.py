"""Seqlets of two motifs on two strands come out as two motifs."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from attrib.domains.motifs import cluster_seqlets, consensus, find_seqlets
from attrib.domains.motifs.clusters import aligned, moved
from tests.jaspar import one_hot

WORDS = {"GATTACAG": 1.0, "CCTGACGA": 1.0}
CODE = {c: k for k, c in enumerate("ACGT")}


def case(strands: bool = True) -> tuple[xr.DataArray, xr.DataArray, list[str], list[int]]:
    """Contributions and letters of 40 sequences; each holds one word, on either strand, at a random place."""
    rng = np.random.default_rng(0)
    codes, values = rng.integers(4, size=(40, 70)), rng.normal(0, 0.05, size=(40, 70))
    words, starts = [], []
    for n in range(40):
        word = list(WORDS)[n % 2]
        start = int(rng.integers(10, 52))
        letters = np.array([CODE[c] for c in word])
        if strands and n % 4 > 1:
            letters = 3 - letters[::-1]
        codes[n, start : start + 8] = letters
        values[n, start : start + 8] += 1
        words.append(word)
        starts.append(start)
    return xr.DataArray(values, dims=("sample", "position")), one_hot(codes), words, starts


def flip(word: str) -> str:
    return word[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_two_motifs_on_both_strands() -> None:
    a, x, words, starts = case()
    found = cluster_seqlets(find_seqlets(a), a, x, bits=1.0)
    assert len(found.motifs) == 2
    names = {consensus(m): k for k, m in found.motifs.items()}
    assert {min(w, flip(w)) for w in names} == {min(w, flip(w)) for w in WORDS}
    for k, m in found.motifs.items():
        assert m.sites == 20
        assert float(m.values.max(0).min()) == 1.0
        mean = found.contributions[k]
        assert (mean.values[m.values == 1.0] > 0.9).all()
        assert abs(mean.values[m.values == 0.0]).max() < 0.05
    table = found.seqlets
    for n in range(40):
        mine = table[(table.record == n) & (table.cluster != "")]
        assert len(mine) == 1
        assert abs(mine.start.iloc[0] - starts[n]) <= 1
        word = next(w for w, k in names.items() if k == mine.cluster.iloc[0])
        assert words[n] in (word, flip(word))
        assert (mine.strand.iloc[0] == "-") == ((words[n] == word) == (n % 4 > 1))


def test_one_strand_keeps_them_apart() -> None:
    a, x, _, _ = case()
    found = cluster_seqlets(find_seqlets(a), a, x, both_strands=False, bits=1.0)
    assert {consensus(m) for m in found.motifs.values()} == {*WORDS, *map(flip, WORDS)}
    assert set(found.seqlets.strand) == {"+"}


def test_negative_seqlets_are_motifs_of_their_own() -> None:
    a, x, _, _ = case(strands=False)
    sign = xr.DataArray([1.0 if n < 20 else -1.0 for n in range(40)], dims="sample")
    found = cluster_seqlets(find_seqlets(a * sign), a * sign, x, bits=1.0)
    assert sorted(consensus(m) for m in found.motifs.values()) == sorted([*WORDS, *WORDS])
    means = [float(m.sum()) for m in found.contributions.values()]
    assert sum(m < 0 for m in means) == 2


def test_small_clusters_are_left_out() -> None:
    a, x, _, _ = case()
    found = cluster_seqlets(find_seqlets(a), a, x, smallest=21)
    assert found.motifs == {}
    assert set(found.seqlets.cluster) == {""}
    assert cluster_seqlets(find_seqlets(a * 0), a * 0, x).motifs == {}


def test_alignment_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    w = rng.normal(size=(6, 4, 8))
    fits = aligned(w)
    for i in range(6):
        for j in range(6):
            cosines = []
            for other in (w[j], w[j][::-1, ::-1]):
                for shift in range(-4, 5):
                    laid = np.zeros((4, 24))
                    laid[:, 8 + shift : 16 + shift] = other
                    cosines.append((w[i] * laid[:, 8:16]).sum() / np.linalg.norm(w[i]) / np.linalg.norm(w[j]))
            assert fits.similarity[i, j] == pytest.approx(max(cosines))
    assert np.array_equal(moved(np.arange(5), 2), [0, 0, 0, 1, 2])
    assert np.array_equal(moved(np.arange(5), -2), [2, 3, 4, 0, 0])


def test_refusals() -> None:
    a, x, _, _ = case()
    seqlets = find_seqlets(a)
    with pytest.raises(ValueError, match="has the record 99"):
        cluster_seqlets(pd.DataFrame(seqlets.assign(record=99)), a, x)
    with pytest.raises(ValueError, match="expected the same"):
        cluster_seqlets(seqlets, a[:, :50], x)
    with pytest.raises(ValueError, match=r"expected \(sample, position\)"):
        cluster_seqlets(seqlets, x, x)


def test_a_part_of_the_table_keeps_its_rows() -> None:
    a, x, _, _ = case()
    table = find_seqlets(a)
    part = table[table.record % 4 < 2].sort_values("z")
    found, expected = (cluster_seqlets(t, a, x) for t in (part, part.reset_index(drop=True)))
    assert found.seqlets.index.equals(part.index)
    assert found.seqlets.reset_index(drop=True).equals(expected.seqlets)
    assert set(found.motifs) == set(expected.motifs)


def test_samples_and_positions_are_matched_by_name() -> None:
    a, x, _, _ = case()
    table = find_seqlets(a)
    named = x.assign_coords(sample=np.arange(40), position=np.arange(70))
    for other in ({"sample": np.arange(40)[::-1]}, {"position": np.arange(70) + 1}):
        with pytest.raises(ValueError, match="`contribution` and `x` have other labels along"):
            cluster_seqlets(table, a.assign_coords(other), named)
    with pytest.raises(ValueError, match="`contribution` has the sample 0 more than once"):
        cluster_seqlets(table, a.assign_coords(sample=np.zeros(40, int)), x)
