"""A cohort of 4 GB in two workers of 700 MB: peak memory of each process, time, and the result against the eager call.

    python -m benchmarks.cohort [GIGABYTES] [FOLDER]
    python -m benchmarks.cohort lazy

writes the inputs to FOLDER (default: a temporary one, which needs room for inputs and attributions) and prints the table; or what lazy results cost, as
ratios to eager calls that are timed in turn.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr

import attrib
from benchmarks.setting import table, verdict

GENES, TISSUES, LIMIT = 20_000, 54, 700
BLOCKS = 8  # of a lazy result


def network() -> torch.nn.Module:
    """The factory that workers call."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(GENES, 64), torch.nn.ReLU(), torch.nn.Linear(64, TISSUES)
    ).eval()


def write_inputs(path: Path, samples: int) -> None:
    """Random expression, in chunks of 100 samples."""
    draw = np.random.default_rng(0)
    tissues = np.array([f"tissue {k:02}" for k in range(TISSUES)])
    coords = {
        "tissue": ("sample", tissues[draw.integers(0, TISSUES, samples)]),
        "gene": [f"GENE{g}" for g in range(GENES)],
    }
    xr.Dataset(coords=coords).to_zarr(path, zarr_format=2, consolidated=False)
    group = zarr.open_group(str(path), mode="r+")
    rna = group.create_array(
        "rna", shape=(samples, GENES), chunks=(100, GENES), dtype="float32", compressors=None, fill_value=None,
        attributes={"_ARRAY_DIMENSIONS": ["sample", "gene"]},
    )  # fmt: skip
    for start in range(0, samples, 1000):
        rna[start : start + 1000] = draw.standard_normal((min(1000, samples - start), GENES), dtype="float32")
    zarr.consolidate_metadata(str(path), zarr_format=2)


def peak() -> float:
    """The largest resident size of this process, in MB."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024 / 1e6


def run(gigabytes: float, folder: Path) -> str:
    """The table of peaks."""
    from distributed import Client, LocalCluster

    samples = int(gigabytes * 1e9 / (4 * GENES))
    data = folder / "cohort.zarr"
    write_inputs(data, samples)
    lines: list[list[Any]] = []
    for part in (0.1, 1.0):
        count = int(part * samples)
        some = data if part == 1 else folder / "part.zarr"
        if part < 1:
            xr.open_zarr(data, chunks=None).isel(sample=slice(count)).to_zarr(some, zarr_format=2)
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, memory_limit=f"{LIMIT}MB", dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            bare = max(client.run(peak).values())
            begun = time.perf_counter()
            tree = attrib.cohort(
                "input_x_gradient", "benchmarks.cohort:network", some, folder / f"out-{count}.zarr", target="predicted",
                reductions=("mean", "var"), by="tissue", cluster=client,
            )  # fmt: skip
            seconds = time.perf_counter() - begun
            peaks = client.run(peak)
        x = xr.open_zarr(some, chunks=None).rna[-50:].load()
        eager = attrib.input_x_gradient(network(), x, target="predicted")
        np.testing.assert_allclose(tree["attribution"][-50:].values, eager.values, rtol=1e-4, atol=1e-6)
        assert "failed" not in tree.attrs
        assert int(tree["reductions/mean"].sizes["tissue"]) == TISSUES
        worst = max(peaks.values())
        size = count * GENES * 4 / 1e9
        lines.append(
            [
                f"{size:.1f} GB",
                count,
                f"{bare:.0f}",
                f"{worst:.0f}",
                verdict(round(worst / LIMIT, 2), 1.0),
                f"{seconds:.0f} s",
            ]
        )
    words = (
        f"`input_x_gradient` of {GENES} genes by a network of {sum(p.numel() for p in network().parameters()) / 1e6:.1f} million weights, attributions "
        f"kept, mean and variance by {TISSUES} tissues. MB of the larger of two workers at its peak, which Dask kills at "
        f"{LIMIT} MB. Before the first block a worker has imported torch and this file."
    )
    heads = ["inputs", "samples", "worker before", "worker at its peak", f"of {LIMIT} MB", "time"]
    return table("Memory of workers", words, heads, lines)


def lazy(repeats: int = 9) -> str:
    """The table of lazy results: medians of ratios, each to what was timed beside it."""
    torch.set_num_threads(1)
    draw = np.random.default_rng(0)
    lines: list[list[Any]] = []
    for hidden, size in ((2, 200), (512, GENES)):
        torch.manual_seed(0)
        layers = torch.nn.Linear(size, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, TISSUES)
        f = torch.nn.Sequential(*layers).eval()
        dims = ("sample", "gene")
        every = xr.DataArray(draw.standard_normal((BLOCKS * 64, size), dtype="float32"), dims=dims)
        parts = [every[k : k + 64] for k in range(0, len(every), 64)]
        x, blocks, chunked = parts[0], parts[0].chunk(sample=64), every.chunk(sample=64)
        for method in (attrib.saliency, attrib.integrated_gradients, attrib.deep_lift):
            prepared = attrib.prepare(f)
            calls = {
                "one": lambda m=method, f=f, x=x: m(f, x[:1], target=0),
                "build": lambda m=method, f=f, b=blocks: m(f, b, target=0),
                "again": lambda m=method, p=prepared, b=blocks: m(p, b, target=0),
                "eager": lambda m=method, f=f, x=x: m(f, x, target=0),
                "all": lambda m=method, f=f, b=blocks: m(f, b, target=0).compute(scheduler="synchronous"),
                "all again": lambda m=method, p=prepared, b=blocks: m(p, b, target=0).compute(
                    scheduler="synchronous"
                ),
                "each eager": lambda m=method, f=f, xs=parts: [m(f, x, target=0) for x in xs],
                "each block": lambda m=method, f=f, b=chunked: m(f, b, target=0).compute(
                    scheduler="synchronous"
                ),
            }
            np.testing.assert_allclose(calls["all"]().values, calls["eager"]().values, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(
                calls["all again"]().values, calls["eager"]().values, rtol=1e-4, atol=1e-6
            )
            took: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(repeats):
                for name, call in calls.items():
                    begun = time.perf_counter()
                    call()
                    took[name].append(time.perf_counter() - begun)
            ms = {name: 1e3 * float(np.median(t)) for name, t in took.items()}
            of = lambda a, b, t=took: float(np.median(np.divide(t[a], t[b])))
            lines.append([
                f"{sum(4 * p.numel() for p in f.parameters()) / 1e6:.1f} MB", method.__name__, f"{ms['build']:.1f}", f"{of('build', 'one'):.2f}",
                f"{ms['again']:.1f}", f"{ms['eager']:.1f}", f"{of('all', 'eager'):.2f}", f"{of('all again', 'eager'):.2f}",
                f"{of('each block', 'each eager'):.2f}",
            ])  # fmt: skip
    words = (
        "A result of 64 samples in one block, by one thread: ms to build it, also in ratio to the eager call on one sample; ms with a prepared model "
        "that was asked before; and building and computing it, in ratio to the eager call. Last, building and computing a result of "
        f"{BLOCKS} such blocks, in ratio to as many eager calls."
    )
    heads = [
        "weights",
        "method",
        "build",
        "/ one sample",
        "prepared",
        "eager",
        "all / eager",
        "prepared / eager",
        f"{BLOCKS} blocks / {BLOCKS} eager calls",
    ]
    return table("Lazy results", words, heads, lines)


def main() -> None:
    """Print the machine and the table."""
    if sys.argv[1:] == ["lazy"]:
        print(lazy())
        return
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    with (
        tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        print(
            f"attrib {attrib.__version__}, torch {torch.__version__}, {os.cpu_count()}-core {platform.machine()} CPU, one thread a worker\n"
        )
        print(run(gigabytes, Path(folder)))


if __name__ == "__main__":
    main()
