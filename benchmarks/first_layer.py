"""Integrated gradients with the affine first layer taken out of the path, beside the same without."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from attrib.functional import integrated_gradients
from benchmarks.bare import frozen
from benchmarks.peers import CAPTUM, captum_ig
from benchmarks.setting import TARGET, Setting, alternate, check, difference, ratio, table, tolerance, verdict

DEMANDS = {"MLP 2,000 genes": 2.5, "MLP 20,000 genes": 7.0}


class Twice(nn.Module):
    """The same network, but its input has a second, idle use, so that no layer can be taken out of the way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + 0.0)


def run(setting: Setting) -> str:
    """The table of speed-ups."""
    lines = []
    for case in (c for c in setting.cases if len(c.shapes) == 1):
        model, xs = setting.ready(case)
        ours = partial(integrated_gradients, model, xs[0], n_steps=setting.steps, target=TARGET)
        plain = partial(
            integrated_gradients, Twice(model).eval(), xs[0], n_steps=setting.steps, target=TARGET
        )
        check(
            f"integrated gradients with the layer apart on {case.name}",
            difference(ours(), plain()),
            tolerance(setting),
        )
        works = {"apart": ours, "plain": plain}
        if CAPTUM:
            works["captum"] = partial(
                captum_ig, frozen(model), xs, TARGET, setting.steps, setting.chunk(case)
            )
        times = alternate(works, setting)
        gain, demand = ratio(times, "plain", "apart"), DEMANDS.get(case.name)
        peer = f"{ratio(times, 'captum', 'apart'):.1f}x" if CAPTUM else "-"
        wish = "-" if demand is None else f">= {demand}x: {verdict(gain, demand, at_least=True)}"
        lines.append([case.name, f"{gain:.2f}x", wish, peer])
    words = f"{setting.steps} steps, automatic batch size; without: the same network with an idle operation on its input."
    return table(
        "First layer out of the path",
        words,
        ["network", "faster than without", "demand", "faster than captum"],
        lines,
    )
