"""What integrated gradients reach for their evaluations: `python -m benchmarks.rules [--output FILE]`.

Rules with fixed points, `rtol`, and captum, on small networks with one output in double precision. Medians and the worst of 16
samples: the completeness error as a share of the change, and the largest error of an entry as a share of the largest entry, against
a rule with 4,000 points.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import captum
import torch
from torch import Tensor, nn

import attrib
from attrib.functional import Explanation, integrated_gradients
from benchmarks.setting import table

Net = tuple[nn.Module, Tensor, Tensor]


def nets() -> dict[str, Net]:
    """Networks with one output, 16 samples and a baseline: zeros, but where norms of zeros make the path steep."""

    def mlp(act: type[nn.Module]) -> nn.Module:
        return nn.Sequential(nn.Linear(20, 64), act(), nn.Linear(64, 64), act(), nn.Linear(64, 1))

    def cnn(act: type[nn.Module]) -> nn.Module:
        stem = nn.Conv2d(1, 8, 3, padding=1), act(), nn.Conv2d(8, 16, 3, stride=2, padding=1), act()
        return nn.Sequential(*stem, nn.Flatten(), nn.Linear(256, 1))

    def attention() -> nn.Module:
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, activation="gelu", batch_first=True)
        encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        return nn.Sequential(encoder, nn.Flatten(), nn.Linear(128, 1))

    made = {}
    for name, build, shape in (
        ("MLP GELU", partial(mlp, nn.GELU), (20,)), ("MLP tanh", partial(mlp, nn.Tanh), (20,)),
        ("CNN SiLU", partial(cnn, nn.SiLU), (1, 8, 8)), ("transformer GELU", attention, (8, 16)),
        ("MLP ReLU", partial(mlp, nn.ReLU), (20,)), ("CNN ReLU", partial(cnn, nn.ReLU), (1, 8, 8)),
    ):  # fmt: skip
        torch.manual_seed(0)
        net = build().double().eval().requires_grad_(False)
        made[name] = net, torch.randn(16, *shape, dtype=torch.float64), torch.zeros(1, *shape).double()
        if "transformer" in name:
            made[f"{name}, from another sample"] = net, made[name][1], torch.randn(1, *shape).double()
    return made


def by_captum(net: nn.Module, x: Tensor, x0: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Attribution and completeness error."""
    method = captum.attr.IntegratedGradients(net)
    return method.attribute(x, x0, target=0, n_steps=steps, return_convergence_delta=True)


def rows() -> list[list[str]]:
    """A row for each network and rule."""
    lines = []
    for name, (net, x, x0) in nets().items():
        exact = integrated_gradients(net, x, baselines=x0, n_steps=4000)
        change = (net(x) - net(x0))[:, 0].abs()
        explain = partial(integrated_gradients.explain, net, x, baselines=x0)
        rules: dict[str, Callable[[], Explanation]] = {
            "gausslegendre, 20": partial(explain, n_steps=20),
            "gausslegendre, 50": partial(explain),
            "riemann_middle, 50": partial(explain, quadrature="riemann_middle"),
            "riemann_trapezoid, 50": partial(explain, quadrature="riemann_trapezoid"),
            "`rtol=1e-2`": partial(explain, rtol=1e-2),
            "`rtol=1e-3, max_steps=65` (studies)": partial(explain, rtol=1e-3, max_steps=65),
            "`rtol=1e-3`": partial(explain, rtol=1e-3),
            "`rtol=1e-6`": partial(explain, rtol=1e-6),
        }
        for rule, run in rules.items():
            e = run()
            used = "" if e.n_steps is None else f"{e.n_steps.float().mean():.0f} ({int(e.n_steps.max())})"
            lines.append(
                [name, rule, used or rule.split()[-1], *_errors(e.attribution, e.delta, exact, change)]
            )
        for steps in (50, 200):
            attribution, delta = by_captum(net, x, x0, steps)
            lines.append([name, f"captum, {steps}", str(steps), *_errors(attribution, delta, exact, change)])
    return lines


def _errors(attribution: Tensor, delta: Tensor, exact: Tensor, change: Tensor) -> list[str]:
    entries = (attribution - exact).abs().flatten(1).amax(1) / exact.abs().flatten(1).amax(1)
    return [f"{float(v.median()):.0e} ({float(v.max()):.0e})" for v in (delta.abs() / change, entries)]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    command = " ".join(["python -m benchmarks.rules", *sys.argv[1:]])
    text = table(
        f"Integrated gradients by rules, {time.strftime('%Y-%m-%d')}",
        f"`{command}`; torch {torch.__version__}, captum {captum.__version__}, attrib {attrib.__version__}, float64, from a baseline of zeros. "
        "Evaluations: of a sample, the mean (the most). Errors: the median of 16 samples (the worst).",
        ["network", "rule", "evaluations", "completeness error / change", "error of an entry / largest entry"],
        rows(),
    )  # fmt: skip
    print(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
