"""Samples per second over batch sizes, the automatic one included, and the share of the model's own speed."""

from __future__ import annotations

from attrib.workflows.bench import bench
from benchmarks.setting import TARGET, Setting, table, verdict

METHODS = ("integrated_gradients", "smooth_grad")
DEMAND = 0.95


def run(setting: Setting) -> str:
    """The table: a column per batch size, as samples per second."""
    sizes = (4, 64) if setting.quick else setting.batch_sizes
    lines = []
    for case in setting.cases:
        model, xs = setting.ready(case)
        options = {
            "integrated_gradients": {"n_steps": setting.steps},
            "smooth_grad": {"n_samples": setting.steps},
        }
        timings = bench(
            model, xs, methods=METHODS, batch_sizes=["auto", *sizes], target=TARGET, options=options,
            repeats=max(1, setting.rounds // 2),
        )  # fmt: skip
        for method in ("forward+backward", *METHODS):
            part = timings[timings.method == method].set_index("batch_size")
            speeds = part.samples_per_second
            cells = [f"{speeds[b]:.0f}" if b in speeds.index else "" for b in sizes]
            if "auto" not in speeds.index:
                lines.append([case.name, method, *cells, "", "", ""])
                continue
            auto = speeds["auto"] / speeds.max()
            lines.append([
                case.name, method, *cells, f"{speeds['auto']:.0f}",
                f"{auto:.2f} ({verdict(round(auto, 2), DEMAND, at_least=True)})", f"{part.share['auto']:.2f}",
            ])  # fmt: skip
    words = (
        f"Samples per second ({setting.steps} steps or draws each; of the model's own passes: rows per second). `auto / "
        f"best` is to be at least {DEMAND}; `share` is the part of the model's own best speed that the method reaches "
        "at the automatic batch size, one-off passes and noise included."
    )
    columns = ["network", "method", *(f"{b} rows" for b in sizes), "auto", "auto / best", "share"]
    return table("Batch sizes", words, columns, lines)
