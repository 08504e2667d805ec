"""One head of several as a model, and the score of a profile."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attrib
from attrib.functional import deep_lift, grad_cam, head, profile_score, saliency
from attrib.workflows.data import Heads, headed, heads_of


class BPNet(nn.Module):
    """A profile of two strands, and counts."""

    def __init__(self, form: Any = tuple) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form, self.trunk = form, nn.Conv1d(4, 6, 5, padding=2)
        self.profile, self.counts = nn.Conv1d(6, 2, 1), nn.Linear(6, 3)
        self.double()

    def forward(self, x: Tensor, control: Tensor | None = None) -> Any:
        h = self.trunk(x).relu()
        h = h if control is None else h + control
        return self.form((self.profile(h), self.counts(h.mean(2))))


Named = namedtuple("Named", "profile counts")
FORMS: dict[str, tuple[Any, Any]] = {
    "tuple": (tuple, 1),
    "list": (list, -1 + 2),
    "named": (lambda y: Named(*y), "counts"),
    "dict": (lambda y: {"profile": y[0], "counts": y[1]}, "counts"),
    "object": (lambda y: SimpleNamespace(profile=y[0], counts=y[1]), "counts"),
}


def letters() -> Tensor:
    codes = torch.randint(0, 4, (3, 20), generator=torch.Generator().manual_seed(0))
    return nn.functional.one_hot(codes, 4).double().mT.contiguous()


@pytest.mark.parametrize("form", FORMS)
def test_a_head_of_each_form(form: str) -> None:
    kind, which = FORMS[form]
    model, x = BPNet(kind), letters()
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(BPNet()(leaf)[1][:, 2].sum(), leaf)[0]
    torch.testing.assert_close(saliency(head(model, which), x, target=2, absolute=False), expected)
    assert grad_cam.explain(head(model, which), x, target=2).layers == ("trunk",)


def test_heads_lie_deep_and_take_values_beside() -> None:
    model, x = BPNet(lambda y: {"human": y, "mouse": None}), letters()
    control = torch.rand(3, 1, 20, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    f = head(model, "human", 1)
    a = deep_lift(f, x, target=0, additional_forward_args={"control": control})
    change = BPNet()(x, control)[1] - BPNet()(0 * x, control)[1]
    torch.testing.assert_close(a.sum((1, 2)), change[:, 0])
    with pytest.raises(ValueError, match=r"`which` is 'dog', but the model's output of human has 0, 1"):
        head(model, "human", "dog")(x)
    with pytest.raises(ValueError, match="no parts, it is a Tensor"):
        head(model, "human", 1, 0)(x)
    by_name = attrib.saliency(
        head(model, "human", 1), {"control": control.expand(3, 6, 20), "x": x}, target=0,
        dims={"control": ("sample", "channel", "position"), "x": ("sample", "letter", "position")},
    )  # fmt: skip
    assert list(by_name) == ["control", "x"]  # by the names of the model's parameters


def test_the_score_of_a_profile_is_its_mean_logit_under_itself() -> None:
    y = torch.randn(4, 2, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for row, s in zip(y, profile_score(y), strict=True):
        p = row.exp() / row.exp().sum()
        torch.testing.assert_close(s, (p * (row - row.mean())).sum())
    torch.testing.assert_close(profile_score(y + 3), profile_score(y))  # logits have no zero
    model, x = BPNet(), letters()
    a = deep_lift(head(model, 0, score=profile_score), x)
    torch.testing.assert_close(a.sum((1, 2)), profile_score(model(x)[0]) - profile_score(model(0 * x)[0]))


def test_parts_of_a_target_name_heads() -> None:
    assert heads_of("1:0, 0:profile", None) == ["1:0", "0:profile"]
    assert heads_of("profile", None) == ["profile"]
    assert heads_of("0,3", None) == heads_of(None, None) == heads_of("a:b", ["a:b"]) == []
    assert headed("1:0", None) == ("1:0", ["1:0"])
    assert headed("1:0,0:profile", ["a"]) == ("all", ["1:0", "0:profile"])
    assert headed("a", ["a"]) == ("a", ["a"])
    with pytest.raises(ValueError, match="0:profile names a head, 3 does not"):
        heads_of("0:profile,3", None)


def test_heads_as_outputs() -> None:
    model, x = BPNet(), letters()
    y = Heads(model, ["1:2", "0:profile", "1:b"], ["a", "b", "c"])(x)
    counts = model(x)[1]
    torch.testing.assert_close(y, torch.stack([counts[:, 2], profile_score(model(x)[0]), counts[:, 1]], 1))
    for part, message in {
        "2:0": r"`target` is '2:0': the model's output has 0, 1",
        "1:7": r"`target` is '1:7': that is an output \(3, 3\)",
        "0:1": r"that is an output \(3, 20\)",
        "1:d": r"that is an output \(3, 3\)",
    }.items():
        with pytest.raises(ValueError, match=message):
            Heads(model, [part])(x)


def test_the_scores_of_bpnetlite() -> None:
    """Scores and gradients of its own wrappers; attributions of counts by tangermeme are DeepLIFT's."""
    pytest.importorskip("bpnetlite")
    from bpnetlite.bpnet import BPNet as Theirs
    from bpnetlite.bpnet import CountWrapper, ProfileWrapper

    torch.manual_seed(0)
    model = Theirs(n_filters=8, n_layers=2, n_outputs=2, n_control_tracks=2, trimming=8).double().eval()
    codes = torch.randint(0, 4, (3, 64), generator=torch.Generator().manual_seed(0))
    x = nn.functional.one_hot(codes, 4).double().mT.contiguous()
    control = torch.rand(3, 2, 64, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    pairs = [
        (head(model, 0, score=profile_score), lambda *v: ProfileWrapper(model)(*v)[:, 0]),
        (lambda *v: head(model, 1)(*v)[:, 0], lambda *v: CountWrapper(model)(*v)[:, 0]),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours(x, control), theirs(x, control))
        leaf = x.clone().requires_grad_()
        expected = torch.autograd.grad(theirs(leaf, control).sum(), leaf)[0]
        a = saliency(ours, x, absolute=False, additional_forward_args=(control,))
        torch.testing.assert_close(a, expected)
