"""Experiments against models whose answer is known, and against editing the texts by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import attrib
from attrib.domains.sequences import (
    ablate,
    decode,
    dinucleotide_shuffle,
    evolve,
    gradient_correction,
    marginalize,
    one_hot,
    random_sequences,
    reverse_complement,
    saturation,
    shuffle,
    space,
    zeros,
)
from tests.examples import examples

WEIGHTS = (
    np.random.default_rng(0).integers(-9, 10, (4, 5)).astype(float)
)  # a matrix whose sums have no rounding
BOX = "GATAC"


def scan(x: xr.DataArray) -> xr.DataArray:
    """A linear scan: the matrix's scores at all places, summed."""
    windows = np.lib.stride_tricks.sliding_window_view(
        x.transpose("sample", "nucleotide", "position").values, 5, 2
    )
    return xr.DataArray(np.einsum("nlpw,lw->n", windows, WEIGHTS), dims="sample")


def occurrences(letters: str, word: str) -> int:
    return sum(letters.startswith(word, k) for k in range(len(letters)))


def count(word: str):
    return lambda x: np.array([occurrences(t, word) for t in decode(x).values], float)


def linear_scan(letters: str) -> float:
    """The scan, letter by letter."""
    return sum(
        WEIGHTS["ACGT".index(letters[p + k]), k]
        for p in range(len(letters) - 4)
        for k in range(5)
        if letters[p + k] != "N"
    )


@examples(30)
@given(
    st.lists(st.text("ACGTN", min_size=12, max_size=20), min_size=1, max_size=3),
    st.text("ACGTN", min_size=1, max_size=6),
    st.integers(0, 6),
)
def test_marginalize_is_editing_the_text(texts: list[str], motif: str, at: int) -> None:
    x = one_hot(texts, dtype=np.float64)
    found = marginalize(
        lambda x: np.array([linear_scan(t) for t in decode(x).values]), x, {"m": motif}, at=at
    )
    by_scan = marginalize(lambda x: np.array([linear_scan(t) for t in decode(x).values]), x, [motif], at=at)
    for n, letters in enumerate(texts):
        put = "".join(letters[at + k] if m == "N" else m for k, m in enumerate(motif))
        edited = letters[:at] + put + letters[at + len(motif) :]
        np.testing.assert_allclose(found.before[n], linear_scan(letters), atol=1e-12)
        np.testing.assert_allclose(found.after[0, n], linear_scan(edited), atol=1e-12)
        np.testing.assert_allclose(
            found.difference[0, n], linear_scan(edited) - linear_scan(letters), atol=1e-12
        )
    np.testing.assert_array_equal(by_scan.difference, found.difference)


def test_marginalize_shows_the_planted_effect_and_nothing_else() -> None:
    backgrounds = random_sequences(50, 60, frequencies=(0.5, 0, 0, 0.5))
    found = marginalize(count(BOX), backgrounds, {"box": BOX, "other": "GATAG", "open": "GNTAC"})
    assert (found.difference.sel(motif="box") == 1).all()
    assert (found.difference.sel(motif="other") == 0).all()
    kept = decode(backgrounds.isel(position=slice(29, 30))).values == "A"  # N leaves the background's letter
    assert (found.difference.sel(motif="open").values == kept).all()
    assert found.difference.dims == ("motif", "sample")
    assert found.at.values.tolist() == [[28] * 50] * 3


def test_the_middle_of_padded_sequences() -> None:
    x = one_hot(["A" * 9, "A" * 15], pad="left")
    found = marginalize(lambda x: x.sel(nucleotide="G").argmax("position"), x, "GG")
    assert found.after.values.tolist() == [[9.0, 6.0]]
    with pytest.raises(
        ValueError, match=r"the motif 'GG' would lie at positions 0 to 1 of sample number 0, .* 6 to 14"
    ):
        marginalize(scan, x, "GG", at=0)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 1000])
def test_chunks_make_no_difference(batch_size: int) -> None:
    sizes: list[int] = []

    def f(x: xr.DataArray) -> xr.DataArray:
        sizes.append(x.sizes["sample"])
        return scan(x)

    x = random_sequences(5, 20)
    everything = (
        marginalize(f, x, ["GAT", "C"], batch_size=batch_size),
        ablate(f, x, 3, 9, n=3, batch_size=batch_size),
        space(f, x, "GA", "TC", distances=[0, 3], batch_size=batch_size),
        saturation(f, x, 2, 6, batch_size=batch_size),
    )
    assert max(sizes) <= batch_size
    whole = (marginalize(scan, x, ["GAT", "C"]), ablate(scan, x, 3, 9, n=3), space(scan, x, "GA", "TC", distances=[0, 3]), saturation(scan, x, 2, 6))  # fmt: skip
    for a, b in zip(everything, whole, strict=True):
        xr.testing.assert_identical(a, b)


def test_labels_of_the_results() -> None:
    x = one_hot({"a": "ACGTACGT", "b": "TTTTTTT"}).assign_coords(gene=("sample", ["g", "h"]))

    def profile(x: xr.DataArray) -> xr.DataArray:
        return xr.DataArray(
            np.ones((x.sizes["sample"], 2, 3)), dims=("sample", "track", "bin"), coords={"track": ["u", "v"]}
        )

    found = marginalize(profile, x, "G")
    assert found.after.dims == ("motif", "sample", "track", "bin")
    assert found.sample.values.tolist() == ["a", "b"]
    assert found.gene.values.tolist() == ["g", "h"]
    assert found.track.values.tolist() == ["u", "v"]
    assert "mask" not in found.coords
    assert saturation(profile, x).dims == ("sample", "nucleotide", "position", "track", "bin")
    plain = marginalize(lambda x: np.ones((x.sizes["sample"], 2, 3)), x, "G")
    assert plain.after.dims == ("motif", "sample", "target", "output_1")
    assert space(profile, x, "G", "C", distances=[1, 2]).interaction.dims == (
        "distance",
        "sample",
        "track",
        "bin",
    )


def test_functions_get_the_layout_they_were_made_for() -> None:
    """Dims and nucleotides in the order of `x`, its coords with each row."""
    seen: list[xr.DataArray] = []

    def f(x: xr.DataArray) -> np.ndarray:
        seen.append(x)
        return np.zeros(x.sizes["region"])

    x = (
        one_hot({"a": "ACGTA", "b": "TTTT"})
        .rename(sample="region")
        .assign_coords(gene=("region", ["g", "h"]))
    )
    mixed = x.sel(nucleotide=list("TGCA")).transpose("position", "region", "nucleotide")
    marginalize(f, mixed, "G", at=1)
    (rows,) = seen
    assert rows.dims == mixed.dims
    assert rows.nucleotide.values.tolist() == list("TGCA")
    assert rows.gene.values.tolist() == ["g", "h", "g", "h"]
    assert decode(rows).values.tolist() == ["ACGTA", "TTTT", "AGGTA", "TGTT"]
    assert rows.isel(region=slice(2)).identical(mixed)


@pytest.mark.parametrize("start", [2, [2, 4]])
@pytest.mark.parametrize("replacement", [shuffle, dinucleotide_shuffle])
def test_ablate_shuffles_the_stretch_and_nothing_else(start, replacement) -> None:
    x = one_hot(["ACGTTGTCTGACGG", "GATTACATGATAT"], pad="left")
    rows: list[str] = []

    def f(x: xr.DataArray) -> np.ndarray:
        rows.extend(decode(x).values.tolist())
        return np.zeros(x.sizes["sample"])

    found = ablate(f, x, start, [12, 13], n=12, replacement=replacement)
    assert found.after.sizes == {"repeat": 12, "sample": 2}
    for n, (letters, begin, end) in enumerate(
        [("ACGTTGTCTGACGG", 2, 12), ("NGATTACATGATAT", 2 if start == 2 else 4, 13)]
    ):
        for row in rows[2 + n :: 2]:
            row = row.rjust(14, "N")
            assert row[:begin] + row[end:] == letters[:begin] + letters[end:]
            assert sorted(row) == sorted(letters)
        assert len(set(rows[2 + n :: 2])) > 1
    assert found.ablated_to.values.tolist() == [12, 13]


def test_ablate_shows_what_is_needed() -> None:
    """The box counts once; shuffled it is left only where a shuffle gives it back."""
    x = one_hot("AAAA" + BOX + "AAAA")
    found = ablate(count(BOX), x, 4, 9, n=300)
    assert set(found.difference.values.ravel()) == {-1.0, 0.0}
    # five letters, two of them alike: 60 orders, one of them the box
    assert abs(float(found.after.mean()) - 1 / 60) < 4 * np.sqrt(1 / 60 / 300)
    assert (ablate(count(BOX), x, 9, 13, n=5).difference == 0).all()
    blank = ablate(
        count("N"), x, 4, 9, n=1, replacement=lambda s, *, n, seed: zeros(s).expand_dims(baseline=n)
    )
    assert blank.difference.item() == 5


def test_space_shows_the_distance_that_counts() -> None:
    """Each box adds 1; both, 3 letters apart in this order, add 5 more."""

    def f(x: xr.DataArray) -> np.ndarray:
        texts = decode(x).values
        pairs = [
            sum(t.startswith("GCG", k) and t.startswith("CCC", k + 6) for k in range(len(t))) for t in texts
        ]
        return count("GCG")(x) + count("CCC")(x) + 5.0 * np.array(pairs)

    x = random_sequences(4, 40, frequencies=(0.5, 0, 0, 0.5))
    found = space(f, x, "GCG", "CCC", distances=[0, 2, 3, 10])
    assert found.distance.values.tolist() == [0, 2, 3, 10]
    assert found.interaction.values.tolist() == [[0] * 4, [0] * 4, [5] * 4, [0] * 4]
    assert found.difference.values.tolist() == [[2] * 4, [2] * 4, [7] * 4, [2] * 4]
    assert (found["first"] - found.before == 1).all()
    assert (found["second"] - found.before == 1).all()
    swapped = space(f, x, "CCC", "GCG", distances=[3])
    assert (swapped.interaction == 0).all()
    other_strand = space(
        lambda x: f(reverse_complement(x)), x, "GGG", reverse_complement("GCG"), distances=[3]
    )
    assert (other_strand.interaction == 5).all()


@examples(20)
@given(
    st.lists(st.text("ACGTN", min_size=6, max_size=9), min_size=1, max_size=3),
    st.integers(0, 2),
    st.integers(-3, 6),
)
def test_saturation_is_editing_the_text(texts: list[str], start: int, end: int) -> None:
    x = one_hot(texts, pad="left", dtype=np.float64)
    size = x.sizes["position"]
    window = range(size)[start:end]
    if not len(window):
        with pytest.raises(ValueError, match="leave nothing"):
            saturation(scan, x, start, end)
        return
    found = saturation(scan, x, start, end)
    assert found.position.values.tolist() == list(window)
    for n, letters in enumerate(texts):
        padded = letters.rjust(size, "N")
        for p in window:
            for letter in "ACGT":
                edited = linear_scan(padded[:p] + letter + padded[p + 1 :]) - linear_scan(padded)
                expected = edited if p >= size - len(letters) else np.nan
                np.testing.assert_allclose(found[n].sel(nucleotide=letter, position=p), expected, atol=1e-12)


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 5, padding=2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(6 * 20, 2)
    ).double()


def test_saturation_is_mutagenesis() -> None:
    f, x = model(), random_sequences(3, 20, seed=4).astype(np.float64)
    predicted = partial(attrib.predict, f, classes=["on", "off"])
    found = saturation(predicted, x, 4, 12)
    expected = attrib.in_silico_mutagenesis(f, x, target="off", classes=["on", "off"], positions=range(4, 12))
    np.testing.assert_allclose(found.sel(target="off"), expected.sel(position=slice(4, 11)), atol=1e-12)


def test_experiments_take_methods() -> None:
    """Attributions before and after, with their labels; the planted box is where the map changes."""
    f, x = model(), one_hot({"a": "A" * 20, "b": "T" * 20}, dtype=np.float64)
    method = partial(attrib.deep_lift, f, target=0)
    found = marginalize(method, x, BOX, at=7)
    assert found.difference.dims == ("motif", "sample", "nucleotide", "position")
    edited = one_hot(["A" * 7 + BOX + "A" * 8], dtype=np.float64)
    np.testing.assert_allclose(found.after[0, 0], method(edited)[0], atol=1e-12)
    np.testing.assert_allclose(found.before, method(x), atol=1e-12)
    assert found.mask.dims == ("sample", "position")
    corrected = marginalize(lambda x: gradient_correction(method(x)), x, BOX)
    assert abs(corrected.difference.sum("nucleotide")).max() < 1e-12
    assert ablate(method, x, 3, 8, n=2).after.sizes["repeat"] == 2
    unlabelled = marginalize(lambda x: method(x).values, x, BOX, at=7)
    xr.testing.assert_equal(unlabelled.difference, found.difference)
    with pytest.raises(ValueError, match="`f` gives attributions"):
        saturation(method, x)


def test_functions_may_give_tensors() -> None:
    f = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(24, 1))
    x = one_hot("ACGTAC")
    found = marginalize(lambda x: f(torch.from_numpy(x.values)), x, "T", at=0)
    w = f[1].weight.detach().numpy().reshape(4, 6)
    np.testing.assert_allclose(found.difference.item(), w[3, 0] - w[0, 0], atol=1e-6)


def test_nothing_is_changed() -> None:
    x = random_sequences(3, 12)
    before = x.copy(deep=True)
    for call in (
        lambda f: marginalize(f, x, "GAT"),
        lambda f: ablate(f, x, 2, 8),
        lambda f: space(f, x, "G", "C", distances=[1]),
        lambda f: saturation(f, x),
    ):
        call(scan)
        assert x.identical(before)


X = one_hot(["ACGTACGTAC", "TTTT"])


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: marginalize(scan, X, []), "`motifs` is empty"),
        (lambda: marginalize(scan, X, ["GXT"]), r"`motifs\['GXT'\]` is 'GXT': letter 'X' at position 1"),
        (
            lambda: marginalize(scan, X, "A" * 5),
            "would lie at positions 0 to 4 of sample number 1, whose letters are at 0 to 3",
        ),
        (lambda: marginalize(scan, X[0], "A"), "expected one dim of samples"),
        (lambda: marginalize(scan, X, "A", batch_size=0), "`batch_size` is 0"),
        (
            lambda: marginalize(lambda x: 3.0, X, "A"),
            "expected a DataArray or an array with one entry for each",
        ),
        (
            lambda: marginalize(lambda x: np.ones(3), X, "A"),
            "`f` returned ndarray of shape .3,. for 4 sequences",
        ),
        (lambda: marginalize(lambda x: x.mean("sample"), X, "A"), "expected the dim 'sample' of that size"),
        (lambda: ablate(scan, X, 5, 5), "`end` is not above `start`"),
        (lambda: ablate(scan, X, 2, 6), "the stretch would lie at positions 2 to 5 of sample number 1"),
        (lambda: ablate(scan, X, 0.5, 2), "`start` is 0.5, expected an int"),
        (lambda: ablate(scan, X, [0, 1, 2], 3), "one for each of the 2 samples"),
        (lambda: ablate(scan, X, 0, 3, n=0), "`n` is 0"),
        (lambda: ablate(scan, X, 0, 3, replacement=lambda s, *, n, seed: s), "`replacement` returned dims"),
        (lambda: space(scan, X, "A", "C", distances=[]), r"`distances` is \[\]"),
        (lambda: space(scan, X, "A", "C", distances=[-1]), "at least 0"),
        (lambda: space(scan, X, "A", "C", distances=[7]), "the pair at distance 7 would lie"),
        (lambda: space(scan, X, "", "C", distances=[1]), "`first` is '': it has no letters"),
    ],
)
def test_what_is_refused(call, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


def test_a_function_that_is_none() -> None:
    with pytest.raises(TypeError, match="`f` is a int"):
        marginalize(3, X, "A")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"module Linear, .* functools.partial\(attrib.predict, model\)"):
        marginalize(torch.nn.Linear(4, 1), X, "A")


def test_evolution_goes_past_edits_without_a_score() -> None:
    def count_of_g(x: xr.DataArray) -> xr.DataArray:
        starts_with_c = x.sel(nucleotide="C").isel(position=0) == 1
        return xr.where(starts_with_c, np.nan, x.sel(nucleotide="G").sum("position"))

    grown = evolve(count_of_g, one_hot(["AAA", "GGG"]), rounds=2)
    assert grown.sequence.values[:, 0].tolist() == ["AAA", "GAA", "GGA"]
    assert grown.position.values.tolist() == [[-1, -1], [0, -1], [1, -1]]
    assert grown.before.values[:, 0].tolist() == ["", "A", "A"]
    assert grown.after.values.tolist() == [["", ""], ["G", ""], ["G", ""]]


def test_evolution_towards_an_output_that_there_is_not() -> None:
    f = lambda x: xr.DataArray(
        np.ones((x.sizes["sample"], 2)), dims=("sample", "target"), coords={"target": ["T", "B"]}
    )
    with pytest.raises(ValueError, match="`target` is NK, expected some of T, B"):
        evolve(f, one_hot(["AAA"]), target="NK")
