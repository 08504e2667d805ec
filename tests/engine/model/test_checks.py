"""The trial of a row, and what is made of its comparison with the first call."""

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib.engine.model.checks import (
    Ops,
    Trial,
    batches_to_try,
    refuse_changing_outputs,
    refuse_dependent_rows,
    refuse_training_mode,
    row_difference,
    try_row,
)

X = torch.linspace(-1, 1, 12).view(4, 3)
SAMPLES = torch.arange(4)


def of_rows(model: Callable) -> Callable:
    """A model as the checks call it: rows, and the samples that they belong to."""
    return lambda rows, samples: model(*rows).detach()


def test_bytes_of_new_tensors_that_hold_values() -> None:
    x = torch.ones(4, 8)
    with Ops() as ops:
        y = (x + 1).view(32)  # 128 bytes; the view is not new
        torch.cat([y, y])  # 256 bytes
        torch.empty(1000, 1000, device="meta")  # a shape, no memory
    assert (ops.bytes, ops.largest) == (384, 256)
    ops.add(1000, 700)
    assert (ops.bytes, ops.largest) == (1384, 700)
    ops.clear()
    assert (ops.bytes, ops.largest) == (0, 0)


@pytest.mark.parametrize(("count", "sizes"), [(1, [3, 1]), (2, [3, 2]), (3, [2, 3]), (64, [2, 64])])
def test_batches_hold_the_row_at_another_place_beside_other_rows(count: int, sizes: list[int]) -> None:
    batches = batches_to_try((X[[0, -1]], torch.tensor([[1, 2], [3, 4]])), count)
    tried = [n for n in sizes if n > 1]
    assert [len(b.rows[0]) for b in batches] == [n for n in tried for _ in range(3)]
    for k, batch in enumerate(batches):
        floats, whole = batch.rows
        assert batch.place == 1
        assert batch.samples.tolist() == [count - 1, 0] + [count - 1] * (len(floats) - 2)
        assert torch.equal(floats[1], X[0])
        assert whole[1].tolist() == [1, 2]
        other = (X[-1] * 1.5 + 1, X[-1] / 2, X[-1])[k % 3]
        assert torch.equal(floats[[0, *range(2, len(floats))]], other.expand(len(floats) - 1, 3))
        assert whole[0].tolist() == ([4, 3] if k % 3 == 0 else [3, 4])


@pytest.mark.parametrize(("padded", "size"), [(1, 2), (2, 2), (8, 8)])
def test_batches_of_a_model_that_fills_its_calls(padded: int, size: int) -> None:
    assert [len(b.rows[0]) for b in batches_to_try((X[[0, -1]],), 5, padded)] == [size] * 3


def test_the_first_batch_that_the_model_takes_is_the_trial() -> None:
    sizes: list[int] = []

    def takes_three_small_rows(x: Tensor) -> Tensor:
        sizes.append(len(x))
        if len(x) != 3 or x.abs().max() > 1:
            raise RuntimeError("not so")
        return 2 * x

    trial = try_row(of_rows(takes_three_small_rows), batches_to_try((X[[0, -1]],), 3))
    assert sizes == [2, 2, 2, 3, 3]
    assert trial is not None
    assert trial.place == 1
    assert torch.equal(trial.outputs, 2 * torch.stack([X[-1] / 2, X[0], X[-1] / 2]))

    def takes_none(x: Tensor) -> Tensor:
        raise ValueError("of no size")

    assert try_row(of_rows(takes_none), batches_to_try((X[[0, -1]],), 3)) is None
    with pytest.raises(KeyError):  # what is no word on rows goes on
        try_row(of_rows(lambda x: {}["x"]), batches_to_try((X[[0, -1]],), 3))


OWN = torch.Generator().manual_seed(0)
DRAWS = {  # some of them behind fork_rng, as if by another library
    "rand": lambda x: x + torch.rand(8),
    "rrelu": lambda x: F.rrelu(x - 2, training=True),
    "gamma": lambda x: torch.distributions.Gamma(x + 1, 1.0).sample(),
    "dirichlet": lambda x: torch.distributions.Dirichlet(x + 1).sample(),
    "attention": lambda x: F.scaled_dot_product_attention(*[x.view(-1, 4, 2)] * 3, dropout_p=0.5),
    "native dropout": lambda x: torch.native_dropout(x, 0.5, True)[0],
    "fractional pooling": lambda x: F.fractional_max_pool2d(x.view(-1, 1, 2, 4).repeat(1, 1, 4, 2) * SLOPE, 2, output_size=5).flatten(1),
    "op": lambda x: x + torch.ops.aten.randn([8]),
    "op with a generator": lambda x: torch.ops.aten.poisson(9 * x, OWN),
    "overload": lambda x: torch.ops.aten.rrelu.default(x - 2, 0.1, 0.9, True, OWN),
}  # fmt: skip
SLOPE = torch.arange(64.0).view(8, 8)
ROWS = torch.linspace(0.5, 1.5, 32).view(4, 8)


def checked(call: Callable, x: Tensor = ROWS) -> None:
    """As a method's first call does it."""
    batches = batches_to_try((x[[0, -1]],), len(x))
    trial = try_row(of_rows(call), batches)
    assert trial is not None
    refuse_dependent_rows(of_rows(call), call, (x,), SAMPLES[: len(x)], call(x), trial)


@pytest.mark.parametrize("forked", [False, True])
@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_refused(name: str, forked: bool) -> None:
    seeds = itertools.count(3)

    def call(x: Tensor) -> Tensor:
        if not forked:
            return DRAWS[name](x)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(next(seeds))
            return DRAWS[name](x)

    text = "draws random numbers" if not forked else "mixes samples|again: it draws random numbers"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = torch.get_rng_state()
        with pytest.raises(ValueError, match=text if name not in OF_ITS_OWN else f"{text}|again"):
            checked(call)
        assert torch.equal(torch.get_rng_state(), state)


OF_ITS_OWN = ("op with a generator", "overload")  # no state of torch's moves: the outputs alone tell
SOUND = {
    "rrelu": lambda x: F.rrelu(x - 2),
    "RReLU": torch.nn.RReLU().eval(),
    "dropout": lambda x: torch.dropout(F.dropout(F.dropout(x, 0.5, False), training=False), 0.5, train=False),
    "attention": lambda x: F.scaled_dot_product_attention(*[x.view(-1, 4, 2)] * 3),
    "op": torch.ops.aten.relu,
    "a draw that is left": lambda x: (torch.rand(3), torch.randn_like(x), x.tanh())[2],
    "a draw that decides nothing": lambda x: x.tanh() if torch.rand([]) < 2 else x,
    "a draw of no width": lambda x: x + torch.empty(8).uniform_(0, 1) * 0,
}


@pytest.mark.parametrize("name", SOUND)
def test_functions_whose_draws_do_not_matter_are_not_refused(name: str) -> None:
    checked(SOUND[name])
    checked(SOUND[name], ROWS[:1])


def test_a_draw_that_decides_is_found_at_either_end() -> None:
    """Layers skipped one time in ten: hardly ever in two calls, but with every draw at its lower end."""
    for decide in (lambda: torch.rand([]) < 1e-6, lambda: torch.rand([]) > 0.99):
        with pytest.raises(ValueError, match="draws random numbers"):
            checked(lambda x, decide=decide: 2 * x if decide() else x)


def test_draws_that_may_not_be_all_alike_are_compared_as_they_are() -> None:
    def call(x: Tensor) -> Tensor:
        draw = torch.rand(8)
        if bool((draw == draw[0]).all()):
            raise RuntimeError("degenerate")
        return x + draw

    with pytest.raises(ValueError, match="draws random numbers"):
        checked(call)


EYE = torch.eye(2)


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        ([1.0, 2.0], 0.0),
        ([1.0, 2.0 + 1e-6], 0.0),  # certainly rounding
        ([1.0, 2.001], 0.0005),
        ([1.0, -2.0], 2.0),
        ([1.0, float("inf")], float("inf")),
        ([float("nan"), 2.0], float("inf")),
    ],
)
def test_the_difference_is_relative_to_the_largest_output(again: list[float], expected: float) -> None:
    trial = Trial((), SAMPLES[:2], 1, torch.tensor([[7.0, 7.0], again]))
    y = torch.tensor([[1.0, 2.0], [9.0, 9.0]])
    assert row_difference(y, trial) == pytest.approx(expected, rel=1e-2)


def test_differences_of_what_is_not_finite_in_both() -> None:
    nan, inf = float("nan"), float("inf")
    for row in ([nan, 1.0], [inf, 1.0]):
        assert row_difference(torch.tensor([row]), Trial((), SAMPLES[:1], 0, torch.tensor([row]))) == 0
    assert row_difference(torch.tensor([[inf]]), Trial((), SAMPLES[:1], 0, torch.tensor([[-inf]]))) == inf
    assert row_difference(torch.zeros(1, 2), Trial((), SAMPLES[:1], 0, torch.zeros(1, 3))) == inf
    assert row_difference(torch.zeros(1, 0), Trial((), SAMPLES[:1], 0, torch.zeros(1, 0))) == 0
    assert row_difference(torch.zeros(1, 2), Trial((), SAMPLES[:1], 0, torch.zeros(1, 2))) == 0


def test_outputs_that_change_from_call_to_call() -> None:
    trial = Trial((X,), SAMPLES, 0, 2 * X)
    refuse_changing_outputs(of_rows(lambda x: 2 * x + 1e-9), trial)
    for call in (lambda x: 2 * x + 1e-2, lambda x: 2 * x / 0, lambda x: 2 * x[:, :2]):
        with pytest.raises(ValueError, match="other outputs when the same rows are called again"):
            refuse_changing_outputs(of_rows(call), trial)
    nan = Trial((X,), SAMPLES, 0, X / 0)
    refuse_changing_outputs(of_rows(lambda x: x / 0), nan)  # the same NaN and infinities again


class Cancels(nn.Module):
    """What is left of large numbers is rounding, which differs with the size of the batch as kernels do."""

    def __init__(self, mixes: float = 0.0) -> None:
        super().__init__()
        self.weight, self.mixes = nn.Parameter(torch.ones(3)), mixes

    def forward(self, x: Tensor) -> Tensor:
        rounding = torch.finfo(x.dtype).eps * 2000 * (len(x) == 4)
        return (x * self.weight).sum(1, True) * (1 + rounding + self.mixes * len(x))


def compared(model: Callable) -> float:
    """The difference that was seen, if it was taken for rounding."""
    trial = try_row(of_rows(model), batches_to_try((X[[0, -1]],), len(X)))
    assert trial is not None
    y = model(X).detach()
    refuse_dependent_rows(of_rows(model), model, (X,), SAMPLES, y, trial)
    return row_difference(y, trial)


def test_differences_of_modules_are_looked_at_in_double_precision() -> None:
    """Rounding is gone there, mixing stays."""
    assert compared(Cancels()) == pytest.approx(2.4e-4, rel=0.01)
    mixing = Cancels(5e-5)  # less than the rounding
    with pytest.raises(ValueError, match="mixes samples"):
        compared(mixing)
    assert mixing.weight.dtype == torch.float32  # a copy was made double


@pytest.mark.parametrize("small", [2e-5, 3e-4])
def test_differences_of_functions_are_rounding_by_their_size(small: float) -> None:
    """No copy can be made of a function: it is mixing from the root of the precision on, 3.5e-4."""
    assert compared(lambda x: x * (1 + small * (len(x) == 4))) == pytest.approx(small, rel=0.05)
    with pytest.raises(ValueError, match="mixes samples"):
        compared(lambda x: x * (1 + 4e-4 * (len(x) == 4)))
    with pytest.raises(ValueError, match="mixes samples"):  # of double precision it is 1.5e-8
        checked(lambda x: x.double() * (1 + small * (len(x) == 4)))


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (nn.BatchNorm1d(3), r"1 \(BatchNorm1d\)"),
        (nn.BatchNorm1d(3, track_running_stats=False).eval(), r"1 \(BatchNorm1d\)"),
        (nn.InstanceNorm1d(3, track_running_stats=True), r"1 \(InstanceNorm1d\)"),
        (nn.Dropout(0.1), r"1 \(Dropout\)"),
        (nn.LSTM(3, 3, 2, dropout=0.1), r"1 \(LSTM\)"),
        (nn.MultiheadAttention(3, 1, dropout=0.1), r"1 \(MultiheadAttention\)"),
    ],
)
def test_modules_that_mix_or_draw_are_named(part: nn.Module, text: str) -> None:
    model = nn.Sequential(nn.Linear(3, 3), part)
    with pytest.raises(ValueError, match=rf"`model` is not deterministic row by row: {text} would mix"):
        refuse_training_mode(model, list(model.modules()))
    if not isinstance(part, nn.BatchNorm1d) or part.running_mean is not None:
        refuse_training_mode(model.eval(), list(model.modules()))


def test_only_the_first_four_are_named() -> None:
    model = nn.Sequential(*(nn.Dropout(0.5) for _ in range(6)))
    with pytest.raises(ValueError, match=r"3 \(Dropout\) and 2 more would mix"):
        refuse_training_mode(model, list(model.modules()))
