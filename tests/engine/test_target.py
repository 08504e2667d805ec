"""Targets: every way to name one, by hand-computed scores and cotangents."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import attrib
from attrib.engine.target import Entry, Wanted, class_names, labels, repeated, wanted
from attrib.functional import feature_ablation, saliency

Y = torch.arange(24.0).view(2, 3, 4)  # outputs (N, C, L)
FLAT = Y[:, :, 0]  # outputs (N, C)
I = torch.arange(2)


def settled(target: Any = None, targets: Any = None, classes: Any = None, y: Tensor = FLAT) -> list:
    return wanted(target, targets, classes, len(y)).settle(y)


@pytest.mark.parametrize(
    ("target", "y", "expected"),
    [
        (1, FLAT, [4.0, 16.0]),
        ((1,), FLAT, [4.0, 16.0]),
        ([2, 0], FLAT, [8.0, 12.0]),
        (torch.tensor([2, 0]), FLAT, [8.0, 12.0]),
        ((1, 2), Y, [6.0, 18.0]),
        ([(0, 1), (2, 3)], Y, [1.0, 23.0]),
        (torch.tensor([[0, 1], [2, 3]]), Y, [1.0, 23.0]),
        (None, FLAT[:, 0], [0.0, 12.0]),
        (0, FLAT[:, 0], [0.0, 12.0]),
        (None, FLAT[:, :1], [0.0, 12.0]),
        (None, Y[:, :1, :1], [0.0, 12.0]),
        ("predicted", FLAT[:, 0], [0.0, 12.0]),
        (lambda y: y.sum((1, 2)), Y, [66.0, 210.0]),
    ],
)
def test_scores_and_cotangents(target: Any, y: Tensor, expected: list[float]) -> None:
    (found,) = settled(target, y=y)
    assert found.score(y, I).tolist() == expected
    leaf = y.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(found.score(leaf, I).sum(), leaf)
    assert torch.equal(found.cotangent(y, I), by_autograd)


def test_names() -> None:
    assert settled("b", classes="abc")[0].score(FLAT, I).tolist() == [4.0, 16.0]
    assert settled(["c", "a"], classes=["a", "b", "c"])[0].score(FLAT, I).tolist() == [8.0, 12.0]
    assert settled(("b", 2), classes="abc", y=Y)[0].score(Y, I).tolist() == [6.0, 18.0]
    # a class may be called like the keyword
    assert settled("predicted", classes=["a", "predicted", "c"])[0].score(FLAT, I).tolist() == [4.0, 16.0]


def test_per_sample_targets_follow_the_sample_number() -> None:
    (found,) = settled([2, 0])
    some = torch.tensor([1, 1, 0])
    assert found.score(FLAT[some], some).tolist() == [12.0, 12.0, 8.0]
    again = repeated(found, some)
    assert again.score(FLAT[some], torch.arange(3)).tolist() == [12.0, 12.0, 8.0]
    (shared,) = settled(1)
    assert repeated(shared, some) is shared


def test_predicted_is_looked_up_at_the_inputs_only() -> None:
    (found,) = settled("predicted")
    found.look(torch.tensor([[0.0, 9.0, 1.0], [5.0, 1.0, 2.0]]), I)
    assert found.score(FLAT, I).tolist() == [4.0, 12.0]


def test_labels() -> None:
    assert labels(settled(targets=[2, 0])) == [2, 0]
    assert labels(settled(targets=[2, "a"], classes="abc")) == ["c", "a"]
    assert labels(settled(targets="all", classes="abc")) == ["a", "b", "c"]
    assert labels(settled(targets=[(1, 2), (0, 0)], y=Y)) == ["1,2", "0,0"]

    def margin(y: Tensor) -> Tensor:
        return y[:, 0] - y[:, 1]

    assert labels(settled(targets=[margin, lambda y: y[:, 0], [0, 1]])) == [
        "margin",
        "function",
        "per sample",
    ]


def test_all() -> None:
    assert [t.index.tolist() for t in settled(targets="all")] == [[[0]], [[1]], [[2]]]
    assert len(settled(targets="all", y=FLAT[:, 0])) == 1
    assert all(isinstance(t, Entry) for t in settled(targets="all"))


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        ({"target": 3}, ValueError, "out of range: the model has outputs 0 to 2"),
        ({"target": -4}, ValueError, "`target` -4 is out of range: the model has outputs 0 to 2"),
        ({"targets": [0, -3]}, ValueError, "`targets` has 0 and -3, which are the same output"),
        (
            {"targets": ["a", 0], "classes": "abc"},
            ValueError,
            "`targets` has 'a' and 0, which are the same output",
        ),
        ({"target": [0, 3]}, ValueError, "`target` 3 is out of range"),
        ({"target": True}, TypeError, "`target` is True, expected an int"),
        ({"target": 1.0}, TypeError, "`target` is 1.0, expected an int"),
        ({"target": torch.tensor([0.0, 1.0])}, TypeError, "expected an int"),
        ({"target": "a"}, ValueError, "`classes` was not given"),
        ({"target": "d", "classes": "abc"}, ValueError, "not one of the classes: a, b, c"),
        ({"target": [0]}, ValueError, "1 entries for 2 samples"),
        ({"target": [0, 1, 2]}, ValueError, "3 entries for 2 samples"),
        ({"target": (0, 1)}, ValueError, "pass a tuple of 1 ints"),
        ({"target": 1, "y": Y}, ValueError, "pass a tuple of 2 ints"),
        ({"target": None}, ValueError, "`target` is None, but the model has outputs of shape"),
        ({"target": "predicted", "y": Y}, ValueError, r"needs outputs \(N, C\)"),
        ({"targets": "all", "y": Y}, ValueError, "needs one dim of outputs"),
        ({"targets": [0, 7]}, ValueError, "`target` 7 is out of range"),
        ({"targets": "predicted"}, ValueError, "for one target use `target`"),
        ({"target": 0, "targets": [0]}, ValueError, "both given"),
        ({"target": 0, "classes": "ab"}, ValueError, "`classes` has 2 names, but the model has 3"),
        ({"target": 0, "classes": "aab"}, ValueError, "'a' more than once"),
    ],
)
def test_wrong_targets(how: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        settled(**how)


@pytest.mark.parametrize("wrong", [lambda y: y, lambda y: y.sum(), lambda y: 3.0, lambda y: None])
def test_functions_that_give_no_score_per_row(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"`target` returned .* expected one number per row"):
        settled(wrong)[0].score(FLAT, I)


def test_the_number_of_targets_is_known_early_but_for_all() -> None:
    assert wanted(0, None, None, 2).count == 1
    assert wanted(None, [0, 1], None, 2).count == 2
    assert wanted(None, "all", None, 2).count is None
    assert isinstance(wanted(None, torch.tensor([0, 1]), None, 2), Wanted)


@pytest.mark.parametrize("targets", [[1, 1], [0, 2, 0], ["a", "b", "a"]])
def test_the_same_target_twice(targets: list) -> None:
    with pytest.raises(ValueError, match=r"`targets` has .* twice; results could not be told apart"):
        wanted(None, targets, ["a", "b", "c"], 3)


def test_numbers_from_the_end() -> None:
    y = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    i = torch.arange(2)
    score = lambda target, **how: (
        wanted(target, None, how.get("classes"), 2).settle(y)[0].score(y, i).tolist()
    )
    assert score(-1) == [3, 6]
    assert score([-3, -1]) == [1, 6]
    assert labels(wanted(None, [-1, 0], None, 2).settle(y)) == [2, 0]
    assert labels(wanted(-1, None, ["a", "b", "c"], 2).settle(y)) == ["c"]


def test_an_array_of_one_element_stands_for_all_samples() -> None:
    y = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    for target in (torch.tensor([1]), torch.tensor(1)):
        assert wanted(target, None, None, 2).settle(y)[0].score(y, torch.arange(2)).tolist() == [2, 4]


@pytest.mark.parametrize(
    "classes",
    [
        ["a", "b", "c"],
        {2: "c", 0: "a", 1: "b"},  # id2label
        {"2": "c", "0": "a", "1": "b"},  # from JSON
        {"c": 2, "a": 0, "b": 1},  # label2id
        pd.Series(["c", "a", "b"], index=[2, 0, 1]),
        pd.Series(["a", "b", "c"], index=[7, 3, 9]),  # numbers of rows, such as of drop_duplicates
        pd.Index(["a", "b", "c"]),
        np.array(["a", "b", "c"]),
    ],
)
def test_names_are_those_of_their_outputs(classes: Any) -> None:
    """A mapping went by the order of its keys: `target="b"` was another output, silently."""
    assert class_names(classes) == ("a", "b", "c")
    a = attrib.saliency(
        lambda v: v * torch.tensor([1.0, 2.0, 3.0]), torch.ones(1, 3), target="b", classes=classes
    )
    assert a.values.tolist() == [[0.0, 2.0, 0.0]]
    scores = attrib.predict(lambda v: v * torch.tensor([1.0, 2.0, 3.0]), torch.ones(1, 3), classes=classes)
    assert scores.sel(target="b").item() == 2.0


@pytest.mark.parametrize("classes", [{"a", "b"}, {1: "a", 2: "b"}, {"a": "x", "b": "y"}])
def test_names_without_an_order_are_refused(classes: Any) -> None:
    with pytest.raises(TypeError, match="expected a list of names"):
        attrib.saliency(lambda v: v, torch.ones(1, 2), target=0, classes=classes)


@pytest.mark.parametrize("engine", ["auto", "func", "autograd"])
def test_a_function_that_leaves_torch_is_named(engine: str) -> None:
    f = lambda x: torch.stack([x.sum(1), x.prod(1)], 1)
    target = lambda y: torch.from_numpy(np.asarray(y)[:, 0])
    x = torch.tensor([[1.0, 2.0, 3.0]])
    with pytest.raises(TypeError, match="`target` is a function that turns the output into NumPy"):
        saliency(f, x, target=target, engine=engine)
    assert feature_ablation(f, x, target=target).tolist() == [[1.0, 2.0, 3.0]]
