"""All classes at once, beside captum's loop over them, and beside the least work that they take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from attrib.functional import integrated_gradients, saliency
from benchmarks.bare import bare_classes, frozen
from benchmarks.models import Case
from benchmarks.peers import CAPTUM, captum_all_classes, captum_ig_all_classes
from benchmarks.setting import Setting, alternate, check, difference, ratio, table, tolerance, verdict

STEPS = 8
SALIENCY, IG = "saliency", "integrated gradients"


def run(setting: Setting) -> str:
    """The table, or a line that says why there is none."""
    if not CAPTUM:
        return "## All classes at once\n\nSkipped: captum is not installed.\n"
    few = replace(setting, rounds=min(setting.rounds, 3))  # the loops over classes take long
    counts = (2,) if setting.quick else (1, 4, 16)
    lines = []
    for case in setting.cases:
        lines += [_line(few, case, SALIENCY, n) for n in counts]
        lines.append(_line(few, case, IG, counts[-1]))
    words = (
        f"Automatic batch size; integrated gradients with {STEPS} steps. captum explains one class per call. `limit`: how much "
        "faster than captum one bare forward pass and a bare backward pass per class are, in turn or vmapped, whichever is "
        "faster; only a first layer out of the path can go beyond."
    )
    columns = ["network", "classes", "method", "samples", "faster than captum", "limit", "demand"]
    return table("All classes at once", words, columns, lines)


def _line(setting: Setting, case: Case, method: str, n: int) -> list[object]:
    model, _ = setting.ready(case)
    xs = case.inputs(n, setting.device, setting.dtype)
    ours, theirs = _sides(setting, case, method, xs, model)
    expected = theirs()
    expected = expected if len(xs) > 1 else expected[0]
    check(f"{method} of all classes on {case.name}", difference(ours(), expected), tolerance(setting))
    rows = n * (STEPS if method == IG else 1)
    bare = bare_classes(model, xs, rows, setting.chunk(case), case.classes)
    times = alternate({"attrib": ours, "captum": theirs} | bare, setting)
    faster = ratio(times, "captum", "attrib")
    limit = max(ratio(times, "captum", side) for side in bare)
    demand = 4.0 if len(case.shapes[0]) == 1 else 2.0
    wish = f">= {demand:.0f}x: {verdict(round(faster, 1), demand, at_least=True)}"
    return [case.name, case.classes, method, n, f"{faster:.1f}x", f"{limit:.1f}x", wish]


def _sides(setting: Setting, case: Case, method: str, xs: tuple, model: object) -> tuple[Callable, Callable]:
    """attrib and captum."""
    x, net = (xs if len(xs) > 1 else xs[0]), frozen(model)
    if method == SALIENCY:
        ours = partial(saliency, model, x, absolute=False, targets="all")
        return ours, partial(captum_all_classes, net, xs, case.classes)
    ours = partial(integrated_gradients, model, x, n_steps=STEPS, targets="all")
    return ours, partial(captum_ig_all_classes, net, xs, case.classes, STEPS, setting.chunk(case))
