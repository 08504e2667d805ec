"""Shuffles keep what they promise and are fair; methods take every baseline."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import attrib
from attrib.domains.sequences import (
    decode,
    dinucleotide_shuffle,
    one_hot,
    random_sequences,
    shuffle,
    uniform,
    zeros,
)

text = st.text("ACGTN", min_size=1, max_size=40)
repetitive = st.text("ACN", min_size=1, max_size=40)
SHUFFLES = pytest.mark.parametrize("by", [shuffle, dinucleotide_shuffle])


def pairs(letters: str) -> Counter:
    return Counter(itertools.pairwise(letters))


def known(letters: str) -> list[int]:
    return [k for k, letter in enumerate(letters) if letter == "N"]


@pytest.mark.filterwarnings("ignore:`x`. .* of one letter only")
@given(text | repetitive, st.integers(-3, 2**40))
def test_dinucleotide_shuffle_keeps_pairs_ends_and_unknowns(letters: str, seed: int) -> None:
    for drawn in decode(dinucleotide_shuffle(one_hot(letters), n=4, seed=seed)).values[0]:
        assert pairs(drawn) == pairs(letters)
        assert (drawn[0], drawn[-1]) == (letters[0], letters[-1])
        assert known(drawn) == known(letters)


@given(text, st.integers(0, 5))
def test_shuffle_keeps_letters_and_unknowns(letters: str, seed: int) -> None:
    for drawn in decode(shuffle(one_hot(letters), n=4, seed=seed)).values[0]:
        assert Counter(drawn) == Counter(letters)
        assert known(drawn) == known(letters)


@pytest.mark.parametrize("letters", ["ACGACTAGA", "AACCAACA", "ACGTCATGA", "TTATAATA"])
def test_dinucleotide_shuffle_draws_every_order_alike(letters: str) -> None:
    """Against all sequences with these pairs and ends, listed by brute force: counts within four standard deviations."""
    middles = set(itertools.permutations(letters[1:-1]))
    every = {"".join((letters[0], *m, letters[-1])) for m in middles}
    every = {e for e in every if pairs(e) == pairs(letters)}
    n = 400 * len(every)
    counts = Counter(decode(dinucleotide_shuffle(one_hot(letters), n=n)).values[0].tolist())
    assert counts.keys() == every
    share = 1 / len(every)
    within = 4 * np.sqrt(n * share * (1 - share)) + 1e-9
    assert max(abs(counts[e] - n * share) for e in every) <= within


def test_rare_exits_do_not_stall_the_draw() -> None:
    """Two letters that alternate thousands of times, and one way out to the last letter."""
    letters = "AC" * 5000 + "AG"
    drawn = decode(dinucleotide_shuffle(one_hot(letters), n=2)).values[0]
    assert drawn.tolist() == [letters] * 2  # there is no other one
    longer = "AC" * 3000 + "A" * 500 + "CG"
    assert pairs(decode(dinucleotide_shuffle(one_hot(longer), n=1)).values[0, 0]) == pairs(longer)


@SHUFFLES
def test_draws_belong_to_the_sequence(by) -> None:
    """Not to its place, its neighbours, its padding or the number of draws; another seed gives others."""
    letters = ["ACGTTGCAACGGATTAC", "GATTACAGATTACA"]
    both = by(one_hot(letters, pad="both"), n=3, seed=5)
    alone = by(one_hot(letters[1:], length=30, pad="left"), n=8, seed=5)
    assert decode(both).values[1].tolist() == decode(alone).values[0, :3].tolist()
    assert decode(both).values[1].tolist() != decode(by(one_hot(letters), n=3, seed=6)).values[1].tolist()
    assert len(set(decode(alone).values[0].tolist())) > 1


@SHUFFLES
def test_labels_of_shuffles(by) -> None:
    x = one_hot({"a": "ACGTNACGT", "b": "AC"}, dtype=np.float64).assign_coords(gene=("sample", ["g", "h"]))
    b = by(x, n=2)
    assert b.dims == ("sample", "baseline", "nucleotide", "position")
    assert b.dtype == np.float64
    assert all(b.coords[c].variable.equals(x.coords[c].variable) for c in x.coords)
    assert float(b.where(~b.mask, 0).sum()) == 0
    mixed = x.sel(nucleotide=list("TGCA")).transpose("position", "nucleotide", "sample")
    assert by(mixed, n=2).sel(nucleotide=list("ACGT")).transpose(*b.dims).identical(b)
    assert decode(by(x.isel(sample=0), n=2)).dims == ("baseline",)


def test_zeros_and_uniform() -> None:
    x = one_hot(["ACN", "A"])
    assert zeros(x).values.tolist() == (x.values * 0).tolist()
    assert uniform(x).values[0].tolist() == [[0.25] * 3] * 4
    assert uniform(x).values[1].tolist() == [[0.25, 0, 0]] * 4
    assert uniform(x).dtype == x.dtype
    assert zeros(x).coords.equals(x.coords)


def one_each(x: xr.DataArray) -> xr.DataArray:
    return shuffle(x, n=1).isel(baseline=0)


def test_masks_belong_to_their_dims_whatever_other_dims_there_are() -> None:
    x = one_hot(["ACGTC", "AC"])
    drawn = shuffle(x, n=2)  # as many draws as samples
    again = decode(shuffle(drawn.rename(baseline="first"), n=1)).values[:, :, 0]
    assert [sorted(text) for text in again.ravel().tolist()] == [sorted("ACGTC")] * 2 + [["A", "C"]] * 2
    assert zeros(shuffle(x, n=3)).sizes["baseline"] == 3


@pytest.mark.parametrize("baselines", [zeros, uniform, shuffle, dinucleotide_shuffle, one_each])
@pytest.mark.parametrize("method", [attrib.deep_lift_shap, attrib.gradient_shap])
def test_methods_of_distributions_take_them(method, baselines) -> None:
    """Each sample is compared with its own baselines: alone or in company, by array or by function, all the same."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)
    ).double()
    x = one_hot(["ACGTTGCAACGGATTA", "GATTACAGATTACAGG", "CCCTGATCAGCTACGA"], dtype=np.float64)
    together = method(model, x, baselines=baselines(x))
    xr.testing.assert_equal(together, method(model, x, baselines=baselines))
    alone = method(model, x[1:2], baselines=baselines(x[1:2]))
    xr.testing.assert_allclose(together[1:2], alone, rtol=1e-12)
    if method is attrib.deep_lift_shap:
        many = baselines(x) if "baseline" in baselines(x).dims else baselines(x).expand_dims(baseline=1)
        ends = model(torch.from_numpy(many.transpose("sample", "baseline", ...).values).flatten(0, 1))
        expected = together.prediction - ends.detach().reshape(3, -1).mean(1).numpy()
        np.testing.assert_allclose(together.sum(("nucleotide", "position")), expected, rtol=1e-10)


def test_methods_of_one_baseline_take_one_of_them() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32, 1)).double()
    x = one_hot(["ACGTTGCA", "GATTACAG"], dtype=np.float64)
    b = dinucleotide_shuffle(x, n=2).isel(baseline=0)
    for method in (attrib.deep_lift, attrib.integrated_gradients):
        a = method(model, x, baselines=b)
        np.testing.assert_allclose(
            a, (x - b.drop_vars("length")) * model[1].weight.detach().numpy().reshape(4, 8), atol=1e-12
        )


def test_random_sequences() -> None:
    x = random_sequences(200, 100, frequencies=(0.1, 0.2, 0.3, 0.4), seed=1)
    assert abs(x.mean(("sample", "position")).values - [0.1, 0.2, 0.3, 0.4]).max() < 0.02
    assert (
        decode(random_sequences(3, 100, frequencies=(0.1, 0.2, 0.3, 0.4), seed=1)).values.tolist()
        == decode(x).values[:3].tolist()
    )
    assert set(decode(random_sequences(2, 50, frequencies=(0, 1, 0, 0))).values) == {"C" * 50}


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: shuffle(x, n=0), "`n` is 0"),
        (lambda x: shuffle(x * 0.5), "`x` is not one-hot"),
        (lambda x: dinucleotide_shuffle(x.rename(position="p")), "expected nucleotide and position"),
        (lambda x: uniform(x.isel(nucleotide=slice(3))), "expected A, C, G and T"),
        (lambda x: random_sequences(0, 5), "at least 1"),
        (lambda x: random_sequences(1, 5, frequencies=(1, 1, 0, 0)), "add up to 1"),
    ],
)
def test_what_is_refused(call, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call(one_hot("ACG"))
    with pytest.raises(TypeError, match="expected a DataArray"):
        shuffle(np.zeros((1, 4, 3)))  # type: ignore[arg-type]


def test_sequences_of_one_letter_are_told() -> None:
    x = one_hot({"a": "ACGTAC", "b": "AAAAAA"})
    with pytest.warns(
        UserWarning, match=r"`x`: 1 of 2 sequences are of one letter only .the first is number 1."
    ):
        drawn = dinucleotide_shuffle(x, n=2)
    assert decode(drawn).sel(sample="b").values.tolist() == ["AAAAAA"] * 2
