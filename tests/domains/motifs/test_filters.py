"""Filters to motifs, against cutting the windows out one by one."""

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import attrib
from attrib.domains.motifs import consensus, filter_counts, filter_motifs, filter_peaks, information_content
from tests.jaspar import one_hot


def case(
    seed: int, width: int, stride: int, padding: int, dilation: int
) -> tuple[xr.DataArray, xr.DataArray]:
    """Activations of a random convolution of sequences with a few N."""
    rng = np.random.default_rng(seed)
    x = one_hot(rng.choice(5, size=(5, 23), p=[0.23, 0.23, 0.23, 0.23, 0.08]))
    torch.manual_seed(seed)
    net = torch.nn.Conv1d(4, 3, width, stride, padding, dilation)
    with torch.no_grad():
        values = net(torch.from_numpy(x.values)).numpy()
    return xr.DataArray(values, dims=("sample", "filter", "position")), x


def by_hand(
    a: xr.DataArray, x: xr.DataArray, f: int, width: int, stride: int, padding: int, dilation: int
) -> list[tuple[float, np.ndarray]]:
    """Activation and letters of each whole window."""
    found = []
    for n in range(a.sizes["sample"]):
        for j in range(a.sizes["position"]):
            places = j * stride - padding + dilation * np.arange(width)
            if places.min() >= 0 and places.max() < x.sizes["position"]:
                found.append((float(a.values[n, f, j]), x.values[n][:, places]))
    return found


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 3), st.integers(0, 3), st.integers(1, 2))
def test_windows_of_half_of_the_maximum(
    seed: int, width: int, stride: int, padding: int, dilation: int
) -> None:
    a, x = case(seed, width, stride, padding, dilation)
    found = filter_motifs(a, x, width=width, stride=stride, padding=padding, dilation=dilation)
    for f in range(3):
        windows = by_hand(a, x, f, width, stride, padding, dilation)
        limit = 0.5 * max(v for v, _ in windows)
        chosen = [w for v, w in windows if v >= np.float32(limit)] if limit > 0 else []
        row = found.table.iloc[f]
        assert row.sites == len(chosen)
        if not chosen:
            assert f"filter_{f}" not in found.motifs
            continue
        counts = np.sum(chosen, 0)
        expected = np.where(counts.sum(0) > 0, counts / np.maximum(counts.sum(0), 1), 0.25)
        motif = found.motifs[f"filter_{f}"]
        np.testing.assert_allclose(motif.values, expected, atol=1e-12)
        assert row.information == pytest.approx(float(information_content(motif).sum()))
        assert motif.sites == len(chosen)


def test_the_top_hundred() -> None:
    a, x = case(1, 4, 1, 1, 1)
    windows = sorted(by_hand(a, x, 2, 4, 1, 1, 1), key=lambda w: -w[0])[:7]
    motif = filter_motifs(a, x, width=4, padding=1, top=7).motifs["filter_2"]
    np.testing.assert_allclose(
        motif.values * 7,
        np.sum([w for _, w in windows], 0) + (7 - np.sum([w for _, w in windows], (0, 1))) / 4,
        atol=1,
    )
    assert motif.sites == 7
    few = filter_motifs(a, x, width=4, padding=1, top=10_000)
    assert few.table.sites.tolist() == [sum(v > 0 for v, _ in by_hand(a, x, f, 4, 1, 1, 1)) for f in range(3)]


def test_parts_add_up_to_the_whole() -> None:
    a, x = case(3, 5, 1, 2, 1)
    limits = 0.5 * filter_peaks(a, x, width=5)[:, 0]
    whole = filter_counts(a, x, limits, width=5)
    parts = [filter_counts(a[s], x[s], limits, width=5) for s in (slice(0, 2), slice(2, 5))]
    assert (parts[0] + parts[1]).identical(whole)
    peaks = np.concatenate([filter_peaks(a[s], x[s], width=5, top=3) for s in (slice(0, 2), slice(2, 5))], 1)
    assert np.array_equal(-np.sort(-peaks, 1)[:, :3], filter_peaks(a, x, width=5, top=3))


def test_a_filter_that_is_a_word_finds_it() -> None:
    """By labelled activations of a model, the window of TATAC comes out, also where padding shifts the positions."""
    for padding in ("valid", "same", 3):
        net = torch.nn.Conv1d(4, 1, 5, padding=padding, bias=False)
        with torch.no_grad():
            net.weight.zero_()
            for k, letter in enumerate("TATAC"):
                net.weight[0, "ACGT".index(letter), k] = 1.0
        model = torch.nn.Sequential(net, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(1)).eval()
        codes = np.random.default_rng(0).integers(4, size=(40, 30))
        codes[:, 11:16] = [3, 0, 3, 0, 1]
        x = one_hot(codes)
        model(torch.from_numpy(x.values[:1]))
        a = attrib.layer_activation(model, x, layer="0")
        motif = filter_motifs(a, x, width=5, share=1.0).motifs["filter_0"]
        assert consensus(motif) == "TATAC"
        assert float(motif.values.max(0).min()) == 1.0


def test_what_does_not_fit_is_refused() -> None:
    a, x = case(0, 3, 2, 1, 1)
    with pytest.raises(ValueError, match="`stride` is 2: pass `padding`"):
        filter_motifs(a, x, width=3, stride=2)
    with pytest.raises(ValueError, match="same samples"):
        filter_motifs(a[:2], x, width=3, stride=2, padding=1)
    with pytest.raises(ValueError, match="expected a share"):
        filter_motifs(a, x, width=3, stride=2, padding=1, share=0)
    with pytest.raises(ValueError, match="expected A, C, G, T"):
        filter_motifs(a, x[:, :3], width=3, stride=2, padding=1)


def test_letters_and_samples_are_matched_by_name() -> None:
    a, x = case(0, 4, 1, 0, 1)
    expected = filter_motifs(a, x, width=4)
    turned = filter_motifs(a, x.isel(nucleotide=[3, 1, 0, 2]), width=4)
    assert all(turned.motifs[k].identical(m) for k, m in expected.motifs.items())
    named = x.assign_coords(sample=list("abcde"))
    with pytest.raises(ValueError, match="`activation` and `x` have other labels along 'sample'"):
        filter_motifs(a.assign_coords(sample=list("badce")), named, width=4)
