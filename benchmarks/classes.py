"""All classes at once, beside captum's loop over them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from attrib.functional import integrated_gradients, saliency
from benchmarks.bare import frozen
from benchmarks.peers import CAPTUM, captum_all_classes, captum_ig_all_classes
from benchmarks.setting import Setting, alternate, check, difference, ratio, table, tolerance, verdict

STEPS = 8


def run(setting: Setting) -> str:
    """The table, or a line that says why there is none."""
    if not CAPTUM:
        return "## All classes at once\n\nSkipped: captum is not installed.\n"
    lines, few = [], replace(setting, rounds=min(setting.rounds, 3))  # the loops over classes take long
    for case in setting.cases:
        model, xs = setting.ready(case)
        n = 4 if setting.quick else 16
        xs = case.inputs(n, setting.device, setting.dtype)
        x, net, chunk = (xs if len(xs) > 1 else xs[0]), frozen(model), setting.chunk(case)
        demand = 4.0 if len(case.shapes[0]) == 1 else 2.0
        pairs = {
            "saliency": (
                partial(saliency, model, x, absolute=False, targets="all"),
                partial(captum_all_classes, net, xs, case.classes),
            ),
            "integrated gradients": (
                partial(integrated_gradients, model, x, n_steps=STEPS, targets="all"),
                partial(captum_ig_all_classes, net, xs, case.classes, STEPS, chunk),
            ),
        }
        for name, (ours, theirs) in pairs.items():
            expected = theirs()
            expected = expected if len(xs) > 1 else expected[0]
            check(f"{name} of all classes on {case.name}", difference(ours(), expected), tolerance(setting))
            faster = ratio(alternate({"attrib": ours, "captum": theirs}, few), "captum", "attrib")
            lines.append(
                [
                    case.name,
                    case.classes,
                    name,
                    f"{faster:.1f}x",
                    f">= {demand:.0f}x: {verdict(faster, demand, at_least=True)}",
                ]
            )
    words = f"{4 if setting.quick else 16} samples, automatic batch size; integrated gradients with {STEPS} steps. captum explains one class per call."
    return table(
        "All classes at once", words, ["network", "classes", "method", "faster than captum", "demand"], lines
    )
