"""Donors are whole, labels are everywhere, and what is made is told apart."""

import numpy as np
import pytest

from attrib.domains.expression import augmented, check_split, split_by_group, transformed
from attrib.domains.expression.matrices import read_matrix


def test_no_group_is_in_two_splits_and_shares_are_about_right() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 80, size=900)
    label = rng.choice(["a", "b", "c"], p=[0.6, 0.3, 0.1], size=900)
    for seed in range(5):
        place = split_by_group(label, group, test=0.2, validation=0.1, seed=seed)
        where = {s: set(group[place == s]) for s in ("train", "validation", "test")}
        assert (
            not where["train"] & where["test"]
            | where["train"] & where["validation"]
            | where["test"] & where["validation"]
        )
        assert abs((place == "test").mean() - 0.2) < 0.06
        assert abs((place == "validation").mean() - 0.1) < 0.05
        assert all(set(label[place == s]) == {"a", "b", "c"} for s in where)
    assert (split_by_group(label, group, seed=1) == split_by_group(label, group, seed=1)).all()
    assert (split_by_group(label, group, seed=1) != split_by_group(label, group, seed=2)).any()


def test_shares_above_a_half() -> None:
    place = split_by_group(["a", "b"] * 50, test=0.6, validation=0.2)
    assert abs((place == "test").mean() - 0.6) < 0.15


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (["train", "validation", "test", "test"], "samples of d1 are in train and in test"),
        (["train", "train", "test", "train"], "no sample for validation"),
        (["train", "val", "test", "train"], "`split` has the value 'val'"),
    ],
)
def test_splits_of_the_user_are_checked(place: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_split(place, ["d1", "d2", "d3", "d1"])


def test_too_few_groups_and_strange_shares() -> None:
    with pytest.raises(ValueError, match="`group` has 2 different values"):
        split_by_group(["a"] * 6, [0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="`test` is 0"):
        split_by_group(["a"] * 6, test=0.0)


@pytest.mark.parametrize("way", ["mix", "gaussian", "smote"])
def test_augmentation_fills_up_and_stays_near_its_label(way: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (12, 5)), rng.normal(50, 1, (4, 5)), [[100.0] * 5]]).astype(
        np.float32
    )
    label = np.array(["a"] * 12 + ["b"] * 4 + ["c"])
    more = augmented(x, label, 10, way, seed=3)
    assert more.x.dtype == np.float32
    assert [(more.label == n).sum() for n in "abc"] == [12, 10, 10]
    np.testing.assert_array_equal(more.x[:17], x)
    assert more.new.sum() == 15
    assert more.new[17:].all()
    made = more.x[more.new & (more.label == "b")]
    assert np.abs(made - 50).max() < 5
    assert np.unique(made[:, 0]).size == 6
    if way != "gaussian":  # between two samples of the label
        low, high = x[label == "b"].min(0), x[label == "b"].max(0)
        assert ((made >= low - 1e-4) & (made <= high + 1e-4)).all()
    np.testing.assert_array_equal(augmented(x, label, 10, way, seed=3).x, more.x)
    assert (augmented(x, label, 10, way, seed=4).x[17:23] != more.x[17:23]).any()


def test_augmentation_refuses() -> None:
    with pytest.raises(ValueError, match="`augment` is 'flip'"):
        augmented(np.ones((2, 1)), np.array(["a", "b"]), 3, "flip")


def test_logarithms_of_logarithms_are_refused_where_they_show() -> None:
    import pandas as pd

    x = read_matrix(pd.DataFrame({"INS": [-1.0, 2.0]}, index=["a", "b"])).x
    with pytest.raises(ValueError, match="smallest value is -1"):
        transformed(x, "log1p")
    assert transformed(x, "none") is x
    with pytest.raises(ValueError, match="`transform` is 'log2'"):
        transformed(x, "log2")
