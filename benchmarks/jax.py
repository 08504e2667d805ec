"""A JAX model through the bridge, beside pure JAX and beside the same model in torch: ``python -m benchmarks.jax``.

All three take the gradient of one output for the same rows. Pure JAX is one compiled program of forward and backward pass,
which no bridge can beat; the answers are compared before anything is timed. One thread on a CPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import attrib
from attrib.functional import saliency
from benchmarks.setting import TARGET, Setting, alternate, check, difference, ratio, table, verdict

LARGE = 0.010  # seconds a call, from which on the bridge shall cost little
DEMAND = 1.3
Weights = list[Any]


class Net(NamedTuple):
    """A network in both libraries, and the rows that are explained at a time."""

    name: str
    in_jax: Callable[..., Any]
    in_torch: Callable[..., Tensor]
    weights: list[Tensor]
    rows: tuple[int, ...]


def dense_jax(ws: Weights, x: Any) -> Any:
    import jax

    for w in ws[:-1]:
        x = jax.nn.gelu(x @ w, approximate=False)
    return x @ ws[-1]


def dense_torch(ws: list[Tensor], x: Tensor) -> Tensor:
    for w in ws[:-1]:
        x = F.gelu(x @ w)
    return x @ ws[-1]


def conv_jax(ws: Weights, x: Any) -> Any:
    import jax

    for i, w in enumerate(ws[:-1]):
        x = jax.nn.relu(jax.lax.conv_general_dilated(x, w, (1, 1), "SAME"))
        if i % 2:
            x = jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    return x.mean((2, 3)) @ ws[-1]


def conv_torch(ws: list[Tensor], x: Tensor) -> Tensor:
    for i, w in enumerate(ws[:-1]):
        x = F.relu(F.conv2d(x, w, padding=w.shape[-1] // 2))
        x = F.max_pool2d(x, 2) if i % 2 else x
    return x.mean((2, 3)) @ ws[-1]


def nets(quick: bool) -> list[Net]:
    """From small to large."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        fan = shape[0] if len(shape) == 2 else shape[1] * 9
        return torch.randn(*shape, generator=generator) / fan**0.5

    def dense(name: str, *sizes: int, rows: int) -> Net:
        ws = [drawn(a, b) for a, b in pairwise(sizes)]
        return Net(name, dense_jax, dense_torch, ws, (rows, sizes[0]))

    def conv(name: str, *channels: int, rows: int) -> Net:
        ws = [drawn(b, a, 3, 3) for a, b in pairwise(channels)]
        return Net(name, conv_jax, conv_torch, [*ws, drawn(channels[-1], 10)], (rows, channels[0], 32, 32))

    small = [dense("MLP 64", 64, 64, 10, rows=64), conv("CNN 8", 3, 8, 8, rows=4)]
    return small if quick else [
        *small,
        dense("MLP 2,000 genes", 2000, 512, 256, 10, rows=256),
        conv("CNN 32", 3, 32, 32, rows=16),
        dense("MLP 4,000 genes", 4000, 2000, 2000, 10, rows=256),
        conv("CNN 64", 3, 32, 32, 64, 64, rows=32),
    ]  # fmt: skip


def works(net: Net) -> dict[str, Callable[[], Any]]:
    """The same gradient three times."""
    import jax

    x = torch.randn(*net.rows, generator=torch.Generator().manual_seed(1))
    ws, rows = [jax.numpy.array(w.numpy()) for w in net.weights], jax.numpy.array(x.numpy())

    @jax.jit
    def both_passes(ws: Weights, rows: Any) -> Any:
        y, pull = jax.vjp(lambda r: net.in_jax(ws, r), rows)
        return y, pull(jax.numpy.zeros_like(y).at[:, TARGET].set(1.0))[0]

    ours = partial(saliency, x=x, target=TARGET, absolute=False, batch_size=len(x))
    return {
        "pure": lambda: jax.block_until_ready(both_passes(ws, rows))[1],
        "wrapped": partial(ours, attrib.from_jax(net.in_jax, ws)),
        "torch": partial(ours, partial(net.in_torch, net.weights)),
    }


def line(setting: Setting, net: Net) -> list[str]:
    three = works(net)
    expected = torch.from_dlpack(three["pure"]())
    for name in ("wrapped", "torch"):
        check(f"{name} on {net.name}", difference(three[name](), expected), 1e-4)
    times = alternate(three, setting)
    pure, share = statistics.median(times["pure"]), ratio(times, "wrapped", "pure")
    wish = f"<= {DEMAND}: {verdict(share, DEMAND)}" if pure > LARGE else "-"
    with_torch = ratio(times, "wrapped", "torch")
    return [net.name, f"{net.rows[0]}", f"{1e3 * pure:.2f} ms", f"{share:.2f}", wish, f"{with_torch:.2f}"]


def report(setting: Setting) -> str:
    words = (
        "Gradient of one output for so many rows: `saliency` on `from_jax(fn, params)`, `jax.vjp` in one compiled program, and "
        "`saliency` on the same network in torch. Compilation is not timed."
    )
    columns = ["network", "rows", "pure JAX", "wrapped / pure", "demand", "wrapped / torch"]
    return table(
        "JAX models through the bridge", words, columns, [line(setting, n) for n in nets(setting.quick)]
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jax", description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, help="where the table goes; default: printed")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="two small networks, one round")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    os.sched_setaffinity(
        0, {min(os.sched_getaffinity(0))}
    )  # before JAX starts its threads: one core for all three
    setting = Setting(rounds=1 if arguments.quick else arguments.rounds, quick=arguments.quick)
    section = report(setting)
    packages = ", ".join(f"{p} {version(p)}" for p in ("attrib", "jax", "torch"))
    head = f"# JAX models\n\n{packages}, {platform.machine()}, one core, float32, {setting.rounds} alternating rounds, medians.\n\n"
    if arguments.output:
        arguments.output.write_text(head + section)
    else:
        print(head + section)


if __name__ == "__main__":
    main()
