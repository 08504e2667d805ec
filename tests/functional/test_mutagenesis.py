"""In-silico mutagenesis against one forward pass per edit, written out."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attrib.functional import in_silico_mutagenesis
from attrib.testing import specimen


def network(outputs: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv1d(4, 6, 5, padding=2), nn.ReLU(), nn.MaxPool1d(3), nn.Conv1d(6, 5, 3), nn.GELU(), nn.Flatten(),
            nn.Linear(5 * 8, outputs),
        ).double().eval().requires_grad_(False)  # fmt: skip


def sequences(n: int = 2, length: int = 30) -> Tensor:
    """One-hot; the last one has unknown bases and a column of fractions."""
    at = torch.randint(4, (n, length), generator=torch.Generator().manual_seed(3))
    x = F.one_hot(at, 4).double().transpose(1, 2).clone()
    x[-1, :, [0, 7]] = 0
    x[-1, :, 9] = torch.tensor([0.5, 0.25, 0.25, 0.0]).double()
    return x


def naive(f: Any, x: Tensor, positions: range | list[int]) -> Tensor:
    """Differences of the whole output (N, letters, positions, ...)."""
    out = f(x).detach()
    found = out.new_zeros(len(x), 4, x.shape[2], *out.shape[1:])
    for n in range(len(x)):
        for p in positions:
            for letter in range(4):
                y = x[n : n + 1].clone()
                y[0, :, p] = 0
                y[0, letter, p] = 1
                found[n, letter, p] = f(y).detach()[0] - out[n]
    return found


@pytest.mark.parametrize("path", ["auto", "window", "dense"])
def test_every_output_of_every_edit(path: str) -> None:
    """Outputs are not scrambled: each target's map is the one of that output."""
    f, x = network(), sequences()
    found = in_silico_mutagenesis.explain(f, x, targets="all", path=path)
    expected = naive(f, x, range(30)).movedim(-1, 0)
    assert float((found.attribution - expected).abs().max()) <= 1e-10 * float(f(x).abs().max())
    assert (found.attribution[:, x == 1] == 0).all()
    assert torch.equal(found.prediction, f(x).T.detach())
    assert found.notes is not None
    assert found.notes["edits"] == 30 * 3


@pytest.mark.parametrize("path", ["window", "dense"])
def test_profile_outputs_reduced_to_a_score(path: str) -> None:
    net = nn.Conv1d(4, 2, 5, padding=2).double().requires_grad_(False)
    x = sequences()
    found = in_silico_mutagenesis(net, x, target=lambda y: y.flatten(1).logsumexp(1), path=path)
    expected = naive(lambda x: net(x).flatten(1).logsumexp(1), x, range(30))
    assert float((found - expected).abs().max()) <= 1e-12


@pytest.mark.parametrize("path", ["window", "dense"])
@pytest.mark.parametrize(
    "positions", [[3, -1, 7, 3], slice(5, 20, 4), slice(None, None, -7), torch.tensor([0])]
)
def test_some_positions(positions: Any, path: str) -> None:
    f, x = network(), sequences()
    found = in_silico_mutagenesis(f, x, target=1, positions=positions, path=path)
    chosen = sorted(
        {range(30)[p] for p in positions}
        if isinstance(positions, list)
        else set(torch.arange(30).tolist()[positions] if isinstance(positions, slice) else [0])
    )
    expected = naive(f, x, chosen)[..., 1]
    rest = [p for p in range(30) if p not in chosen]
    assert found[:, :, rest].isnan().all()
    assert float((found - expected)[:, :, chosen].abs().max()) < 1e-10


def test_centred_columns_sum_to_zero() -> None:
    f, x = network(), sequences()
    raw, centred = (in_silico_mutagenesis(f, x, target=0, center=c) for c in (False, True))
    assert float(centred.sum(1).abs().max()) < 1e-12
    assert torch.allclose(centred - centred[:, :1], raw - raw[:, :1])


def test_positions_before_letters() -> None:
    f, x = network(), sequences()
    found = in_silico_mutagenesis(
        lambda y: f(y.transpose(1, 2)), x.transpose(1, 2), axis=2, position=1, target=0
    )
    assert torch.allclose(found, in_silico_mutagenesis(f, x, target=0).transpose(1, 2), atol=1e-12)
    same = in_silico_mutagenesis(
        lambda y: f(y.transpose(1, 2)), x.transpose(1, 2), axis=-1, position=-2, target=0
    )
    assert torch.equal(found, same)


def test_one_of_several_inputs() -> None:
    s = specimen("two_inputs", dtype=torch.float64)
    held, found = in_silico_mutagenesis(s.f, s.x, only=1, target=0)
    assert held.isnan().all()
    a, b = s.x
    for p in range(3):
        for letter in range(2):
            edited = b.clone()
            edited[:, :, p] = torch.eye(2).double()[letter]
            assert torch.allclose(found[:, letter, p], (s.f(a, edited) - s.f(a, b))[:, 0], atol=1e-12)


@pytest.mark.parametrize("path", ["window", "dense"])
def test_rows_and_chunks(path: str) -> None:
    """A sequence's map does not depend on its batch, nor on how many rows go through the model at once."""
    f, x = network(), sequences(3)
    whole = in_silico_mutagenesis(f, x, target=2, path=path)
    for i in range(3):
        assert torch.allclose(
            in_silico_mutagenesis(f, x[i : i + 1], target=2, path=path)[0], whole[i], atol=1e-12
        )
    for rows in (1, 7):
        seen: list[int] = []
        model = nn.Sequential(f)
        model.register_forward_pre_hook(lambda m, inputs, seen=seen: seen.append(len(inputs[0])))
        found = in_silico_mutagenesis(model, x, target=2, path=path, batch_size=rows)
        assert torch.allclose(found, whole, atol=1e-12)
        assert max(seen) <= max(rows, 3)  # recording takes three


def test_progress_counts_every_edit() -> None:
    f, x = network(), sequences()
    for path in ("window", "dense"):
        told: list[tuple[int, int]] = []
        found = in_silico_mutagenesis.explain(f, x, target=0, path=path, progress=lambda *at: told.append(at))
        assert found.notes is not None
        assert told[-1] == (30 * 3 + 27 * 3 + 3 * 4 + 2,) * 2


def test_memory_that_runs_out_halves_the_chunk() -> None:
    f, x = network(), sequences()
    expected = in_silico_mutagenesis(f, x, target=0)

    def tight(y: Tensor) -> Tensor:
        if len(y) > 5:
            raise torch.OutOfMemoryError("too many rows")
        return f(y)

    assert torch.allclose(
        in_silico_mutagenesis(tight, x, target=0, batch_size=64, path="dense"), expected, atol=1e-12
    )


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"path": "fast"}, ValueError, "`path` is 'fast', expected one of auto, window, dense"),
        ({"positions": [30]}, ValueError, r"`positions` has \[30\], but `x` has positions 0 to 29"),
        ({"positions": [0.5]}, TypeError, "expected ints"),
        ({"positions": torch.ones(30, dtype=torch.bool)}, TypeError, "mask.nonzero"),
        ({"axis": 2}, ValueError, "expected dims 1 and 2"),
        ({"only": 1}, ValueError, "`only` is 1, expected the number of an input: 0 to 0"),
        ({"only": "a"}, TypeError, "`only` is 'a'"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        in_silico_mutagenesis(network(), sequences(), target=0, **options)


def test_inputs_that_are_no_sequences() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 5\), expected sequences"):
        in_silico_mutagenesis(lambda x: x.sum(1), torch.ones(2, 5))


def test_letters_on_another_dim_than_said() -> None:
    """Zeros and ones with several ones in a column are no letters; other numbers are taken as they are."""
    f, x = network(), F.one_hot(torch.arange(30) ** 2 % 7 % 4, 4).double()[None]
    with pytest.raises(
        ValueError,
        match=r"`x` has columns with \d+ ones along 1, the .* \(`axis`\).*`axis`=2 and `position`=1",
    ):
        in_silico_mutagenesis(lambda y: f(y.transpose(1, 2)), x, target=0)
    turned = in_silico_mutagenesis(lambda y: f(y.transpose(1, 2)), x, axis=2, position=1, target=0)
    assert torch.allclose(turned.transpose(1, 2), in_silico_mutagenesis(f, x.transpose(1, 2), target=0))
    several = x.transpose(1, 2).clone()
    several[0, :3, 4] = 1
    with pytest.raises(ValueError, match=r"`x` has columns with 3 ones along 1.*expected one-hot columns"):
        in_silico_mutagenesis(f, several, target=0)
    several[0, :, 4] *= 0.9
    effects = in_silico_mutagenesis(f, several, target=0)
    for letter in range(4):
        edit = several.clone()
        edit[0, :, 4] = F.one_hot(torch.tensor(letter), 4)
        assert float(effects[0, letter, 4]) == pytest.approx(float((f(edit) - f(several))[0, 0]), abs=1e-12)


def test_letters_on_another_dim_in_one_of_several_inputs() -> None:
    ones = torch.ones(1, 2, 3)
    with pytest.raises(ValueError, match=r"`x\[1\]` has columns with 2 ones along 1"):
        in_silico_mutagenesis(lambda a, b: a.sum((1, 2)) + b.sum((1, 2)), (torch.eye(3)[None], ones))


def test_no_positions() -> None:
    for none in ([], slice(0, 0), slice(8, 3)):
        with pytest.raises(ValueError, match=r"`positions` is .*, which picks none of"):
            in_silico_mutagenesis(network(), sequences(), target=0, positions=none)
