"""DeepLIFT through norms from a baseline of zeros: `python -m benchmarks.norms [--rounds 7] [--output FILE]`.

The averaged Jacobian beside the product rule, which is what the same graph gives when its norms are left in small ops.
Random weights; the input is what the embedding gives, in single precision. Both sides in turn, medians.
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

from attrib.engine.graph import Graph, record
from attrib.engine.secant import expressed, secant
from attrib.engine.secant.decompositions import decompose
from attrib.functional import deep_lift
from benchmarks.deeplift import installed
from benchmarks.setting import Setting, alternate, ratio, table

Model = Callable[[Tensor], Tensor]


class PreNorm(nn.Module):
    """x + tanh(W norm(x)), `depth` times, then a head."""

    def __init__(self, norm: Callable[[int], nn.Module], depth: int, width: int = 64) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norm(width) for _ in range(depth))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x)).tanh()
        return self.head(x.mean(1))[:, 0]


def transformer(name: str) -> tuple[Model, int]:
    """A small transformer of Hugging Face as a function of its embeddings, and their width."""
    import transformers as hf

    torch.manual_seed(0)
    small = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
    if name == "Llama":
        llama = hf.LlamaModel(hf.LlamaConfig(vocab_size=33, num_key_value_heads=4, **small))  # type: ignore[arg-type]
        net: nn.Module = llama.eval()
    elif name == "ESM":
        options = {
            "vocab_size": 33,
            "pad_token_id": 1,
            "mask_token_id": 32,
            "position_embedding_type": "rotary",
        }
        net = hf.EsmModel(hf.EsmConfig(**options, **small), add_pooling_layer=False).eval()  # type: ignore[arg-type]
    else:
        net = hf.XLNetModel(
            hf.XLNetConfig(vocab_size=33, d_model=64, n_layer=4, n_head=4, d_inner=128)
        ).eval()
    head = torch.randn(64)
    return lambda x: net(inputs_embeds=x).last_hidden_state.mean(1) @ head, 64


def largest(replay: Callable[[], tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """The completeness error and the largest entry, each as a multiple of the change: the worst of the samples."""
    products, change = replay()
    error = (products.double().flatten(1).sum(1) - change) / change
    entries = products.double().flatten(1).abs().amax(1) / change.abs()
    return float(error.abs().max()), float(entries.max())


def attributed(f: Model, graph: Graph, x: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    """Attributions by a graph, and the change in its own precision."""
    replay = secant(graph, [x0], [x])
    (m,) = replay.pull(torch.ones_like(replay.y1)[None])
    return m[0] * (x - x0), (replay.y1 - replay.y0).double()


def bare(f: Model, x: Tensor, x0: Tensor) -> object:
    """One forward and one backward pass of the doubled batch."""
    both = torch.cat([x, x0]).requires_grad_()
    return torch.autograd.grad(f(both).sum(), both)


def rows(setting: Setting) -> list[list[str]]:
    """A row for each network."""
    nets: list[tuple[str, Model, int]] = []
    for name, norm in (("RMSNorm", partial(nn.RMSNorm, eps=1e-6)), ("LayerNorm", nn.LayerNorm)):
        for depth in (4, 12):
            torch.manual_seed(0)
            nets.append((f"pre-norm, {depth} {name}", PreNorm(norm, depth).eval(), 64))
    for name in ("Llama", "ESM", "XLNet"):
        try:
            nets.append((f"{name}, 4 layers", *transformer(name)))
        except ImportError:
            continue
    results = []
    for name, f, width in nets:
        torch.manual_seed(1)
        x = 0.5 * torch.randn(4, 16, width)
        x0 = torch.zeros_like(x)
        with torch.no_grad():
            small, norms = record(f, [x], decompose), expressed(f, [x])
        product, averaged = partial(attributed, f, small, x, x0), partial(attributed, f, norms, x, x0)

        works = {
            "bare": partial(bare, f, x, x0),
            "product": product,
            "averaged": averaged,
            "all": partial(deep_lift, f, x),
        }
        failed = ""
        try:
            deep_lift(f, x)
        except ValueError as problem:
            works.pop("all")
            failed = str(problem)[:60]
        times = alternate(works, setting)
        cost = failed or f"{ratio(times, 'all', 'bare'):.2f}"
        old, new = largest(product), largest(averaged)
        results.append(
            [name, *(f"{v:.0e}" for v in (old[0], new[0], old[1], new[1])), f"{ratio(times, 'product', 'bare'):.2f}",
             f"{ratio(times, 'averaged', 'bare'):.2f}", cost]
        )  # fmt: skip
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Run, print, and write to a file if there is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.norms", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test; its numbers mean nothing")
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds (default 7)")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    setting = Setting(
        torch.device("cpu"), torch.float32, 1 if options.quick else options.rounds, quick=options.quick
    )
    command = " ".join(["python -m benchmarks.norms", *sys.argv[1:]])
    text = table(
        f"DeepLIFT through norms, {time.strftime('%Y-%m-%d')}",
        f"`{command}`; one thread, torch {torch.__version__}, transformers {installed('transformers')}. Four samples of 16 "
        "tokens, baseline of zeros, single precision. Error of the sum and largest entry as multiples of the change; times "
        "of replay and transpose, and of the whole call, as multiples of one forward and backward pass of the doubled batch.",
        ["network", "error: product rule", "averaged", "largest entry: product rule", "averaged", "time: product rule", "averaged", "whole call"],
        rows(setting),
    )  # fmt: skip
    print(text)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
