"""What a draw is worth: `python -m benchmarks.draws [--seeds 20] [--output FILE]`.

Root mean square error of GradientSHAP and SmoothGrad against a reference, as a share of that of independent draws of the same
number, which are made here by the plain formula. Standard errors: the one that the method returns, as a multiple of the spread
over seeds. Time: the method with its design, as a multiple of the same passes on points that are made beforehand.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import attrib
from attrib.functional import gradient_shap, smooth_grad
from benchmarks.setting import Setting, alternate, ratio, table, verdict

Model = Callable[[Tensor], Tensor]
DRAWS, NOISY = 50, 26


def nets() -> dict[str, tuple[Model, tuple[int, ...]]]:
    """Small networks with one output, and the shapes of their samples."""

    def mlp(act: type[nn.Module]) -> nn.Module:
        return nn.Sequential(nn.Linear(20, 64), act(), nn.Linear(64, 64), act(), nn.Linear(64, 1))

    def cnn(act: type[nn.Module]) -> nn.Module:
        stem = nn.Conv2d(1, 8, 3, padding=1), act(), nn.Conv2d(8, 16, 3, stride=2, padding=1), act()
        return nn.Sequential(*stem, nn.Flatten(), nn.Linear(256, 1))

    made: dict[str, tuple[Model, tuple[int, ...]]] = {}
    for name, build, act, shape in (
        ("MLP ReLU", mlp, nn.ReLU, (20,)), ("MLP GELU", mlp, nn.GELU, (20,)),
        ("CNN ReLU", cnn, nn.ReLU, (1, 8, 8)), ("CNN SiLU", cnn, nn.SiLU, (1, 8, 8)),
    ):  # fmt: skip
        torch.manual_seed(0)
        net = build(act).double().eval().requires_grad_(False)
        made[name] = (lambda x, net=net: net(x)[:, 0]), shape
    return made


def gradients(f: Model, points: Tensor) -> Tensor:
    """Of single rows, by the bare passes."""
    leaf = points.detach().requires_grad_()
    return torch.autograd.grad(f(leaf).sum(), leaf)[0]


def products(f: Model, x: Tensor, b: Tensor, u: Tensor) -> Tensor:
    """Gradients between baselines `b` and the input at places `u`, times the differences."""
    difference = x - b
    return gradients(f, b + u.view(-1, *[1] * (x.ndim - 1)) * difference) * difference


def error(runs: Sequence[Tensor], reference: Tensor) -> float:
    """Root mean square over runs and entries."""
    return float(torch.stack([(r - reference).square().mean() for r in runs]).mean().sqrt())


def on_the_path(seeds: int, setting: Setting) -> list[list[str]]:
    """Rows for GradientSHAP."""
    rows = []
    for name, (f, shape) in nets().items():
        for count, demand in ((1, 0.2), (10, 0.45), (25, None)):
            g = torch.Generator().manual_seed(1)
            x, pool = (torch.randn(n, *shape, generator=g, dtype=torch.float64) for n in (1, count))
            middle = (torch.arange(512, dtype=torch.float64) + 0.5) / 512
            each = [products(f, x, b.expand(512, *shape), middle).mean(0) for b in pool]
            reference = torch.stack(each).mean(0)[None]
            plain, designed = [], []
            for s in range(seeds):
                g.manual_seed(s)
                which = torch.randint(count, (DRAWS,), generator=g)
                u = torch.rand(DRAWS, generator=g, dtype=torch.float64)
                plain.append(products(f, x, pool[which], u).mean(0)[None])
                designed.append(gradient_shap.explain(f, x, baselines=pool, n_samples=DRAWS, seed=s))
            share = error([d.attribution for d in designed], reference) / error(plain, reference)
            told = torch.stack([d.standard_error for d in designed]).square().mean().sqrt()
            spread = torch.stack([d.attribution for d in designed]).var(0).mean().sqrt()
            many = x.expand(32, *shape) + 0.1 * torch.randn(32, *shape, generator=g, dtype=torch.float64)
            points, away = (
                many.repeat_interleave(DRAWS, 0),
                torch.rand(32 * DRAWS, *shape, generator=g, dtype=torch.float64),
            )
            works = {
                "method": partial(
                    gradient_shap, f, many, baselines=pool, n_samples=DRAWS, batch_size=32 * DRAWS
                ),
                "bare": lambda f=f, p=points, d=away: (gradients(f, p) * d).view(32, DRAWS, -1).mean(1),  # type: ignore[misc]
            }
            cost = ratio(alternate(works, setting), "method", "bare")
            judged = "" if demand is None else f"<= {demand}: {verdict(share, demand)}"
            rows.append([name, count, f"{share:.2f}", judged, f"{float(told / spread):.2f}", f"{cost:.2f}"])
    return rows


def of_noise(seeds: int) -> list[list[str]]:
    """Rows for SmoothGrad."""
    rows = []
    for name, (f, shape) in nets().items():
        demand = 0.9 if "ReLU" in name else 0.4
        g = torch.Generator().manual_seed(1)
        x = torch.randn(1, *shape, generator=g, dtype=torch.float64)
        for stdev in (0.1, 0.3):
            half = stdev * torch.randn(50_000, *shape, generator=g, dtype=torch.float64)
            reference = ((gradients(f, x + half) + gradients(f, x - half)) / 2).mean(0)[None]
            plain, pairs = [], []
            for s in range(seeds):
                g.manual_seed(s)
                noise = stdev * torch.randn(NOISY, *shape, generator=g, dtype=torch.float64)
                plain.append(gradients(f, x + noise).mean(0)[None])
                pairs.append(smooth_grad(f, x, stdevs=stdev, n_samples=NOISY, seed=s))
            share = error(pairs, reference) / error(plain, reference)
            rows.append([name, str(stdev), f"{share:.2f}", f"<= {demand}: {verdict(share, demand)}"])
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run, print, and write to a file if there is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.draws", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    command = " ".join(["python -m benchmarks.draws", *sys.argv[1:]])
    text = table(
        f"GradientSHAP with {DRAWS} draws, {time.strftime('%Y-%m-%d')}",
        f"`{command}`; one thread, torch {torch.__version__}, attrib {attrib.__version__}, float64. Error: as a share of that of "
        "independent draws, against 512 points for each baseline. Standard error: as a multiple of the spread over seeds. Time: of "
        "32 samples, as a multiple of the bare passes, products and means.",
        ["net", "baselines", "error", "demand", "standard error", "time"],
        on_the_path(options.seeds, Setting(rounds=options.rounds)),
    ) + "\n" + table(
        f"SmoothGrad with {NOISY} draws",
        "Error: as a share of that of independent draws, against 50,000 pairs.",
        ["net", "standard deviation of the noise", "error", "demand"],
        of_noise(options.seeds),
    )  # fmt: skip
    print(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
