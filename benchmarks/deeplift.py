"""Time of DeepLIFT: `python -m benchmarks.deeplift`.

Checks that every answer adds up to the model's change before anything is timed, and takes all sides in alternating
rounds of one run. The unit is one forward and input-gradient pass of the bare model on inputs and baselines together.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor, nn

import attrib
from attrib.engine.secant import expressed, secant
from attrib.engine.secant.replay import Compiled
from attrib.functional import deep_lift, deep_lift_shap
from benchmarks.bare import frozen
from benchmarks.images import LARGE, SMALL
from benchmarks.models import Case
from benchmarks.setting import TARGET, Setting, alternate, check, ratio, table, verdict

Works = dict[str, Callable[[], object]]
ROUNDING = 1e-4  # of the largest change; a peer that is further off is called wrong, not timed


def completeness(model: nn.Module, x: Tensor, x0: Tensor, attributions: Tensor) -> float:
    """How far attributions are from the change they should add up to, as a fraction of the largest change."""
    with torch.no_grad():
        change = (model(x) - model(x0))[:, TARGET].double()
    return float((attributions.detach().double().flatten(1).sum(1) - change).abs().max() / change.abs().max())


def bare(model: nn.Module, x: Tensor, x0: Tensor) -> object:
    """One forward and one backward pass of the doubled batch."""
    both = torch.cat([x, x0]).requires_grad_()
    return torch.autograd.grad(model(both)[:, TARGET].sum(), both)


def captum(model: nn.Module, x: Tensor, x0: Tensor) -> Tensor:
    from captum.attr import DeepLift

    return DeepLift(model).attribute(x, x0, target=TARGET)


def shap(model: nn.Module, x: Tensor, pool: Tensor) -> Tensor:
    from shap import DeepExplainer

    values = DeepExplainer(model, pool).shap_values(x, check_additivity=False)
    return torch.as_tensor(values)[..., TARGET]  # it explains all outputs


def attempted(work: Callable[[], Tensor], error: Callable[[Tensor], float]) -> str:
    """ "" if a peer is right, else what is wrong with it."""
    try:
        off = error(work())
    except ImportError:
        return "not installed"
    except Exception as problem:  # a peer may fail in any way
        return f"raises {type(problem).__name__}"
    return "" if off < ROUNDING else f"wrong by {100 * off:.2g}%"


def single(setting: Setting, cases: Sequence[Case], demand: float) -> list[list[str]]:
    """Rows of the table of one baseline per sample."""
    rows = []
    for case in cases:
        model, (x,) = setting.ready(case)
        x0, net = torch.zeros_like(x), frozen(model)
        ours = partial(deep_lift, model, x, target=TARGET, batch_size=len(x))
        check(f"deep_lift on {case.name}", completeness(net, x, x0, ours()), 2e-5)
        works: Works = {"bare": partial(bare, net, x, x0), "attrib": ours}
        theirs = partial(captum, model, x, x0)
        wrong = attempted(theirs, partial(completeness, net, x, x0))
        if not wrong:
            works["captum"] = theirs
        times = alternate(works, setting)
        cost = ratio(times, "attrib", "bare")
        peer = wrong or f"{ratio(times, 'captum', 'attrib'):.2f}x"
        rows.append([case.name, len(x), f"{cost:.2f}", f"<= {demand}: {verdict(cost, demand)}", peer])
    return rows


def parts(setting: Setting, cases: Sequence[Case]) -> list[list[str]]:
    """Rows of the table of where the time goes."""
    rows = []
    for case in cases:
        model, (x,) = setting.ready(case)
        x0, net = torch.zeros_like(x), frozen(model)
        graph = expressed(net, [x])

        def forward(net: nn.Module = net, x: Tensor = x) -> object:
            with torch.no_grad():
                return net(x)

        def back(graph: object = graph, x: Tensor = x, x0: Tensor = x0) -> object:
            replayed = secant(graph, [x0], [x])  # type: ignore[arg-type]
            cotangent = torch.zeros_like(replayed.y1)
            cotangent[:, TARGET] = 1
            return replayed.pull(cotangent[None])

        works: Works = {
            "bare": partial(bare, net, x, x0),
            "forward": forward,
            "record": partial(expressed, net, [x]),
            "replay": partial(secant, graph, [x0], [x]),
            "replay and pull": back,
            "all": partial(deep_lift, model, x, target=TARGET, batch_size=len(x)),
        }
        times = alternate(works, setting)
        shares = {name: ratio(times, name, "bare") for name in works}
        pull = shares["replay and pull"] - shares["replay"]
        remainder = shares["all"] - shares["record"] - shares["replay and pull"]
        columns = (shares["forward"], shares["record"], shares["replay"], pull, remainder, shares["all"])
        rows.append([case.name, len(x), len(graph.nodes), *(f"{v:.2f}" for v in columns)])
    return rows


def distribution(setting: Setting, cases: Sequence[Case]) -> list[list[str]]:
    """Rows of the table of many baselines."""
    rows = []
    for case in cases:
        model = case.model(setting.device, setting.dtype)
        (x,) = case.inputs(2 if setting.quick else 4, setting.device, setting.dtype)
        (pool,) = case.inputs(4 if setting.quick else 16, setting.device, setting.dtype, seed=2)
        net = frozen(model)
        ours = partial(deep_lift_shap, model, x, baselines=pool, targets="all", batch_size=64)

        def error(attributions: Tensor, net: nn.Module = net, x: Tensor = x, pool: Tensor = pool) -> float:
            with torch.no_grad():
                change = net(x)[:, TARGET] - net(pool)[:, TARGET].mean()
            off = attributions.to(change.dtype).flatten(1).sum(1) - change
            return float(off.abs().max() / change.abs().max())

        check(f"deep_lift_shap on {case.name}", error(ours()[TARGET]), 2e-5)
        works: Works = {"attrib": ours}
        theirs = partial(shap, model, x, pool)
        wrong = attempted(theirs, error)
        if "raises" not in wrong and "not installed" not in wrong:
            works["shap"] = theirs
        times = alternate(works, setting)
        faster = ratio(times, "shap", "attrib") if "shap" in times else float("nan")
        judged = f">= 5x: {verdict(faster, 5, at_least=True)}" if "shap" in times else "shap left out"
        rows.append([case.name, len(x), len(pool), f"{faster:.1f}x", judged, wrong or "right"])
    return rows


def compiled(setting: Setting, cases: Sequence[Case]) -> list[list[str]]:
    """Rows of the table of compiled replays."""
    rows = []
    for case in cases:
        model, (x,) = setting.ready(case)
        x0, net = torch.zeros_like(x), frozen(model)
        graph = expressed(net, [x])
        cotangents = torch.zeros(1, *graph.value.shape, dtype=x.dtype, device=x.device)
        cotangents[..., TARGET] = 1
        program, began = Compiled(graph), time.perf_counter()
        slopes = program([x0], [x], cotangents).pull(cotangents)[0][0]
        took = time.perf_counter() - began
        check(f"compiled replay of {case.name}", completeness(net, x, x0, slopes * x), 2e-5)
        works: Works = {
            "plain": lambda g=graph, a=x0, b=x, c=cotangents: secant(g, [a], [b]).pull(c),  # type: ignore[misc]
            "compiled": partial(program, [x0], [x], cotangents),
        }
        share = ratio(alternate(works, setting), "compiled", "plain")
        rows.append([case.name, len(x), f"{share:.2f}", f"{took:.0f}"])
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run, print, and write to a file if there is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deeplift", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test; its numbers mean nothing")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds (default 7)")
    parser.add_argument("--compile", action="store_true", help="compiled replays too: minutes of compiling")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # peers warn of their hooks
    rounds = 1 if options.quick else options.rounds
    setting = Setting(torch.device(options.device), torch.float32, rounds, quick=options.quick)
    done = [heading(options.threads)]
    print(done[0], flush=True)
    sections = [one_baseline, where_the_time_goes, many_baselines, *[compiled_replays] * options.compile]
    for section in sections:
        done.append(section(setting))
        print(done[-1], flush=True)
    if options.output is not None:
        options.output.write_text("\n".join(done), encoding="utf-8")


UNIT = (
    "Times as multiples of one forward and backward pass of the bare model on inputs and baselines together"
)


def one_baseline(setting: Setting) -> str:
    """Against the bare model and captum."""
    return table(
        "One baseline",
        f"{UNIT}; the check against the model is on. captum: its time as a multiple of ours where it is right.",
        ["network", "samples", "attrib", "demand", "captum"],
        single(setting, LARGE, 1.5) + single(setting, SMALL, 3.0),
    )


def where_the_time_goes(setting: Setting) -> str:
    """The parts of it."""
    return table(
        "Where the time goes",
        f"{UNIT}. Rest: the model at the baseline for the check, products, sums, and tests of the arguments.",
        ["network", "samples", "ops", "one forward", "record", "replay", "transpose", "rest", "all"],
        parts(setting, (*LARGE, *SMALL)),
    )


def many_baselines(setting: Setting) -> str:
    """Against shap."""
    return table(
        "Many baselines",
        "deep_lift_shap beside shap's DeepExplainer, both for all outputs; shap is timed whether it is right or not.",
        ["network", "samples", "baselines", "faster than shap", "demand", "shap's answer"],
        distribution(setting, (SMALL[0], *SMALL[2:])),
    )


def compiled_replays(setting: Setting) -> str:
    """What torch.compile gives."""
    return table(
        "Compiled replays",
        "Replay and transpose with `compile=True` as a share of the time without, and seconds for compiling once.",
        ["network", "samples", "share of the time", "compiling"],
        compiled(setting, (*LARGE[:2], SMALL[0], SMALL[-1])),
    )


def heading(threads: int) -> str:
    """What was run, and on what."""
    command = " ".join(["python -m benchmarks.deeplift", *sys.argv[1:]])
    packages = ", ".join(f"{p} {installed(p)}" for p in ("captum", "shap"))
    return (
        f"# DeepLIFT, {time.strftime('%Y-%m-%d')}\n\n`{command}`\n\n{os.cpu_count()}-core {platform.machine()} CPU, "
        f"{threads} thread(s); Python {platform.python_version()}, torch {torch.__version__}, "
        f"attrib {attrib.__version__}, {packages}.\n"
    )


def installed(package: str) -> str:
    """A version, or that there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
