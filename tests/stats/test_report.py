"""The report of several labels against scikit-learn, and its intervals."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from sklearn.metrics import classification_report

from attrib.stats import report


def drawn(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.choice(["a", "b", "c", "d"], p=[0.5, 0.3, 0.15, 0.05], size=n)
    return label, np.where(rng.random(n) < 0.75, label, rng.choice(["a", "b", "c"], size=n))


def test_figures_are_those_of_scikit_learn() -> None:
    label, predicted = drawn()
    table = report(label, predicted, n_bootstrap=9)
    expected = classification_report(label, predicted, output_dict=True, zero_division=0)
    for name in "abcd":
        for ours, theirs in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("support", "support"),
        ):
            assert table.loc[name, ours] == pytest.approx(expected[name][theirs], abs=1e-12)
    for name in ("macro avg", "weighted avg"):
        assert table.loc[name, "f1"] == pytest.approx(expected[name]["f1-score"], abs=1e-12)
        assert table.loc[name, "precision"] == pytest.approx(expected[name]["precision"], abs=1e-12)
    assert table.loc["accuracy", "recall"] == pytest.approx((label == predicted).mean())
    assert table.index.tolist() == ["a", "b", "c", "d", "accuracy", "macro avg", "weighted avg"]


def test_labels_never_called_and_without_samples() -> None:
    table = report(["a", "a", "b"], ["a", "a", "a"], classes=["a", "b", "z"], n_bootstrap=20)
    assert table.loc["b", "precision"] == 0
    assert np.isnan(table.loc["z", "recall"])
    assert table.loc["macro avg", "recall"] == 0.5  # over a and b
    assert table.support.tolist() == [2, 1, 0, 3, 3, 3]


def test_intervals_cover_and_groups_widen_them() -> None:
    covered = 0
    for seed in range(60):
        label, predicted = drawn(200, seed)
        row = report(label, predicted, n_bootstrap=200, seed=seed).loc["accuracy"]
        truth = 0.75 + 0.25 / 3 * 0.95  # a guess is right by chance, unless the label is d
        covered += row.recall_lower <= truth <= row.recall_upper
    assert covered >= 50
    label, predicted = drawn(40)
    label, predicted = np.repeat(label, 10), np.repeat(predicted, 10)  # ten copies of each
    alone = report(label, predicted).loc["accuracy"]
    donors = report(label, predicted, groups=np.repeat(np.arange(40), 10)).loc["accuracy"]
    assert donors.recall_upper - donors.recall_lower > 2.5 * (alone.recall_upper - alone.recall_lower)


def test_series_are_matched_by_their_samples() -> None:
    label = xr.DataArray(["a", "b", "b"], dims="sample", coords={"sample": ["s1", "s2", "s3"]})
    predicted = pd.Series(["b", "a", "b"], index=["s3", "s1", "s2"])
    assert report(label, predicted, n_bootstrap=2).loc["accuracy", "recall"] == 1


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="`predicted` has 'q', which is not among"):
        report(["a"], ["q"], classes=["a"])
    with pytest.raises(ValueError, match="same samples"):
        report(["a"], ["a", "a"])
    with pytest.raises(ValueError, match="`groups` has shape"):
        report(["a", "a"], ["a", "a"], groups=["x"])
