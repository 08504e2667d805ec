"""Effects of variants in every sequence that covers them, against edited genomes; and what is refused with its row."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import attrib
from attrib.domains.sequences import (
    decode,
    one_hot,
    read_bed,
    read_table,
    reverse_complement,
    variant_effect,
)

GENOME = "ACCGTTGATCAGGCATTACG"


@pytest.fixture
def windows(tmp_path: Path) -> xr.DataArray:
    (tmp_path / "g.fa").write_text(f">c\n{GENOME}\n>d\n{GENOME}\n")
    (tmp_path / "a.bed").write_text(
        "c\t2\t12\tplus\t0\t+\nc\t4\t14\tminus\t0\t-\nd\t0\t10\tother\t0\t+\nc\t0\t20\tlong\t0\t-\n"
    )
    return one_hot(read_bed(tmp_path / "a.bed", tmp_path / "g.fa").sequences.iloc[:3], dtype=np.float64)


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(60, 1)
    ).double()


def by_hand(f: torch.nn.Module, genome: str, start: int, end: int, strand: str) -> float:
    text = genome[start:end] if strand == "+" else reverse_complement(genome[start:end])
    return f(torch.from_numpy(one_hot(text, dtype=np.float64).values)).item()


@pytest.mark.parametrize("pad", [False, True])
def test_variants_of_a_genome_are_asked_in_every_window_that_covers_them(
    windows: xr.DataArray, pad: bool
) -> None:
    """Expected: the genome edited as a text, its windows read again."""
    f = model()
    g = (
        (lambda x: attrib.predict(f, x.isel(position=slice(2, 12)))[:, 0])
        if pad
        else partial(attrib.predict, f)
    )
    if pad:  # the same with padding around: places are found by the bases' coords, not by counting
        wide = windows.pad(position=(2, 2), constant_values=0).assign_coords(position=np.arange(14))
        mask, locus = np.zeros((3, 14), bool), np.full((3, 14), -1)
        mask[:, 2:12], locus[:, 2:12] = True, windows.locus
        windows = wide.assign_coords(
            mask=(("sample", "position"), mask), locus=(("sample", "position"), locus)
        )
    table = pd.DataFrame(
        {
            "chrom": list("ccccd"),
            "pos": [7, 13, 5, 3, 1],
            "ref": ["G", "G", "TT", "C", "a"],
            "alt": ["A", "T", "CA", "G", "u"],
        }
    )
    found = variant_effect(g, windows, table).effects.squeeze(drop=True)
    expected = [(0, "plus", 2, 12, "+"), (0, "minus", 4, 14, "-"), (1, "minus", 4, 14, "-"), (2, "plus", 2, 12, "+"), (2, "minus", 4, 14, "-"), (3, "plus", 2, 12, "+"), (4, "other", 0, 10, "+")]  # fmt: skip
    assert found.sample.values.tolist() == [name for _, name, *_ in expected]
    for k, (row, _, start, end, strand) in enumerate(expected):
        at, alt = table.pos[row] - 1, table.alt[row].upper()
        edited = GENOME[:at] + alt + GENOME[at + len(alt) :]
        change = by_hand(f, edited, start, end, strand) - by_hand(f, GENOME, start, end, strand)
        np.testing.assert_allclose(found.difference[k], change, atol=1e-12)
    assert found["variant"].values[0] == "c:7:G>A"
    assert found["ref"].values[1] == "C"  # as the minus strand reads it


def test_variants_and_slices_flips_and_single_bases(windows: xr.DataArray) -> None:
    """The places follow the bases through slicing and turning."""
    table = pd.DataFrame({"chrom": ["c"], "pos": [7], "ref": ["G"], "alt": ["A"]})
    is_a = lambda x: x.sel(nucleotide="A").sum("position")
    is_t = lambda x: x.sel(nucleotide="T").sum("position")
    for x in (windows, windows.isel(position=slice(3, 9)), reverse_complement(windows)):
        found = variant_effect(lambda x: is_a(x) + is_t(x), x, table).effects
        assert found.difference.values.tolist() == [1, 1]
    one = windows.sel(sample=["minus"]).isel(position=[7])
    assert variant_effect(is_t, one, table).effects.difference.values.tolist() == [1]
    turned = reverse_complement(windows)
    forward, backward = (variant_effect(is_a, x, table).effects for x in (windows, turned))
    assert forward.difference.values.tolist() == backward.difference.values[::-1].tolist() == [1, 0]


def test_variants_are_entries_of_mutagenesis(windows: xr.DataArray) -> None:
    f = model()
    everything = attrib.in_silico_mutagenesis(f, windows)
    table = pd.DataFrame(
        [
            {"sample": s, "position": p, "ref": ref, "alt": alt}
            for s in windows.sample.values
            for p in (0, 4, 9)
            for ref in [str(windows.nucleotide.values[windows.sel(sample=s, position=p).values.argmax()])]
            for alt in sorted(set("ACGT") - {ref})
        ]
    )
    found = variant_effect(partial(attrib.predict, f), windows, table).effects.isel(target=0)
    assert found.sizes["variant"] == len(table) == 27
    for row, difference in zip(table.itertuples(), found.difference.values, strict=True):
        entry = everything.sel(sample=row.sample, position=row.position, nucleotide=row.alt)
        np.testing.assert_allclose(difference, entry, atol=1e-12)


def test_attribution_difference(windows: xr.DataArray) -> None:
    method = partial(attrib.integrated_gradients, model(), n_steps=8)
    table = pd.DataFrame({"sample": ["plus"], "position": [4], "ref": ["G"], "alt": ["A"]})
    found = variant_effect(method, windows, table).effects
    assert found.difference.dims == ("variant", "nucleotide", "position")
    edited = windows.sel(sample=["plus"]).copy()
    edited.loc[{"position": 4}] = np.eye(4)[:1]
    np.testing.assert_allclose(
        found.difference[0], (method(edited) - method(windows.sel(sample=["plus"])))[0], atol=1e-12
    )
    assert found.locus.dims == ("variant", "position")
    assert found.strand.values.tolist() == ["+"]


def test_bad_rows_are_listed_and_the_others_finished(windows: xr.DataArray) -> None:
    table = pd.DataFrame(
        [
            ("c", 7, "G", "A"),
            ("c", 7, "C", "A"),
            ("c", 7, "G", "GA"),
            ("c", 7, "GA", "G"),
            ("c", 7, "G", "G"),
            ("c", 7, "N", "A"),
            ("c", 7, "G", None),
            ("c", 30, "G", "A"),
            ("e", 7, "G", "A"),
            ("c", 12, "GG", "AA"),
        ],
        columns=["chrom", "pos", "ref", "alt"],
    )
    found = variant_effect(lambda x: x.sel(nucleotide="A").sum("position"), windows, table)
    assert sorted(set(found.effects["variant"].values.tolist())) == [
        "c:12:GG>AA",
        "c:7:G>A",
        "c:7:G>GA",
        "c:7:GA>G",
    ]
    listed = found.problems.groupby("line").problem.first()
    assert listed.index.tolist() == [2, 5, 6, 7, 8, 9]
    assert listed[2] == "the sequence plus has G at position 4, not 'C'"
    assert (found.problems.line == 2).sum() == 2  # in both windows
    assert listed[5] == "its ref and alt are both G"
    assert "its ref is 'N'" in listed[6]
    assert re.search("its alt is (nan|None)", listed[7])  # pandas 3, or 2
    assert listed[8] == "no sequence covers c:30 and its 1 letters"
    assert listed[9] == "no sequence covers e:7 and its 1 letters; the sequences lie on c, d"


def test_places_that_are_no_whole_numbers_are_listed(windows: xr.DataArray) -> None:
    table = pd.DataFrame({"chrom": "c", "pos": [7, 7.5, np.nan], "ref": "G", "alt": "A"})
    found = variant_effect(lambda x: x.sel(nucleotide="A").sum("position"), windows, table)
    assert found.effects.sizes["variant"] == 2  # in both windows
    assert found.problems.line.tolist() == [2, 3]
    assert found.problems.problem[0] == "its pos is 7.5, expected a whole number of at least 1"


def test_a_sequence_that_is_not_the_references_does_not_hide_the_others(windows: xr.DataArray) -> None:
    changed = windows.copy()
    changed.loc[{"sample": "plus", "position": 4}] = np.eye(4)[3]
    table = pd.DataFrame({"chrom": ["c"], "pos": [7], "ref": ["G"], "alt": ["A"]})
    found = variant_effect(lambda x: x.mean(("nucleotide", "position")), changed, table)
    assert found.effects.sample.values.tolist() == ["minus"]
    assert found.problems.problem.tolist() == ["the sequence plus has T at position 4, not 'G'"]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (
            {"chrom": ["c"], "pos": [7], "ref": ["G"]},
            "expected ref and alt, and chrom and pos, or sample and position",
        ),
        ({"ref": ["G"], "alt": ["A"]}, "expected ref and alt"),
        ({"sample": ["no"], "position": [1], "ref": ["G"], "alt": ["A"]}, "there is no sample 'no'"),
        ({"sample": ["plus"], "position": [10], "ref": ["G"], "alt": ["A"]}, "has no position 10"),
        ({"sample": ["plus"], "position": [9], "ref": ["GG"], "alt": ["AA"]}, "ends before the end of GG"),
        ({"sample": [], "position": [], "ref": [], "alt": []}, "it is empty"),
    ],
)
def test_tables_that_cannot_be_used(windows: xr.DataArray, table: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        variant_effect(lambda x: x, windows, pd.DataFrame(table))


def test_places_need_coords() -> None:
    table = pd.DataFrame({"chrom": ["c"], "pos": [7], "ref": ["G"], "alt": ["A"]})
    with pytest.raises(ValueError, match=r"`x` lacks the coords \['chrom', 'locus'\]"):
        variant_effect(lambda x: x, one_hot("ACGT"), table)


def letters_seen(x: xr.DataArray, table: pd.DataFrame, **options: str) -> tuple[list[str], pd.DataFrame]:
    """The sequences that a function is called on, and the problems."""
    seen: list[str] = []

    def f(rows: xr.DataArray) -> xr.DataArray:
        seen.extend(decode(rows.drop_vars("mask")).values.tolist())
        return rows.sum(["nucleotide", "position"])

    found = variant_effect(f, x, table, **options)
    return seen[len(set(found.effects["sample"].values.tolist())) :], found.problems


def test_insertions_and_deletions_keep_the_length() -> None:
    """After an insertion the end is cut off, after a deletion it is N. Where the sequence was padded, there is room."""
    x = one_hot({"a": "ACGTACGT", "b": "CCCC"})
    table = pd.DataFrame(
        {"sample": ["a", "a", "a", "b"], "position": [4, 2, 7, 0], "ref": ["A", "GT", "T", "C"], "alt": ["AT", "G", "TTT", "CTT"]}
    )  # fmt: skip
    seen, problems = letters_seen(x, table)
    assert seen == ["ACGTATCG", "ACGACGTN", "ACGTACGT", "CTTCCCNN"]
    assert not len(problems)


def test_variants_of_one_group_are_put_in_together() -> None:
    x = one_hot({"a": "ACGTACGT", "b": "CCCCCCCC"})
    table = pd.DataFrame(
        {
            "sample": ["a", "a", "b", "a", "a"], "position": [1, 4, 3, 2, 3], "ref": ["C", "A", "C", "GT", "T"],
            "alt": ["T", "AT", "G", "G", "A"], "haplotype": ["h1", "h1", "h1", "h2", "h2"],
        }
    )  # fmt: skip
    seen, problems = letters_seen(x, table, together="haplotype")
    assert seen == ["ATGTATCG", "CCCGCCCC"]
    assert problems[["record", "line"]].values.tolist() == [["h2", 5]]
    assert "overlap" in problems.problem[0]
    alone, _ = letters_seen(x, table)
    assert alone == ["ATGTACGT", "ACGTATCG", "CCCGCCCC", "ACGACGTN", "ACGAACGT"]
    with pytest.raises(ValueError, match="`together` is 'phase', but `variants` has the columns"):
        variant_effect(lambda x: x.sum(["nucleotide", "position"]), x, table, together="phase")


def test_chromosomes_that_read_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text(
        "name,chrom,start,end,sequence\na,1,10,20,ACGTACGTAC\nb,X,10,20,ACGTACGTAC\n"
    )
    (tmp_path / "n.csv").write_text("name,chrom,start,end,sequence\na,1,10,20,ACGTACGTAC\n")
    table = pd.DataFrame({"chrom": ["1"], "pos": [12], "ref": ["C"], "alt": ["G"]})
    for name in ("w.csv", "n.csv"):
        x = one_hot(read_table(tmp_path / name, name="name").sequences)
        found = variant_effect(lambda x: x.sel(nucleotide="G").mean("position"), x, table)
        assert found.effects.difference.values.tolist() == pytest.approx([0.1])
    numbers = one_hot(pd.DataFrame({"sequence": ["ACGTACGTAC"], "chrom": [1], "start": [10], "end": [20]}))
    assert numbers.chrom.values.tolist() == ["1"]
