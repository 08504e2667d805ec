"""Class activation maps beside pytorch-grad-cam: ``python -m benchmarks.cam [--output FILE]``.

The answers are compared before anything is timed. The limit is what the network's own passes allow: forward to the layer,
forward and backward from there, and no map. pytorch-grad-cam imports torchvision, which has no build for every
torch: an empty stand-in is enough for the maps.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrib.functional import METHODS
from benchmarks.images import resnet18
from benchmarks.models import convnext
from benchmarks.setting import Setting, alternate, check, ratio, table, verdict

CLASSES = 20
PEERS = {"grad_cam": "GradCAM", "grad_cam_plus_plus": "GradCAMPlusPlus", "layer_cam": "LayerCAM", "hires_cam": "HiResCAM"}  # fmt: skip


Work = Callable[[], Tensor]


class Net(NamedTuple):
    """A network, the side of its images, and layers at the end and in the middle."""

    name: str
    model: nn.Module
    side: int
    layers: dict[str, str]


def pytorch_grad_cam() -> Any:
    """The peer, beside a stand-in for torchvision where that does not import."""
    try:
        import torchvision  # noqa: F401
    except Exception:
        for name in (
            "torchvision",
            "torchvision.transforms",
            "torchvision.transforms.functional",
            "torchvision.ops",
        ):
            stub = ModuleType(name)
            vars(stub).update(Compose=None, Normalize=None, ToTensor=None, resize=None)
            sys.modules[name] = stub
    import pytorch_grad_cam

    return pytorch_grad_cam


def nets(quick: bool) -> list[Net]:
    torch.manual_seed(0)
    side = 64 if quick else 224
    return [
        Net("resnet18", resnet18(CLASSES).eval(), side, {"last": "9", "middle": "5"}),
        Net("ConvNeXt", convnext(CLASSES).eval(), side, {"last": "5", "middle": "2"}),
    ]


class Question(NamedTuple):
    """A computation that both sides run.

    Attributes
    ----------
    net, name, where : Net, str, str
        Network, method, `"last"` or `"middle"`.
    x : Tensor
        Images.
    """

    net: Net
    name: str
    where: str
    x: Tensor

    @property
    def layer(self) -> str:
        return self.net.layers[self.where]

    def ours(self, **targets: Any) -> Tensor:
        return METHODS[self.name](
            self.net.model, self.x, layer=self.layer, normalize="minmax", batch_size=len(self.x), **targets
        )

    def theirs(self, package: Any, classes: Sequence[int]) -> Tensor:
        """The peer's maps (N, y, x); its hooks are taken off afterwards."""
        targets = [package.utils.model_targets.ClassifierOutputTarget(c) for c in classes]
        with getattr(package, PEERS[self.name])(
            self.net.model, [self.net.model.get_submodule(self.layer)]
        ) as cam:
            return torch.from_numpy(cam(self.x, targets))

    def their_loop(self, package: Any) -> Tensor:
        return torch.stack([self.theirs(package, [c] * len(self.x)) for c in range(CLASSES)])

    def bare(self, classes: Sequence[int]) -> list[Tensor]:
        """Forward to the layer without a graph, from there on with one, and the gradient at the layer: no map."""
        leaf: list[Tensor] = []

        def hook(module: nn.Module, args: object, output: Tensor) -> Tensor:
            torch.set_grad_enabled(True)
            leaf.append(output.detach().requires_grad_())
            return leaf[0].clone()

        handle = self.net.model.get_submodule(self.layer).register_forward_hook(hook)
        with torch.no_grad():
            y = self.net.model(self.x)
        handle.remove()
        weights = torch.zeros(len(classes) // len(self.x), *y.shape)
        rows = torch.arange(len(self.x)).repeat(len(weights))
        weights[torch.arange(len(classes)) // len(self.x), rows, torch.tensor(classes)] = 1
        return [torch.autograd.grad(y, leaf, w, retain_graph=True)[0] for w in weights]

    def line(
        self, setting: Setting, ours: Work, theirs: Work, bare: Callable[[], object], demand: float
    ) -> list[str]:
        """A row of the table: how many times faster the same attributions are."""
        check(f"{self.name} at {self.layer} of {self.net.name}", float((ours() - theirs()).abs().max()), 1e-3)
        times = alternate({"attrib": ours, "peer": theirs, "bare": bare}, setting)
        speedup, limit = ratio(times, "peer", "attrib"), ratio(times, "peer", "bare")
        words = verdict(speedup, demand, at_least=True)
        self.net.model.zero_grad(set_to_none=True)  # the peer leaves gradients on every parameter
        return [
            self.net.name, f"{self.where} ({self.layer})", f"`{self.name}`", str(len(self.x)), f"{speedup:.2f}x",
            f"{limit:.2f}x", f">= {demand}x: {words}{', limit is lower' * (limit < demand)}",
        ]  # fmt: skip


def question(net: Net, name: str, where: str, n: int) -> Question:
    return Question(
        net, name, where, torch.randn(n, 3, net.side, net.side, generator=torch.Generator().manual_seed(1))
    )


def one_class(setting: Setting, q: Question, package: Any) -> list[str]:
    classes = [k % CLASSES for k in range(len(q.x))]
    demand = {"last": 2.5, "middle": 1.6}[q.where]
    return q.line(
        setting,
        partial(q.ours, target=classes),
        partial(q.theirs, package, classes),
        partial(q.bare, classes),
        demand,
    )


def all_classes(setting: Setting, q: Question, package: Any) -> list[str]:
    classes = [c for c in range(CLASSES) for _ in q.x]
    return q.line(
        setting, partial(q.ours, targets="all"), partial(q.their_loop, package), partial(q.bare, classes), 5.0
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="images of 64 x 64 in place of 224 x 224")
    parser.add_argument("--few", action="store_true", help="two methods, one image, no loops over classes")
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args(argv)
    setting = Setting(rounds=chosen.rounds, quick=chosen.quick)
    text = report(setting, pytorch_grad_cam(), chosen.few)
    print(text)
    if chosen.output:
        chosen.output.write_text(text)


def report(setting: Setting, package: Any, few: bool = False) -> str:
    networks = nets(setting.quick)
    places = [(net, where) for net in networks for where in net.layers]
    single = [
        one_class(setting, question(net, name, where, n), package)
        for net, where in places for name in list(PEERS)[: 3 if few else None] for n in ((1,) if few else (1, 8))
    ]  # fmt: skip
    several = [
        all_classes(setting, question(net, name, where, n), package)
        for net, where in places for name in ("grad_cam", "layer_cam") for n in (1, 4) if not few
    ]  # fmt: skip
    columns = ["network", "layer", "method", "images", "faster than pytorch-grad-cam", "limit", "demand"]
    words = (
        f"# Class activation maps\n\nattrib {version('attrib')}, pytorch-grad-cam {version('grad-cam')}, torch "
        f"{torch.__version__}, {platform.machine()}, {torch.get_num_threads()} thread, float32, images of "
        f"{networks[0].side} x {networks[0].side}, {CLASSES} classes, {setting.rounds} alternating rounds, medians of ratios.\n"
    )
    limit = (
        " The limit is the peer's time by that of the network's own passes: forward to the layer, forward and backward from "
        "there, nothing else."
    )
    same = "Both give the map on the image's grid, scaled to [0, 1]; answers agree to 1e-3 or the run stops."
    return "\n".join(
        [
            words,
            table("One class per image", same + limit, columns, single),
            *(
                [
                    table(
                        "All classes",
                        'The peer\'s loop over classes, beside `targets="all"`.',
                        columns,
                        several,
                    )
                ]
                if several
                else []
            ),
        ]
    )


if __name__ == "__main__":
    main()
