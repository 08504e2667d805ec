"""Equal bits in single precision: from call to call always; for other company and other chunks by `batch_size=1`."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib.functional import in_silico_mutagenesis, occlusion


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv1d(4, 32, 9, padding=4), nn.ReLU(), nn.MaxPool1d(4), nn.Conv1d(32, 32, 5), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 11, 40), nn.ReLU(), nn.Linear(40, 3),
        ).requires_grad_(False)  # fmt: skip


def sequences() -> Tensor:
    at = torch.randint(4, (3, 60), generator=torch.Generator().manual_seed(1))
    return nn.functional.one_hot(at, 4).float().transpose(1, 2).contiguous()


def effects(x: Tensor, **options: Any) -> Tensor:
    return in_silico_mutagenesis(network(), x, targets="all", **options).nan_to_num()


@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
@pytest.mark.parametrize("path", ["auto", "window", "dense"])
def test_equal_calls(path: str, batch_size: int | str) -> None:
    x = sequences()
    assert torch.equal(
        effects(x, path=path, batch_size=batch_size), effects(x, path=path, batch_size=batch_size)
    )


@pytest.mark.parametrize("path", ["window", "dense"])
def test_single_rows_do_not_know_order_or_company(path: str) -> None:
    x = sequences()
    together = effects(x, path=path, batch_size=1)
    assert torch.equal(effects(x.flip(0), path=path, batch_size=1).flip(1), together)
    for i in range(3):
        assert torch.equal(effects(x[i : i + 1], path=path, batch_size=1)[:, 0], together[:, i])


def test_single_rows_of_the_dense_path_are_those_of_the_model() -> None:
    """Nor which other edits are asked for: each is a call of the model with one row."""
    f, x = network(), sequences()
    whole = effects(x, path="dense", batch_size=1)
    some = effects(x, path="dense", batch_size=1, positions=[3, 40])
    assert torch.equal(some[..., [3, 40]], whole[..., [3, 40]])
    edited = x[1:2].clone()
    edited[0, :, 40] = torch.eye(4)[2]
    assert torch.equal(whole[:, 1, 2, 40], (f(edited) - f(x[1:2]))[0])


def test_single_rows_of_occlusion() -> None:
    f, x = network(), sequences()
    together = occlusion(f, x, target=1, window=(4, 5), path="dense", batch_size=1)
    alone = [
        occlusion(f, x[i : i + 1], target=1, window=(4, 5), path="dense", batch_size=1) for i in (2, 0, 1)
    ]
    assert torch.equal(torch.cat(alone)[[1, 2, 0]], together)
