"""One side of `benchmarks.way`: what lies between a call and the model, and how long it takes, as JSON.

Imports nothing of this folder, so that the same file measures any checkout of the package: PYTHONPATH says which.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import captum
import torch
from captum.attr import DeepLift, FeatureAblation, IntegratedGradients, LayerGradCam, Saliency
from torch import Tensor, nn

import attrib
import attrib.functional as af

TARGET, STEPS = 1, 50
REPEATS = 7
Call = Callable[[nn.Module, Tensor], Any]


class Network(NamedTuple):
    """A small network, its input (1, ...), and the layer that is mapped, if it has one."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    layer: str | None = None


NETWORKS = {
    "MLP 20-16-3": Network(lambda: nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3)), (20,)),
    "CNN 1x8x8": Network(
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)), (1, 8, 8), "1"
    ),
}
OURS: dict[str, Call] = {
    "saliency": lambda f, x: af.saliency(f, x, target=TARGET),
    "integrated gradients": lambda f, x: af.integrated_gradients(f, x, target=TARGET, n_steps=STEPS),
    "DeepLIFT": lambda f, x: af.deep_lift(f, x, target=TARGET),
    "Grad-CAM": lambda f, x: af.grad_cam(f, x, target=TARGET, layer=layer_of(f), upsample=False),
    "feature ablation": lambda f, x: af.feature_ablation(f, x, target=TARGET),
}
CAPTUM: dict[str, Call] = {
    "saliency": lambda f, x: Saliency(f).attribute(x, TARGET),
    "integrated gradients": lambda f, x: IntegratedGradients(f).attribute(x, target=TARGET, n_steps=STEPS),
    "DeepLIFT": lambda f, x: DeepLift(f).attribute(x, target=TARGET),
    "Grad-CAM": lambda f, x: LayerGradCam(f, f.get_submodule(layer_of(f))).attribute(
        x, TARGET, relu_attributions=True
    )[:, 0],
    "feature ablation": lambda f, x: FeatureAblation(f).attribute(
        x, target=TARGET, perturbations_per_eval=x.numel()
    ),
}
ROWS = {"saliency": 1, "integrated gradients": STEPS, "DeepLIFT": 2, "Grad-CAM": 1}


def layer_of(f: Any) -> str:
    """The layer to map, of a network, a spy or a prepared model."""
    modules = dict(getattr(f, "model", f).named_modules())
    layer = next(name for name, part in modules.items() if type(part) is nn.ReLU)
    return f"model.{layer}" if isinstance(f, Spy) else layer


def bare(method: str, f: nn.Module, x: Tensor) -> Callable[[], object]:
    """The method's rows through the model in one call, and back if it takes gradients."""
    if method == "feature ablation":
        rows = x.repeat(x.numel() + 1, *[1] * (x.ndim - 1))
        return torch.no_grad()(lambda: f(rows))
    rows = x.repeat(ROWS[method], *[1] * (x.ndim - 1)).requires_grad_()
    return lambda: torch.autograd.grad(f(rows)[:, TARGET].sum(), rows)


class Spy(nn.Module):
    """A model that writes down how it is called: frames of a package on the stack, and the types of its inputs."""

    def __init__(self, model: nn.Module, package: str) -> None:
        super().__init__()
        self.model, self.package = model, package
        self.frames: list[int] = []
        self.kinds: set[str] = set()

    def forward(self, x: Tensor) -> Tensor:
        files = [frame.filename for frame in traceback.extract_stack()]
        self.frames.append(sum(file.startswith(self.package) for file in files))
        self.kinds.add(type(x).__name__)
        return self.model(x)


def way(call: Call, model: nn.Module, x: Tensor, package: str) -> dict[str, Any]:
    """Frames down to the model, files entered, moves from file to file, calls of the model, types handed to it."""
    files: list[str] = []

    def entered(frame: Any, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            files.append(frame.f_code.co_filename)

    spy = Spy(model, package).eval()
    sys.setprofile(entered)
    try:
        call(spy, x)
    finally:
        sys.setprofile(None)
    moves = sum(a != b for a, b in pairwise(files))
    return {
        "frames": max(spy.frames),
        "files": len(set(files)),
        "moves": moves,
        "calls": len(spy.frames),
        "types": sorted(spy.kinds),
    }


def microseconds(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """CPU time of one call of each piece of work: medians of runs that alternate."""
    counts = {name: max(1, round(0.02 / _seconds(work, 3))) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats):
        for name in works if turn % 2 else reversed(works):
            times[name].append(_seconds(works[name], counts[name]))
    return {name: 1e6 * statistics.median(values) for name, values in times.items()}


def _seconds(work: Callable[[], object], count: int) -> float:
    work()
    begin = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - begin) / count


def prepared(model: nn.Module) -> Any:
    """The model as one that remembers what was learned of it; None where the package has none."""
    try:
        from attrib.engine.model.prepared import PreparedModel
    except ImportError:
        return None
    return PreparedModel(model)


def measure(repeats: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Everything, by network and method."""
    roots = {"attrib": str(Path(attrib.__file__).parent), "captum": str(Path(captum.__file__).parent)}
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for name, network in NETWORKS.items():
        torch.manual_seed(0)
        model, x = network.build().eval().requires_grad_(False), torch.randn(1, *network.shape)
        results[name] = {}
        for method, ours in OURS.items():
            if method == "Grad-CAM" and network.layer is None:
                continue
            theirs = CAPTUM[method]
            off = float((ours(model, x) - theirs(model, x)).abs().max())
            if not off < 1e-5:
                raise SystemExit(f"wrong answer: {method} on {name} differs from captum's by {off:.1e}")
            works = {
                "bare": bare(method, model, x),
                "attrib": lambda f=model, x=x, ours=ours: ours(f, x),
                "captum": lambda f=model, x=x, theirs=theirs: theirs(f, x),
            }
            remembering = prepared(model)
            if remembering is not None:
                works["prepared"] = lambda f=remembering, x=x, ours=ours: ours(f, x)
            results[name][method] = {
                "ways": {
                    "attrib": way(ours, model, x, roots["attrib"]),
                    "captum": way(theirs, model, x, roots["captum"]),
                },
                "microseconds": microseconds(works, repeats),
            }
    return results


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # captum warns of its hooks
    torch.set_num_threads(1)
    json.dump(measure(int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS), sys.stdout)
