"""The choice of a path, and the guard: a window that would be wrong is never taken."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attrib.engine.edits import edits
from attrib.engine.window import aggregations, convolution, dispatch, pointwise
from attrib.engine.window.propagate import Propagation
from attrib.engine.window.rule import RULES
from attrib.functional import feature_ablation, in_silico_mutagenesis, occlusion, prepare

Function = Callable[[Tensor], Tensor]


def drawn(n: int = 2, length: int = 400) -> Tensor:
    at = torch.randint(4, (n, length), generator=torch.Generator().manual_seed(0))
    return nn.functional.one_hot(at, 4).double().transpose(1, 2).clone()


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv1d(4, 32, 9, padding=4), nn.ReLU(), nn.Conv1d(32, 32, 9, padding=4), nn.ReLU()
        )
    return body.double().requires_grad_(False)


BODY = network()
WEIGHTS = torch.linspace(-1, 1, 32).double()


def suited(x: Tensor) -> Tensor:
    return BODY(x).mean(2) @ WEIGHTS


def explained(f: Function, x: Tensor, **options: Any) -> tuple[Tensor, dict[str, Any]]:
    found = in_silico_mutagenesis.explain(f, x, **options)
    assert found.notes is not None
    return found.attribution, found.notes


def test_auto_takes_the_window_where_it_needs_fewer_operations() -> None:
    found, notes = explained(suited, drawn(1))
    assert notes["path"] == "window"
    assert notes["path_reason"] == "fewer operations"
    assert notes["path_gain"] > 5
    dense, other = explained(suited, drawn(1), path="dense")
    assert other["path"] == "dense"
    assert float((found - dense).abs().max()) < 1e-12


def test_auto_is_dense_where_it_does_not() -> None:
    mixing = torch.randn(4, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _, notes = explained(lambda x: ((2 * x).cumsum(2) * mixing).tanh().sum((1, 2)), drawn(1))
    assert notes["path"] == "dense"
    reason = r"the window would need \d+% of the operations of whole rows: from aten.cumsum.default at .*test_scan.py"
    assert re.match(reason, notes["path_reason"])
    _, few = explained(suited, drawn(1), positions=[3, 4])
    assert few["path_reason"] == "6 edits are too few to pay for recording and checking"


def test_recording_a_small_network_costs_more_than_running_it() -> None:
    small = nn.Sequential(nn.Conv1d(4, 4, 9), nn.ReLU(), nn.Conv1d(4, 4, 9)).double().requires_grad_(False)
    _, notes = explained(lambda x: small(x).mean(2)[:, 0], drawn(1, 100))
    assert notes["path"] == "dense"
    assert notes["path_gain"] > 2
    assert notes["path_reason"] == "300 edits are too few to pay for recording and checking"


def test_a_prepared_model_is_recorded_once_to_find_that_a_window_does_not_pay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other edits are asked about anew, and so is a model with other weights."""
    small = nn.Sequential(nn.Conv1d(4, 4, 9), nn.ReLU(), nn.Conv1d(4, 4, 9), nn.Flatten()).double()
    small.requires_grad_(False).eval()
    recordings, record = [], edits.program
    monkeypatch.setattr(edits, "program", lambda *a: recordings.append(1) or record(*a))
    model, x = prepare(small), drawn(1, 100)
    first, second = (explained(model, x, target=0) for _ in range(2))
    assert len(recordings) == 1
    torch.testing.assert_close(second[0], first[0])
    assert second[1] == first[1]
    explained(model, x, target=0, positions=range(60))
    assert len(recordings) == 2
    small[0].weight.mul_(2)
    found, _ = explained(model, x, target=0)
    assert len(recordings) == 3
    torch.testing.assert_close(found, explained(small, x, target=0, path="dense")[0])


def test_channels_last_models_take_edits_of_single_channels_along_the_other_dim() -> None:
    """A convolution mixes all channels: edits of one letter at one position are windows along the positions."""
    found = feature_ablation.explain(lambda x: suited(x.transpose(1, 2)), drawn(1).transpose(1, 2))
    assert found.notes is not None
    assert found.notes["path"] == "window"
    dense = feature_ablation(lambda x: suited(x.transpose(1, 2)), drawn(1).transpose(1, 2), path="dense")
    assert float((found.attribution - dense).abs().max()) < 1e-12


def test_the_choice_does_not_depend_on_batch_size_or_repetition() -> None:
    notes = [explained(suited, drawn(1), batch_size=b)[1] for b in (5, 64, 64)]
    assert notes[0] == notes[1] == notes[2]


def test_equal_calls_give_equal_bits() -> None:
    assert torch.equal(explained(suited, drawn())[0], explained(suited, drawn())[0])


def mixes(x: Tensor) -> Tensor:
    return suited(x - x.mean(0, keepdim=True))


def by_numpy(x: Tensor) -> Tensor:
    return suited(x) + torch.from_numpy(np.asarray(x.detach()).sum((1, 2)) * np.asarray(x.detach())[:, 0, 7])


def reads_a_value(x: Tensor) -> Tensor:
    return suited(x) if float(x[0, 0, 0]) > 0.5 else -suited(x)


def infinite(x: Tensor) -> Tensor:
    return suited(x) + x[:, 0].log().exp().sum(1)


def by_row_number(x: Tensor) -> Tensor:
    return suited(x) * torch.arange(1, len(x) + 1)


@pytest.mark.parametrize("f", [reads_a_value, infinite])
def test_models_that_no_window_suits(f: Function) -> None:
    with pytest.raises(ValueError, match='`path` is "window", which is not possible here: '):
        in_silico_mutagenesis(f, drawn(1), path="window")
    _, notes = explained(f, drawn(1))
    assert notes["path"] == "dense"


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("path", ["auto", "window", "dense"])
@pytest.mark.parametrize("f", [mixes, by_row_number])
def test_models_that_mix_rows_are_refused_on_every_path(f: Function, path: str, n: int) -> None:
    with pytest.raises(ValueError, match="mixes samples"):
        in_silico_mutagenesis(f, drawn(n), path=path)


def test_rows_that_depend_on_each_other_one_at_a_time() -> None:
    """Alone, a row is its own mean, and the first of its batch."""
    x = drawn(2, length=80)
    found, notes = explained(by_row_number, x, batch_size=1)
    assert notes["path"] == "dense"
    torch.testing.assert_close(found, explained(suited, x, path="dense")[0], rtol=1e-10, atol=1e-12)
    assert not explained(mixes, x, batch_size=1)[0].any()


def by_tolist(x: Tensor) -> Tensor:
    return suited(x) + 9 * torch.tensor(x[:, 0, 7].tolist(), dtype=x.dtype)


def by_item(x: Tensor) -> Tensor:
    return suited(x) + torch.tensor([row[0, 7].item() for row in x], dtype=x.dtype)


@pytest.mark.parametrize("f", [by_numpy, by_tolist, by_item])
def test_values_that_leave_torch(f: Function) -> None:
    """What the recording cannot see would be a constant to the window; here it changes with three edits only."""
    found, notes = explained(f, drawn(1))
    assert notes["path"] == "dense"
    assert torch.equal(found, explained(f, drawn(1), path="dense")[0])


def remembers() -> Function:
    """A model that keeps a part of the first input it sees."""
    kept: list[Tensor] = []

    def f(x: Tensor) -> Tensor:
        kept.append(x[:1, :, :8].detach().clone()) if not kept else None
        return suited(x) + x[:, :, :8].sub(kept[0]).square().sum((1, 2))

    return f


def test_a_constant_taken_from_the_first_input_is_the_model_s_own() -> None:
    """Both paths explain the function that the model has become."""
    f = remembers()
    f(drawn(1))
    one, two = (explained(f, drawn(1), path=p)[0] for p in ("window", "dense"))
    assert float((one - two).abs().max()) < 1e-12


def test_the_record_is_tried_on_inputs_that_differ_everywhere() -> None:
    x = drawn(1)
    others = dispatch.unlike(x, (2,))
    assert len(others) == 4
    assert all(not torch.equal(o, x[0]) for o in others)


def test_a_wrong_rule_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that takes a cumulative sum for pointwise: the guard sees it and the model is computed densely."""
    right = explained(lambda x: BODY(x).cumsum(2).tanh().mean(2) @ WEIGHTS, drawn(1), path="dense")[0]
    monkeypatch.setitem(RULES, torch.ops.aten.cumsum, pointwise.pointwise)
    with pytest.raises(ValueError, match="the window differs from the model by"):
        in_silico_mutagenesis(lambda x: BODY(x).cumsum(2).tanh().mean(2) @ WEIGHTS, drawn(1), path="window")
    found, notes = explained(lambda x: BODY(x).cumsum(2).tanh().mean(2) @ WEIGHTS, drawn(1))
    assert notes["path"] == "dense"
    assert torch.equal(found, right)


def pooled(x: Tensor) -> Tensor:
    """Of convolution, pool, convolution, and a layer on all positions."""
    return HEAD(nn.functional.max_pool1d(BODY(x), 3).flatten(1).tanh())[:, 0]


HEAD = nn.Linear(32 * 133, 2).double().requires_grad_(False)


def narrower(rule: Any, spans: Any) -> Any:
    """The reach of a kernel, less its last position."""
    reach = REACH(rule, spans)
    return tuple((lo, max(lo + 1, hi - 1)) for lo, hi in reach)


REACH = convolution.Sliding.reach
CHANGE, BLOCKS, UNDER = Propagation.change, aggregations.Linear.blocks, convolution.under
WRONG: dict[str, tuple[Any, str, Any]] = {
    "reach": (convolution.Sliding, "reach", narrower),
    "need": (
        convolution,
        "under",
        lambda kernels, span: tuple((lo + 1, hi + 1) for lo, hi in UNDER(kernels, span)),
    ),
    "change": (Propagation, "change", lambda at, ref: CHANGE(at, ref) * (1 + 1e-6)),
    "weights": (
        aggregations.Linear,
        "blocks",
        lambda layer, places, room: BLOCKS(layer, [max(0, p - 1) for p in places], room),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_guard_sees_what_is_broken(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = explained(pooled, drawn(1), path="dense")[0]
    assert explained(pooled, drawn(1))[1]["path"] == "window"
    monkeypatch.setattr(*WRONG[wrong])
    found, notes = explained(pooled, drawn(1))
    assert notes["path"] == "dense"
    assert notes["path_reason"].startswith("the window differs from the model by")
    assert torch.equal(found, right)


def test_samples_that_the_window_does_not_suit_are_computed_densely() -> None:
    def f(x: Tensor) -> Tensor:
        return suited(x) + torch.where(x > 1.5, 1 / (x - 2), 0.0).sum((1, 2)).clamp(-5, 5)

    x = drawn(3)
    x[1, 2, 0] = 2.0  # 1 / 0 before the clamp
    found, notes = explained(f, x)
    assert notes["path"] == "window"
    assert "not for sample 1" in notes["path_reason"]
    assert float((found - explained(f, x, path="dense")[0]).abs().max()) < 1e-12


def test_a_mask_of_one_sample_is_held() -> None:
    """A mask of the held input is a constant of booleans in the recording."""

    def f(a: Tensor, mask: Tensor) -> Tensor:
        return suited(a.masked_fill(mask[:, None] == 0, 0.0))

    x = drawn(2)
    mask = (torch.rand(2, 400, generator=torch.Generator().manual_seed(4)) > 0.3).double()
    one, two = (
        occlusion.explain(f, (x, mask), window=((4, 1), (1,)), only=0, path=p) for p in ("auto", "dense")
    )
    assert one.notes is not None
    assert "failed" not in str(one.notes["path_reason"])
    assert float((one.attribution[0] - two.attribution[0]).abs().max()) < 1e-12


def test_what_fails_on_the_window_goes_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise AttributeError("no such op\nand more")

    monkeypatch.setattr(edits, "program", broken)
    found, notes = explained(suited, drawn(2))
    assert notes["path"] == "dense"
    assert notes["path_reason"] == "the window failed with AttributeError: no such op"
    assert torch.equal(found, explained(suited, drawn(2), path="dense")[0])
    with pytest.raises(AttributeError):
        explained(suited, drawn(2), path="window")


def test_a_model_that_mixes_rows_is_refused_behind_the_window_too() -> None:
    with pytest.raises(ValueError, match="mixes samples"):
        explained(lambda x: suited(x) - suited(x).mean(), drawn(1))


def test_half_precision_is_dense() -> None:
    x = drawn(1).bfloat16()
    _, notes = explained(lambda y: y.flatten(1).sum(1), x)
    assert "leave no room for rounding" in notes["path_reason"]


def test_single_precision_by_window() -> None:
    net = nn.Sequential(nn.Conv1d(4, 32, 9), nn.ReLU(), nn.MaxPool1d(4), nn.Flatten(), nn.Linear(32 * 98, 3))
    net, x = net.requires_grad_(False), drawn(1).float()
    one, two = (explained(net, x, targets="all", path=p)[0] for p in ("window", "dense"))
    assert float((one - two).abs().max()) < 1e-5 * float(net(x).abs().max())


def test_window_for_inputs_without_boxes() -> None:
    with pytest.raises(ValueError, match="the edits are no boxes"):
        feature_ablation(
            lambda x: x.sum(1), torch.ones(1, 8), groups=torch.zeros(8, dtype=torch.long), path="window"
        )


def test_held_inputs() -> None:
    """Edits in one input, the other held: for each sample its own."""

    def f(a: Tensor, b: Tensor) -> Tensor:
        return suited(a) * b.square().mean((1, 2)) + suited(b)

    a, b = drawn(2), torch.rand(2, 4, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found, notes = explained(f, (a, b), only=0)  # type: ignore[arg-type]
    assert notes["path"] == "window"
    dense = explained(f, (a, b), only=0, path="dense")[0]  # type: ignore[arg-type]
    assert float((found[0] - dense[0]).abs().max()) < 1e-12


def test_paths_are_named() -> None:
    assert edits.PATHS == ("auto", "window", "dense")
