"""On a GPU: the same numbers as on the CPU, data moved by chunks, memory that runs out. Skipped where there is none."""

from __future__ import annotations

import pytest
import torch

from attrib.engine.sampling.perturbations import normal, sample_keys
from attrib.functional import METHODS
from tests.cases import CASES

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def network(dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(2, 4, 3), torch.nn.GELU(), torch.nn.Flatten(), torch.nn.Linear(64, 5)
    return torch.nn.Sequential(*layers).to(dtype).eval()


def inputs(n: int = 7) -> torch.Tensor:
    return torch.randn(n, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def baselines(case, x: torch.Tensor) -> dict:
    if case.takes is None:
        return {}
    return {"baselines": torch.zeros_like(x[:3]) if case.takes == "distribution" else 0.0}


@pytest.mark.parametrize("name", [n for n in CASES if n.partition("-")[0] in METHODS])
@pytest.mark.parametrize("options", [{"target": 2}, {"target": "predicted"}, {"targets": "all"}])
def test_same_numbers_as_on_the_cpu(name: str, options: dict) -> None:
    case, x = CASES[name], inputs()
    method = case.bound()
    given = {**options, **baselines(case, x), "batch_size": 4}
    on_cpu = method(network(), x, **given)
    moved = method(network().cuda(), x, **given)  # data on the CPU, model on the GPU
    on_gpu = method(network().cuda(), x.cuda(), **given)
    assert moved.device.type == "cpu"
    assert on_gpu.device.type == "cuda"
    torch.testing.assert_close(moved, on_cpu, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-9, atol=1e-12)


def test_equal_calls_give_equal_bits() -> None:
    model, x = network(torch.float32).cuda(), inputs().float()
    first, again = (METHODS["smooth_grad"](model, x, target=1, batch_size=6) for _ in range(2))
    assert torch.equal(first, again)


def test_draws_are_the_same_on_both_devices() -> None:
    x = inputs()
    keys = sample_keys((x,), seed=3)
    assert torch.equal(keys, sample_keys((x.cuda(),), seed=3))
    draws = torch.arange(len(x))
    here = normal(keys, draws, 0, torch.Size([1000]), torch.float32)
    there = normal(keys.cuda(), draws.cuda(), 0, torch.Size([1000]), torch.float32)
    torch.testing.assert_close(there.cpu(), here, rtol=1e-5, atol=1e-6)


def test_memory_that_runs_out_halves_the_chunk() -> None:
    seen: list[int] = []

    def hungry(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        held = torch.empty(len(x) << 33, dtype=torch.uint8, device=x.device) if len(x) > 4 else None
        y = (x**2).flatten(1).sum(1)
        del held
        return y

    x = inputs(32).cuda()
    found = METHODS["saliency"](hungry, x, batch_size=32, absolute=False)
    torch.testing.assert_close(found, 2 * x)
    assert max(seen) == 32


def test_exact_integrals_are_the_same_on_both_devices() -> None:
    torch.manual_seed(0)
    layers = (
        torch.nn.Conv2d(2, 4, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 5),
    )
    net, x = torch.nn.Sequential(*layers).double().eval(), inputs()
    here = METHODS["integrated_gradients"].explain(net, x, quadrature="exact", targets="all")
    there = METHODS["integrated_gradients"].explain(net.cuda(), x.cuda(), quadrature="exact", targets="all")
    torch.testing.assert_close(there.attribution.cpu(), here.attribution, rtol=1e-9, atol=1e-12)
    assert torch.equal(there.per_sample["segments"].cpu(), here.per_sample["segments"])
