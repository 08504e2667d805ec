"""How many evaluations smooth networks need for completeness to 1e-4, and how right the maps are then."""

from __future__ import annotations

import torch

from attrib.functional import integrated_gradients
from benchmarks.setting import TARGET, Setting, difference, table, verdict

RTOL, DEMAND, REFERENCE = 1e-4, 33, 2048


def run(setting: Setting) -> str:
    """The table of evaluations and errors; in float64 the reference is exact to rounding."""
    lines = []
    for case in setting.cases:
        n = 2
        model = case.model(setting.device, torch.float64)
        xs = case.inputs(n, setting.device, torch.float64)
        x = xs if len(xs) > 1 else xs[0]
        adaptive = integrated_gradients.explain(model, x, target=TARGET, rtol=RTOL)
        steps = 64 if setting.quick else REFERENCE
        reference = integrated_gradients(model, x, target=TARGET, n_steps=steps)
        fifty = integrated_gradients(model, x, target=TARGET, n_steps=50)
        change = integrated_gradients.explain(model, x, target=TARGET, n_steps=2)
        total = (
            sum(a.flatten(1).sum(1) for a in (change.attribution if len(xs) > 1 else (change.attribution,)))
            - change.delta
        )
        used = int(adaptive.n_steps.max())
        residual = float((adaptive.delta / total).abs().max())
        wish = f"<= {DEMAND}: {verdict(used, DEMAND)}" if case.smooth else "-"
        lines.append([
            case.name, "smooth" if case.smooth else "ReLU", used, wish, f"{residual:.1e}",
            f"{difference(adaptive.attribution, reference):.1e}", f"{difference(fifty, reference):.1e}",
        ])  # fmt: skip
    words = (
        f"`rtol={RTOL:g}`, two samples, float64. Attribution errors are the largest difference from {REFERENCE} Gauss-Legendre "
        "steps, as a fraction of the largest attribution: completeness alone does not make an attribution right."
    )
    columns = [
        "network",
        "kind",
        "evaluations",
        "demand",
        "|delta| / change",
        "attribution error",
        "attribution error of 50 fixed steps",
    ]
    return table("Quadrature", words, columns, lines)
