"""What the methods do on a GPU: `python -m benchmarks.gpu --output FILE`; `bash benchmarks/gpu.sh` runs the tests before it.

Throughput of every method as a share of the model's own passes, waits of the CPU for the GPU, windows beside whole rows, bfloat16, compiled
models, CUDA graphs, and JAX through DLPack. Answers are checked before they are timed. What does not work is a line that says so.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import attrib
from attrib.functional import (
    METHODS,
    deep_lift,
    in_silico_mutagenesis,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from attrib.workflows.bench import bench
from benchmarks.edited import BPNet
from benchmarks.setting import Setting, alternate, difference, ratio, table

SECONDS = 240  # no section begins after this many: with the tests before it, the whole takes less than eight minutes
SIDE = 8  # of the squares of pixels that are edited together


def options_of(name: str, x: Tensor) -> dict[str, Any]:
    """Options of methods that would take a pass for each pixel."""
    if name == "occlusion":
        return {"window": (x.shape[1], SIDE, SIDE), "stride": (x.shape[1], SIDE, SIDE)}
    if name not in ("feature_ablation", "shapley_values"):
        return {}
    along = torch.arange(x.shape[2]) // SIDE
    return {"groups": (along[:, None] * x.shape[2] + along).expand(x.shape[1:])}


def image_net(setting: Setting) -> tuple[nn.Module, Tensor]:
    """A convolutional network with a residual block, and its images."""
    width, size, n = (8, 16, 2) if setting.quick else (64, 64, 64)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            return (x + self.two(self.one(x).relu())).relu()

    torch.manual_seed(0)
    stem = nn.Conv2d(3, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)
    net = nn.Sequential(*stem, Residual(), Residual(), *head).eval().to(setting.device, setting.dtype)
    return net, torch.randn(n, 3, size, size).to(setting.device, setting.dtype)


def throughput(setting: Setting) -> str:
    """Every method that `bench` can time."""
    net, x = image_net(setting)
    lines = []
    for name, method in METHODS.items():
        if method.about.result == "pairs" or method.about.wraps or name == "in_silico_mutagenesis":
            continue  # mutagenesis is of sequences, below
        if setting.quick and name not in ("saliency", "deep_lift", "occlusion"):
            continue
        sizes: tuple[int | str, ...] = ("auto", 2) if setting.quick else ("auto", 64)
        options = {name: options_of(name, x)}
        try:
            rows = bench(net, x, methods=[name], batch_sizes=sizes, options=options, repeats=setting.rounds)
        except Exception as error:
            lines.append([name, "-", "-", "-", _reason(error)])
            continue
        best = rows[(rows.method == name) & rows.best].iloc[0]
        lines.append(
            [name, f"{best.samples_per_second:.3g}", f"{best.share:.2f}", f"{best.peak_mib:.0f}", ""]
        )
    words = "As a share of the model's own forward and backward passes, which 1 would be; the best batch size of auto and 64."
    return table("Throughput", words, ["method", "samples/s", "share", "peak, MiB", "remark"], lines)


def waits(setting: Setting) -> str:
    """How often a call waits for the GPU, by torch's own count."""
    if setting.device.type != "cuda":
        return "## Waits\n\nSkipped: they are counted on a GPU.\n"
    net, x = image_net(setting)
    pool = x[:4]
    lines = []
    for name, method in (
        ("saliency", partial(saliency, net, target=3)),
        ("integrated_gradients", partial(integrated_gradients, net, target=3)),
        ("smooth_grad", partial(smooth_grad, net, target=3, n_samples=50, stdevs=0.1)),
        ("gradient_shap", partial(METHODS["gradient_shap"], net, target=3, n_samples=50, baselines=pool)),
        ("deep_lift", partial(deep_lift, net, target=3)),
    ):
        for where in ("cuda", "cpu"):
            few, many = (
                _synchronisations(partial(method, x.to(where), batch_size=size)) for size in (64, 16)
            )
            lines.append([name, where, few, many])
    words = (
        "Synchronisations that `torch.cuda.set_sync_debug_mode` sees in one call, by where the inputs are."
    )
    return table("Waits", words, ["method", "inputs on", "64 rows per call", "16 rows per call"], lines)


def _synchronisations(work: Callable[[], object]) -> int:
    work()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in caught)


def windows(setting: Setting) -> str:
    """Mutagenesis of a long sequence."""
    torch.manual_seed(0)
    length, width = (200, 100) if setting.quick else (2114, 1000)
    net = BPNet(8 if setting.quick else 64, 2 if setting.quick else 8, width).eval().to(setting.device)
    letters = torch.randint(4, (1, length))
    x = nn.functional.one_hot(letters, 4).mT.float().contiguous().to(setting.device)
    work = {p: partial(in_silico_mutagenesis, net, x, target=-1, path=p) for p in ("window", "dense")}
    error = difference(work["window"](), work["dense"]())
    times = alternate(work, setting)
    return table("Windows", "Mutagenesis of a BPNet.", ["whole rows / windows", "largest difference"],
                 [[f"{ratio(times, 'dense', 'window'):.2f}", f"{error:.0e}"]])  # fmt: skip


def precision(setting: Setting) -> str:
    """bfloat16 beside float32."""
    net, x = image_net(setting)
    half = image_net(Setting(setting.device, torch.bfloat16, quick=setting.quick))[0]
    single, short = (
        partial(integrated_gradients, m, v, target=3) for m, v in ((net, x), (half, x.bfloat16()))
    )
    error = difference(short().float(), single())
    times = alternate({"float32": single, "bfloat16": short}, setting)
    return table("bfloat16", "Integrated gradients, 50 steps.", ["float32 / bfloat16", "difference / largest"],
                 [[f"{ratio(times, 'float32', 'bfloat16'):.2f}", f"{error:.0e}"]])  # fmt: skip


def compiled(setting: Setting) -> str:
    """Models under torch.compile, CUDA graphs, and a compiled replay of DeepLIFT."""
    net, x = image_net(setting)
    plain = partial(integrated_gradients, net, x, target=3, batch_size=64)
    replay = partial(deep_lift, net, x, target=3, batch_size=64)
    graphs = torch.compile(net, mode="reduce-overhead")  # CUDA graphs
    lines = []
    for name, before, after in (
        (
            "torch.compile",
            plain,
            partial(integrated_gradients, torch.compile(net), x, target=3, batch_size=64),
        ),
        ("CUDA graphs", plain, partial(integrated_gradients, graphs, x, target=3, batch_size=64)),
        ("DeepLIFT, compile=True", replay, partial(deep_lift, net, x, target=3, batch_size=64, compile=True)),
    ):
        if setting.device.type != "cuda":
            lines.append([name, "-", "-", "skipped: for a GPU"])
            continue
        try:
            error = difference(after(), before())
            times = alternate({"before": before, "after": after}, setting)
            lines.append([name, f"{ratio(times, 'before', 'after'):.2f}", f"{error:.0e}", ""])
        except Exception as problem:
            lines.append([name, "-", "-", _reason(problem)])
    words = "Plain / compiled, after the compilation. DeepLIFT compiles in each call."
    return table("Compiled", words, ["what", "plain / compiled", "difference / largest", "remark"], lines)


def jax_models(setting: Setting) -> str:
    """A JAX model beside the same weights in torch."""
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return "## JAX\n\nSkipped: jax is not installed.\n"
    platforms = {d.platform for d in jax.devices()}
    if setting.device.type == "cuda" and "gpu" not in platforms:
        return "## JAX\n\nSkipped: this jax sees no GPU.\n"
    n, features = (4, 20) if setting.quick else (1024, 2000)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(features, 512), nn.Tanh(), nn.Linear(512, 10)).eval().to(setting.device)
    w, b, v, c = (jnp.asarray(p.detach().cpu().numpy()) for p in net.parameters())
    f = attrib.from_jax(lambda x: jnp.tanh(x @ w.T + b) @ v.T + c)
    x = torch.randn(n, features, device=setting.device)
    ours, torchs = (partial(integrated_gradients, m, x, target=3, batch_size=1024) for m in (f, net))
    error = difference(ours(), torchs())
    times = alternate({"jax": ours, "torch": torchs}, setting)
    return table("JAX", f"By DLPack, on {', '.join(sorted(platforms))}.", ["JAX / torch", "difference / largest"],
                 [[f"{ratio(times, 'jax', 'torch'):.2f}", f"{error:.0e}"]])  # fmt: skip


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}".replace("|", "/")


SECTIONS = (throughput, waits, windows, precision, compiled, jax_models)


def parts(setting: Setting) -> Iterator[str]:
    """The sections, as long as there is time."""
    begin = time.perf_counter()
    for section in SECTIONS:
        if time.perf_counter() - begin > SECONDS:
            yield f"## {section.__name__}\n\nSkipped: no time was left.\n"
            continue
        try:
            yield section(setting)
        except Exception as error:  # the other sections are worth having
            yield f"## {section.__name__}\n\nFailed: {_reason(error)}\n"


def _heading(device: torch.device) -> str:
    card: Any = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    command = " ".join(["python -m benchmarks.gpu", *sys.argv[1:]])
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}, attrib {attrib.__version__}"
    return f"# On a GPU, {time.strftime('%Y-%m-%d')}\n\n`{command}`; {card}, {versions}.\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Print each section as soon as it is done, and write them to a file if one is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small networks, one round: a smoke test")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: this torch sees no GPU")
    device = torch.device(options.device)
    setting = Setting(device, rounds=1 if options.quick else options.rounds, quick=options.quick)
    lines = [_heading(device)]
    print(lines[0], flush=True)
    for part in parts(setting):
        lines.append(part)
        print(part, flush=True)
        if options.output is not None:  # after each section: a run that is cut off leaves what it has
            options.output.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
