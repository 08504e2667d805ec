"""What Python reads of values that lie where the model is: on a GPU each such read waits until all work is done.

A GPU is not needed to count them: values that come from the inputs or the weights are followed through every op.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

import attrib
import attrib.functional as af

READS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "_unique2", "masked_select"}


class Reads(TorchDispatchMode):
    """Counts reads of floats and booleans that were computed from floats; whole numbers number samples, on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._followed = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        ins = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        follows = any(t.is_floating_point() or t in self._followed for t in ins)
        numbers = bool(ins) and ins[0].dtype == torch.int64
        self.count += follows and not numbers and op.overloadpacket.__name__ in READS
        out = op(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor) and follows:
                self._followed[t] = True
        return out


def sequences(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.eye(4)[torch.randint(0, 4, (n, 10), generator=generator)].transpose(1, 2).contiguous()


def images(n: int) -> Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(n))


SEQUENCE_NET = nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
IMAGE_NET = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()  # fmt: skip
GROUPS = torch.arange(40).view(4, 10) // 8
PER_CHUNK: dict[str, tuple[dict[str, Any], int]] = {  # arguments, and reads that a chunk may take
    "saliency": ({}, 0),
    "input_x_gradient": ({}, 0),
    "integrated_gradients": ({"n_steps": 8}, 0),
    "smooth_grad": ({"n_samples": 8}, 0),
    "gradient_shap": ({"baselines": torch.zeros(2, 4, 10), "n_samples": 8}, 0),
    "deep_lift": ({}, 1),
    "deep_lift_shap": ({"baselines": torch.zeros(2, 4, 10)}, 1),
    "in_silico_mutagenesis": ({}, 0),
    "occlusion": ({"window": (4, 2)}, 0),
    "feature_ablation": ({"groups": GROUPS}, 0),
    "shapley_values": ({"groups": GROUPS}, 0),
    **dict.fromkeys(
        ("grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam"), ({"layer": "1", "upsample": False}, 0)
    ),
}


def reads(work: Callable[[], object]) -> int:
    with Reads() as counted:
        work()
    return counted.count


@pytest.mark.parametrize("targets", [{"target": 1}, {"targets": [0, 2]}], ids=["one", "several"])
@pytest.mark.parametrize("name", PER_CHUNK)
def test_a_chunk_reads_nothing_back(name: str, targets: dict[str, Any]) -> None:
    """Twice as many chunks, and no more reads but those that are allowed."""
    options, allowed = PER_CHUNK[name]
    maps = "layer" in options
    model, make = attrib.prepare(IMAGE_NET if maps else SEQUENCE_NET), images if maps else sequences
    counts = []
    for n in (4, 8):
        x = make(n)
        run = lambda x=x: getattr(af, name)(model, x, batch_size=2, **targets, **options)
        run()  # what is learned of the model is learned
        counts.append(reads(run))
    pairs = 2 if name == "deep_lift_shap" else 1
    assert counts[0] > 0  # NaN in inputs and results is looked for: reads are seen
    assert counts[1] - counts[0] <= allowed * pairs * 2


def test_reads_are_seen_where_they_are() -> None:
    x = torch.randn(3)
    assert reads(lambda: bool((x > 0).any())) == 1
    assert reads(lambda: [float(v) for v in x]) == 3
    assert reads(lambda: int(torch.arange(3)[1])) == 0
