"""Figures of a classifier against scikit-learn, and intervals that know which samples belong together."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from attrib.stats import performance

ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0])), min_size=4, max_size=20)


@given(ROWS)
def test_values_are_those_of_scikit_learn(rows: list) -> None:
    y, p = np.array([r[0] for r in rows] + [True, False]), np.array([r[1] for r in rows] + [0.7, 0.6])
    found = performance(y, p, n_bootstrap=2).value
    called = p >= 0.5
    expected = {
        "accuracy": metrics.accuracy_score(y, called),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, called),
        "sensitivity": metrics.recall_score(y, called),
        "specificity": metrics.recall_score(~y, ~called),
        "precision": metrics.precision_score(y, called),
        "f1": metrics.f1_score(y, called),
        "auroc": metrics.roc_auc_score(y, p),
        "average_precision": metrics.average_precision_score(y, p),
    }
    if not called.all():
        expected["mcc"] = metrics.matthews_corrcoef(y, called)
    assert {k: found[k] for k in expected} == pytest.approx(expected)


def test_intervals_hold_the_truth_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for run in range(100):
        y = rng.random(200) < 0.5
        right = rng.random(200) < 0.8  # the truth is 0.8
        row = performance(y, np.where(y == right, 0.9, 0.1), n_bootstrap=200, seed=run).loc["accuracy"]
        assert row.lower <= row.value <= row.upper
        inside += row.lower <= 0.8 <= row.upper
    assert 88 <= inside <= 100  # fewer than 88 of 100 have a chance of 0.2% at 95%


def test_what_belongs_together_is_drawn_together() -> None:
    """Ten groups of thirty alike: as wide as ten samples would be, not three hundred."""
    rng = np.random.default_rng(1)
    y = np.tile([0, 1], 150)
    groups = np.repeat(np.arange(10), 30)
    right = np.repeat(rng.random(10) < 0.7, 30)
    p = np.where((y == 1) == right, 0.9, 0.1)
    wide, narrow = (performance(y, p, groups=g).loc["accuracy"] for g in (groups, None))
    assert wide.value == narrow.value
    assert (wide.upper - wide.lower) > 3 * (narrow.upper - narrow.lower)


@pytest.mark.parametrize(
    ("label", "probability", "text"),
    [
        ([1, 1], [0.1, 0.2], "both"),
        ([0, 2], [0.1, 0.2], "both"),
        ([0, 1], [0.1, 1.2], "from 0 to 1"),
        ([0, 1], [0.1], "expected"),
    ],
)
def test_refusals(label: list, probability: list, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        performance(label, probability)


def test_labels_of_samples_are_matched() -> None:
    label = pd.Series([1, 0, 1, 0], index=list("abcd"))
    probability = pd.Series([0.9, 0.2, 0.8, 0.1], index=list("abcd"))
    families = pd.Series(list("uuvv"), index=list("abcd"))
    expected = performance(label, probability, groups=families)
    assert expected.value["auroc"] == 1
    turned = xr.DataArray(probability[::-1].values, dims="sample", coords={"sample": list("dcba")})
    pd.testing.assert_frame_equal(performance(label, turned, groups=families[::-1]), expected)
    with pytest.raises(
        ValueError, match=r"`probability` and `label` have different labels .* `probability` lacks 'a'"
    ):
        performance(label, probability.rename({"a": "z"}))
    with pytest.raises(ValueError, match="`groups` lacks 'd'"):
        performance(label, probability, groups=families[:3])
