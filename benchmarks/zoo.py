"""Every model that the fields use, against autograd, brute force, hooks and finite differences: ``python -m benchmarks.zoo``.

Each family of timm, transformers, MONAI and others that are installed (``pip install attrib[zoo]``) is built small, with random
weights and with biases and statistics that are not trivial, in double precision. Nothing is downloaded. ``--only TEXT`` runs the
families whose names hold a text, ``--output FILE`` writes the table.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attrib.engine.sampling.quadrature import rule
from attrib.functional import deep_lift, feature_ablation, grad_cam, integrated_gradients, occlusion, saliency
from benchmarks.zoo_families import FAMILIES, Double, Family

EXACT = 1e-6  # of the largest value, in double precision
ROUNDED = 1e-5  # of packages with steps in single precision: softmaxes of transformers, batch norms of Keras
SINGLE = ("transformers", "crested")
STEPS = [
    10.0 ** (-k / 2) for k in range(5, 20)
]  # of differences: the last for many kinks, and for large slopes
DIRECTIONS = 3
TOLD = 1e-4  # scatter of differences from which on they tell nothing
CHECKS: dict[str, Callable[[Case], float | str]] = {}


class Case(NamedTuple):
    """A model that is run through the checks.

    Attributes
    ----------
    model : callable
        One float input to outputs (N, C).
    x, baseline : Tensor
        Samples, and one to compare them with.
    larger : callable, optional
        The same network for inputs of so many times the sides, where one network takes one size.
    """

    model: Any
    x: Tensor
    baseline: Tensor
    larger: Callable[[int], Case] | None = None


def check(compute: Callable[[Case], float | str]) -> Callable[[Case], float | str]:
    """Register a check: a case to its error, relative to the largest value, or a remark."""
    CHECKS[compute.__name__.replace("_", " ").strip()] = compute
    return compute


def lively(module: nn.Module) -> nn.Module:
    """Weights, biases and statistics that are not trivial: no zeros, no ones, no scale of a layer near nothing."""
    generator = torch.Generator().manual_seed(0)

    def uniform(t: Tensor, low: float, high: float) -> None:
        t.copy_(torch.rand(t.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for name, p in module.named_parameters():
            if not p.is_floating_point() or p.numel() == 0:
                continue
            constant = bool((p == p.flatten()[0]).all())
            if constant and p.flatten()[0] == 0:
                p.copy_(
                    torch.randn(p.shape, generator=generator) * (0.2 if p.ndim < 2 else p[0].numel() ** -0.5)
                )
            elif constant and (
                "weight" in name or "gamma" in name or p.ndim <= 1 or p.numel() == max(p.shape)
            ):
                uniform(p, 0.5, 1.5)
    return module.eval()


def case_of(family: Family, sides: int = 1) -> Case:
    torch.manual_seed(0)
    model, x = family.build() if sides == 1 else family.larger(sides)
    for part in modules_of(model):
        lively(part).double().requires_grad_(False)
    x = x.double()
    measured(model, x)
    return Case(
        model,
        x,
        0.3 * torch.randn(1, *x.shape[1:], dtype=x.dtype, generator=torch.Generator().manual_seed(7)),
        partial(case_of, family) if family.larger else None,
    )


def measured(model: Any, x: Tensor) -> None:
    """Batch norms get the statistics of some samples, moved a little, so that no signal dies on its way."""
    norms = [
        part
        for m in modules_of(model)
        for part in m.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
    norms = [part for part in norms if part.running_mean is not None]
    for part in norms:
        part.train()
        part.momentum = 1.0
    if norms:
        with torch.no_grad():
            model(torch.cat([x, x.flip(0) + torch.randn(x.shape, dtype=x.dtype)]))
    for part in norms:
        part.eval()
        deviation = part.running_var.sqrt()
        part.running_mean += 0.2 * deviation * torch.randn(deviation.shape, dtype=deviation.dtype)
        part.running_var *= torch.rand(deviation.shape, dtype=deviation.dtype) + 0.5


def modules_of(model: Any) -> list[nn.Module]:
    from attrib.engine.model.parameters import modules

    return modules(model)


def score(case: Case, x: Tensor) -> Tensor:
    """The output explained, (N,)."""
    y = case.model(x.clone())  # some write to their input, as CTRL does
    return y if y.ndim == 1 else y.flatten(1)[:, 0]


def target_of(case: Case) -> Any:
    with torch.no_grad():
        y = case.model(case.x.clone())
    return None if y.ndim == 1 else (0,) * (y.ndim - 1) if y.ndim > 2 else 0


def gradient(case: Case, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(score(case, leaf).sum(), leaf)[0]


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-300))


@check
def rows(case: Case) -> float:
    """Each row beside the others, and in pairs with another: what the model itself does."""
    with torch.no_grad():
        y = case.model(case.x.clone())
        return max(off(case.model(case.x[[i, i - 1]])[0], y[i]) for i in range(len(y)))


@check
def saliency_(case: Case) -> float:
    return off(saliency(case.model, case.x, target=target_of(case), absolute=False), gradient(case, case.x))


@check
def one_row(case: Case) -> float:
    """A sample alone against the sample beside others."""
    many = saliency(case.model, case.x, target=target_of(case), absolute=False)
    return off(saliency(case.model, case.x[:1], target=target_of(case), absolute=False), many[:1])


@check
def finite_differences(case: Case) -> float | str:
    """Derivatives along random directions from the scores alone: every direction and every sample must agree.

    Of all steps the one is taken around which three differences agree best among themselves; what the gradient says has no
    part in that choice. Their scatter is the error that a difference has. Casts to single precision inside of the model are
    casts to double here, as rounding is all that differences could show otherwise.
    """
    found = saliency(case.model, case.x, target=target_of(case), absolute=False)
    slopes, scatters, along = [], [], []
    for seed in range(3, 3 + DIRECTIONS):
        v = torch.randn(case.x.shape, dtype=case.x.dtype, generator=torch.Generator().manual_seed(seed))
        along.append((found * v).flatten(1).sum(1))
        with torch.no_grad(), _all_double(case):
            tried = torch.stack(
                [(score(case, case.x + h * v) - score(case, case.x - h * v)) / (2 * h) for h in STEPS]
            )
        three = tried.unfold(0, 3, 1)  # (steps - 2, N, 3)
        scatter, k = (three.amax(2) - three.amin(2)).min(0)
        slopes.append(three[..., 1].gather(0, k[None])[0])
        scatters.append(scatter)
    largest = torch.stack(along).abs().amax(0).clamp(min=1e-300)
    error, scatter = (
        (torch.stack(t).abs() / largest).max()
        for t in ([a - b for a, b in zip(slopes, along, strict=True)], scatters)
    )
    if scatter > TOLD:
        return f"not told: differences scatter by {scatter:.0e}"
    return f"{'ok' if error <= max(ROUNDED, 5 * float(scatter)) else 'WRONG'} {error:.0e}"


def _all_double(case: Case) -> AbstractContextManager:
    """The mode for casts, if the model runs in it."""
    try:
        with torch.no_grad(), Double():
            case.model(case.x.clone())
    except RuntimeError:
        return nullcontext()
    return Double()


@check
def integrated(case: Case) -> float:
    a = integrated_gradients(case.model, case.x, baselines=case.baseline, n_steps=4, target=target_of(case))
    nodes, weights = (t.to(case.x) for t in rule("gausslegendre", 4))
    path = [
        w * gradient(case, case.baseline + s * (case.x - case.baseline))
        for s, w in zip(nodes, weights, strict=True)
    ]
    return off(a, (case.x - case.baseline) * torch.stack(path).sum(0))


@check
def deeplift(case: Case) -> float:
    """How far attributions are from adding up to the change of the score."""
    e = deep_lift.explain(case.model, case.x, baselines=case.baseline, target=target_of(case))
    with torch.no_grad():
        change = score(case, case.x) - score(case, case.baseline)
    return float((e.attribution.flatten(1).sum(1) - change).abs().max() / change.abs().max())


@check
def occluded(case: Case) -> float:
    """One window in eight along the longest dim, covered by hand."""
    sizes = case.x.shape[1:]
    d = max(range(len(sizes)), key=lambda k: sizes[k])
    width = max(1, sizes[d] // 8)
    window = tuple(width if k == d else s for k, s in enumerate(sizes))
    stride = window
    a = occlusion(
        case.model, case.x, window=window, stride=stride, baselines=case.baseline, target=target_of(case)
    )
    largest, worst = float(a.abs().max()), 0.0
    for k in (0, 3):
        edited, place = case.x.clone(), slice(k * width, (k + 1) * width)
        edited.narrow(1 + d, k * width, width).copy_(
            case.baseline.narrow(1 + d, k * width, width).expand(
                len(edited), *[width if j == d else s for j, s in enumerate(sizes)]
            )
        )
        with torch.no_grad():
            expected = score(case, case.x) - score(case, edited)
        index = [slice(None)] + [0] * len(sizes)
        index[1 + d] = place.start
        worst = max(worst, float((a[tuple(index)] - expected).abs().max()))
    return worst / max(largest, 1e-300)


@check
def ablation(case: Case) -> float:
    """Two groups, odd and even features, replaced by hand."""
    groups = (torch.arange(case.x[0].numel()) % 2).view(case.x.shape[1:])
    a = feature_ablation(case.model, case.x, groups=groups, baselines=case.baseline, target=target_of(case))
    worst = 0.0
    for k in (0, 1):
        with torch.no_grad():
            expected = score(case, case.x) - score(case, torch.where(groups == k, case.baseline, case.x))
        worst = max(worst, float((a[:, groups == k][:, 0] - expected).abs().max()))
    return worst / max(float(a.abs().max()), 1e-300)


@check
def cam(case: Case) -> float | str:
    """Grad-CAM of `"auto"` from hooks, and whether gradients of the positions see the input where the map lies.

    Tables have no positions; that a network of them has no map is right.
    """
    try:
        e = grad_cam.explain(case.model, case.x, target=target_of(case), relu=False, upsample=False)
    except ValueError as error:
        if "torch sees no layers in a function of JAX" in str(error):
            return "no map, as torch sees no layers in JAX"
        if case.x.ndim == 2 and "no layer has positions that follow the input's" in str(error):
            return "no map, as a table has no positions"
        raise
    (name,), grid, call = e.layers, tuple(e.attribution.shape[1:]), (e.notes or {}).get("call", 0)
    module = next(
        dict(m.named_modules())[name] for m in modules_of(case.model) if name in dict(m.named_modules())
    )
    h, y, leaf = _seen(case, module, case.x, call)
    g = torch.autograd.grad(y.sum(), h, retain_graph=True)[0]
    forms = list(_forms(h, grid))
    errors = [off(_by_hand(form(h), form(g)), e.attribution) for form in forms]
    if not errors or min(errors) > EXACT:
        return f"wrong map at {name} {grid}: hooks differ by {min(errors, default=float('nan')):.1e}"
    form = forms[errors.index(min(errors))]
    agreement = _locality(form(h).square().sum(1), leaf, e.dims or ())
    remark = f"{name} {' x '.join(map(str, grid))}, sees its place {agreement:.2f}"
    if "not tested" in str((e.notes or {}).get("layer_choice")):
        best, words = _in_larger_inputs(case, name, call, h.shape, grid, e.dims or ())
        shown = "" if max(best, agreement) > 0.3 else "not shown: "
        return f"{shown}{remark} (and everything else: told by its types; {words})"
    return remark if agreement > 0.3 else f"wrong place: {remark}"


class _Enough(Exception):
    """The layer has been seen, and the rest of the model need not run."""


def _seen(
    case: Case, module: nn.Module, x: Tensor, call: int, whole: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """A call's output with samples first, the score if the whole model is to run, and the inputs that both depend on."""
    outputs: list[Tensor] = []

    def hook(part: nn.Module, args: object, output: Any) -> Any:
        if isinstance(output, tuple):  # as I-BERT's blocks give it, with its scale
            return hook(part, args, output[0]), *output[1:]
        kept = output if output.requires_grad else output.requires_grad_()
        second = len(kept) != len(x) and kept.ndim == 3
        outputs.append(kept.transpose(0, 1) if second else kept)
        if not whole and len(outputs) > call:
            raise _Enough
        return (outputs[-1].transpose(0, 1) if second else outputs[-1]).clone()

    handle = module.register_forward_hook(hook)
    leaf = y = x.clone().requires_grad_()
    with suppress(_Enough):
        y = score(case, leaf)
    handle.remove()
    return outputs[call], y, leaf


class _Cut(TorchFunctionMode):
    """Means over all positions are constants: what each position tells all others is not what the position sees."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if isinstance(out, Tensor) and (name in ("mean", "var", "std") or "avg_pool" in name):
            alone = out.ndim >= 3 and all(n == 1 for n in out.shape[2:])
            return out.detach() if alone and args[0].ndim == out.ndim else out
        return out


def _in_larger_inputs(
    case: Case, name: str, call: int, shape: torch.Size, grid: tuple[int, ...], dims: tuple[int, ...]
) -> tuple[float, str]:
    """Whether the layer sees its place where its positions do not all see the whole input: in inputs of larger sides."""
    best = -1.0
    for sides in (3, 6):
        size = [1, *(n * sides if k in dims else n for k, n in enumerate(case.x.shape[1:]))]
        x = torch.randn(size, dtype=case.x.dtype, generator=torch.Generator().manual_seed(5))
        larger = case
        try:
            if case.larger is not None:
                larger = case.larger(sides)
                x = larger.x[:1]
            module = next(
                dict(m.named_modules())[name]
                for m in modules_of(larger.model)
                if name in dict(m.named_modules())
            )
            with _Cut():
                h, _, leaf = _seen(larger, module, x, call, whole=False)
        except Exception as error:
            return best, f"of larger inputs {type(error).__name__}: {_first_line(error)[:80]}"
        positions = h.square().sum(1 if tuple(shape[2:]) == grid else -1)
        if positions.ndim != 1 + len(grid):  # tokens, in raster order
            wide = [n * sides for n in grid]
            positions = positions[:, -math.prod(wide) :].unflatten(1, wide)
        best = max(best, _locality(positions, leaf, dims, (2, 6)))
        if best > 0.8:
            break
    return best, f"in inputs of {sides} times the sides {best:.2f}"


def _forms(h: Tensor, grid: tuple[int, ...]) -> Iterator[Callable[[Tensor], Tensor]]:
    """All ways to read an output as (N, C, *grid), written apart from those of the library."""
    count = torch.Size(grid).numel()
    if tuple(h.shape[2:]) == grid:
        yield lambda t: t
    if tuple(h.shape[1:-1]) == grid:
        yield lambda t: t.movedim(-1, 1)
    if h.ndim == 3 and h.shape[1] >= count:
        yield lambda t: t[:, t.shape[1] - count :].mT.unflatten(2, grid)
        for order in list(permutations(range(len(grid))))[1:]:  # tokens in another order of the dims
            sizes, back = [grid[k] for k in order], [2 + order.index(k) for k in range(len(grid))]
            yield (
                lambda t, sizes=sizes, back=back: (
                    t[:, t.shape[1] - count :].mT.unflatten(2, sizes).permute(0, 1, *back)
                )
            )
    if len(grid) == 2 and tuple(h.shape[2:]) == grid[::-1]:
        yield lambda t: t.transpose(2, 3)


def _by_hand(a: Tensor, g: Tensor) -> Tensor:
    return (a * g.flatten(2).mean(2).view(*g.shape[:2], *[1] * (g.ndim - 2))).sum(1)


def _locality(
    positions: Tensor, leaf: Tensor, dims: tuple[int, ...], powers: tuple[int, ...] = (2,)
) -> float:
    """Correlation of a position's place with the centre of the input that its gradient weighs, the least of all dims.

    A high power looks at the largest gradients alone, and not at what reaches all positions through means of the whole image.
    The largest of all powers is taken.
    """
    grid = positions.shape[1:]
    picks = torch.randperm(torch.Size(grid).numel(), generator=torch.Generator().manual_seed(1))[:24]
    places, centres = [], []  # (picks, dims), (picks, powers, dims)
    for k in picks.tolist():
        g = torch.autograd.grad(positions.flatten(1)[0, k], leaf, retain_graph=True)[0][0].abs()
        g = g / g.max().clamp(min=1e-300)
        centres.append([[_centre(g**power, d) for d in dims] for power in powers])
        places.append([int(v) for v in torch.unravel_index(torch.tensor(k), grid)])
    place, centre = torch.tensor(places, dtype=torch.float64), torch.tensor(centres, dtype=torch.float64)
    follows = [
        [
            float(torch.corrcoef(torch.stack([place[:, j], c[:, j]]))[0, 1])
            for j, n in enumerate(grid)
            if n > 1
        ]
        for c in centre.unbind(1)
    ]
    return max(min(each, default=1.0) for each in follows)


def _centre(weights: Tensor, d: int) -> float:
    profile = weights.movedim(d, 0).reshape(weights.shape[d], -1).sum(1)
    return float((profile * torch.arange(len(profile))).sum() / profile.sum().clamp(min=1e-300))


class Line(NamedTuple):
    """A family's results: an error or a remark for each check, or the reason why it was not built."""

    package: str
    name: str
    results: dict[str, str]
    reason: str = ""


def asked(only: Sequence[str]) -> list[Family]:
    """The families whose package and name hold all words of one of the texts, in the order of the texts."""
    named = {
        (f.package, f.name): f
        for text in only
        for f in FAMILIES
        if all(w in f"{f.package} {f.name}" for w in text.split())
    }
    return list(named.values())


def run(family: Family, seconds: float = 60, checks: Sequence[str] = ()) -> Line:
    """Build a family and run the checks on it, each within the time limit."""
    warnings.simplefilter("ignore")
    try:
        case = _limited(lambda: case_of(family), seconds)
        with torch.no_grad():
            y = case.model(case.x.clone())
        if not bool(y.isfinite().all()):
            return Line(family.package, family.name, {}, "the model gives no finite numbers")
    except Exception as error:
        return Line(family.package, family.name, {}, f"{type(error).__name__}: {_first_line(error)}")
    results, exact = {}, ROUNDED if family.package in SINGLE else EXACT
    for name in checks or CHECKS:
        try:
            result = _limited(partial(CHECKS[name], case), seconds)
            results[name] = (
                result if isinstance(result, str) else f"{'ok' if result <= exact else 'WRONG'} {result:.0e}"
            )
        except Exception as error:
            results[name] = f"{type(error).__name__}: {_first_line(error)}"
    return Line(family.package, family.name, results)


def _limited(work: Callable[[], Any], seconds: float) -> Any:
    def stop(*args: object) -> None:
        raise TimeoutError(f"longer than {seconds:.0f} s")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor: other programs do not count
    try:
        return work()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0].replace("|", "/")[:300]


def versions() -> str:
    listed = []
    for package in (
        "attrib",
        "torch",
        "timm",
        "transformers",
        "monai",
        *sorted({f.package for f in FAMILIES} - {"timm", "transformers", "monai"}),
    ):
        try:
            listed.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            listed.append(f"{package} not installed")
    return ", ".join(listed)


def report(lines: Sequence[Line], waiting: Sequence[str] = ()) -> str:
    """The table, its sums, the families that were not built, and those for which there was no time."""
    built = [line for line in lines if line.results]
    fine = lambda text: (
        text.startswith(("ok", "no map"))
        or ("sees its place" in text and not text.startswith(("wrong", "not")))
    )
    columns = list(CHECKS)
    body = [
        f"| {line.package} | {line.name} | "
        + " | ".join(
            line.results.get(c, "")
            if c == "cam" or not fine(line.results.get(c, ""))
            else line.results[c][3:]
            for c in columns
        )
        + " |"
        for line in built
    ]
    sums = [
        f"| {c} | {sum(fine(line.results.get(c, '')) for line in built)} of {len(built)} |" for c in columns
    ]
    absent = [f"* {line.package} {line.name}: {line.reason}" for line in lines if not line.results]
    return "\n".join([
        "# Every model that the fields use", "", f"{versions()}; double precision, one thread, random weights.", "",
        "Errors are relative to the largest value.", "",
        "| check | passed |", "| --- | --- |", *sums, "",
        "| package | family | " + " | ".join(columns) + " |", "| --- " * (2 + len(columns)) + "|", *body, "",
        "## Not built", "", *(absent or ["none"]), "",
        *(["## Not run", "", ", ".join(waiting), ""] if waiting else []),
    ])  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        help="families whose package and name hold these words; several are run in this order",
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--checks", nargs="+", default=list(CHECKS), choices=CHECKS, help="only these")
    parser.add_argument(
        "--lines", type=Path, help="a file of finished lines (JSON), which a run continues and completes"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no family after that")
    parser.add_argument("--limit", type=float, default=60, help="processor seconds of a check")
    chosen = parser.parse_args(argv)
    started = time.monotonic()
    torch.set_num_threads(1)
    finished = {}
    if chosen.lines and chosen.lines.exists():
        finished = {
            (v["package"], v["name"]): Line(**v)
            for v in map(json.loads, chosen.lines.read_text().splitlines())
        }
    lines, waiting = [], []
    for family in asked(chosen.only or [""]):
        line = finished.get((family.package, family.name))
        missing = [c for c in chosen.checks if line is None or (line.results and c not in line.results)]
        if missing and time.monotonic() - started > chosen.seconds:
            waiting.append(f"{family.package} {family.name}")
        elif missing:
            new = run(family, chosen.limit, missing)
            line = new._replace(results={**(line.results if line else {}), **new.results})
            print(json.dumps(line._asdict()), flush=True)
            if chosen.lines:
                with chosen.lines.open("a") as file:
                    file.write(json.dumps(line._asdict()) + "\n")
        if line is not None:
            lines.append(line)
    text = report(lines, waiting)
    if chosen.output:
        chosen.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
