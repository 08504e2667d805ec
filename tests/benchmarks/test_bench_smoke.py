"""The benchmarks run, and `bench` measures what it says; how fast anything is, is not tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from attrib.workflows.bench import bench, best_batch_sizes, peak_memory
from benchmarks import gpu, versions, way
from benchmarks.bare import bare_passes
from benchmarks.gradients import main
from benchmarks.setting import check

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_quick_run_writes_every_table(tmp_path: Path) -> None:
    done = run("--quick", "--output", str(tmp_path / "found.md"))
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "found.md").read_text()
    for title in (
        "Peak memory",
        "Time",
        "All classes",
        "First layer",
        "Quadrature",
        "Batch sizes",
        "Overhead",
    ):
        assert f"## {title}" in found
    assert "nan" not in found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rounds", "0"], "take positive numbers"),
        (["--sections", "colours"], "invalid choice: 'colours'"),
        (["--dtype", "int8"], "invalid choice: 'int8'"),
    ],
)
def test_the_command_refuses(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_wrong_answers_are_not_timed() -> None:
    check("anything", 1e-9, 1e-8)
    with pytest.raises(SystemExit, match="wrong answer: anything differs by 1"):
        check("anything", 1.0, 1e-8)
    with pytest.raises(SystemExit, match="wrong answer"):
        check("anything", float("nan"), 1e-8)


def test_bare_passes_take_the_rows_asked_for() -> None:
    seen: list[int] = []

    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return x

    bare_passes(Counting(), (torch.ones(3, 2),), rows=10, chunk=4, target=1)()
    assert seen == [4, 4, 2]


def test_table_of_bench() -> None:
    done: list[tuple[int, int]] = []
    table = bench(
        small(), torch.randn(5, 6), methods=["saliency", "integrated_gradients", "smooth_grad"],
        batch_sizes=["auto", 2, 8, 64], options={"integrated_gradients": {"n_steps": 3}, "smooth_grad": {"n_samples": 4}}, repeats=1,
        progress=lambda k, n: done.append((k, n)),
    )  # fmt: skip
    assert list(table.method.unique()) == [
        "forward+backward", "saliency", "integrated_gradients", "smooth_grad",
    ]  # fmt: skip
    sizes = table.groupby("method").batch_size.apply(list)
    assert sizes["forward+backward"] == [2, 8, 64]
    assert sizes["saliency"] == ["auto", 2, 8]  # 8 hold all five rows already
    assert sizes["integrated_gradients"] == ["auto", 2, 8, 64]
    passes = table.groupby("method").passes.first()
    assert passes.to_dict() == {
        "forward+backward": 1, "saliency": 1, "integrated_gradients": 3, "smooth_grad": 4,
    }  # fmt: skip
    assert (table.seconds > 0).all()
    np.testing.assert_allclose(table.samples_per_second, table.samples / table.seconds)
    assert table[table.method == "forward+backward"].share.max() == pytest.approx(1)
    assert done[-1][0] == done[-1][1] == 2 * len(table)


def test_bench_gives_gradient_shap_baselines_and_knows_its_draws() -> None:
    table = bench(small(), torch.randn(2, 6), methods=["gradient_shap"], batch_sizes=[128], repeats=1)
    assert list(table.passes) == [1, 50]


def test_bench_times_maps_of_a_layer() -> None:
    torch.manual_seed(1)  # of which the ReLU is not dead: of a dead one another layer would have to be asked
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    options = {"layer_cam": {"layer": "1"}}
    table = bench(net, torch.rand(6, 1, 9, 9), methods=["grad_cam", "layer_cam"], batch_sizes=[2, 8], repeats=1, options=options)  # fmt: skip
    maps = table[table.method != "forward+backward"]
    assert list(maps.method) == ["grad_cam", "grad_cam", "layer_cam", "layer_cam"]
    assert list(maps.batch_size) == [2, 8, 2, 8]
    assert maps.passes.tolist() == pytest.approx([7 / 6] * 2 + [1] * 2)  # "auto" asks one sample first
    assert (maps.seconds > 0).all()
    with pytest.raises(ValueError, match="'stem' is not in the model"):
        bench(net, torch.rand(2, 1, 9, 9), methods=["grad_cam"], options={"grad_cam": {"layer": "stem"}})


def test_one_best_size_per_method() -> None:
    table = pd.DataFrame(
        {"method": ["a", "a", "b"], "batch_size": ["auto", 8, 2], "best": [False, True, True]}
    )
    assert best_batch_sizes(table) == {"a": 8, "b": 2}


def test_bench_leaves_the_model_alone() -> None:
    model = small()
    bench(model, np.ones((2, 6)), methods=["saliency"], batch_sizes=[2], repeats=1)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"methods": ["salience"]}, ValueError, "`methods` names 'salience', expected some of"),
        ({"methods": "saliency"}, TypeError, "`methods` is the string"),
        ({"methods": []}, ValueError, "`methods` is empty"),
        ({"batch_sizes": [0]}, ValueError, "`batch_sizes` holds 0"),
        ({"batch_sizes": ["largest"]}, TypeError, "`batch_sizes` holds 'largest'"),
        ({"batch_sizes": ["auto"]}, ValueError, "`batch_sizes` holds no int"),
        ({"repeats": 0}, ValueError, "`repeats` is 0"),
        ({"repeats": 1.5}, TypeError, "`repeats` is 1.5"),
        (
            {"options": {"saliency": {"n_steps": 3}}},
            ValueError,
            "`options` gives saliency an argument 'n_steps'",
        ),
        ({"options": {"nothing": {}}}, ValueError, "`options` names 'nothing'"),
        ({"target": 7}, ValueError, "out of range"),
    ],
)
def test_bench_refuses(wrong: dict[str, Any], error: type[Exception], words: str) -> None:
    arguments = {"methods": ["saliency"], "batch_sizes": [2], "repeats": 1} | wrong
    with pytest.raises(error, match=words):
        bench(small(), torch.randn(2, 6), **arguments)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's peak")
def test_peak_memory_sees_what_was_held_for_a_moment() -> None:
    def work() -> None:
        torch.ones(32 << 20)  # 128 MiB

    found = peak_memory(work, CPU)
    if not np.isnan(found):  # a container may forbid to set the peak back
        assert 120 < found / 2**20 < 160


def test_the_benchmark_of_jax_checks_its_answers() -> None:
    pytest.importorskip("jax")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.jax", "--quick"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "| MLP 64 |" in done.stdout


def test_the_way_to_the_model_is_measured_beside_captums(tmp_path: Path) -> None:
    pytest.importorskip("captum")
    way.main(["--quick", "--output", str(tmp_path / "way.md")])
    page = (tmp_path / "way.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| CNN")]
    assert len(rows) == 2 * 5  # methods, twice
    frames = {row[1]: [int(n) for n in row[2].split(" / ")] for row in rows[:5]}
    assert all(0 < ours < 20 and 0 < captums < 10 for ours, captums in frames.values())
    files = {row[1]: int(row[3].split(" / ")[0]) for row in rows[:5]}
    assert (frames["integrated gradients"][0], files["integrated gradients"]) <= (7, 12)


def test_two_checkouts_do_the_same_work(tmp_path: Path) -> None:
    words = [
        "--quick",
        "--before",
        str(ROOT),
        "--sections",
        "deeplift",
        "edits",
        "--output",
        str(tmp_path / "versions.md"),
    ]
    versions.main(words)
    rows = [
        line.split(" | ") for line in (tmp_path / "versions.md").read_text().splitlines() if ", " in line[:40]
    ]
    ratios = [float(row[2]) for row in rows if row[0].startswith(("| DeepLIFT", "| edits"))]
    assert len(ratios) == 2
    assert all(0.05 < ratio < 20 for ratio in ratios)  # the same checkout, on a busy machine


def test_the_figures_of_a_gpu_are_written_section_by_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU: the sections run, and one that fails is a line that says so."""

    def broken(setting: Any) -> str:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(gpu, "SECTIONS", (broken, gpu.precision, gpu.waits))
    gpu.main(["--device", "cpu", "--quick", "--output", str(tmp_path / "found.md")])
    found = (tmp_path / "found.md").read_text()
    assert "## broken\n\nFailed: RuntimeError: no kernel" in found
    assert "| float32 / bfloat16 | difference / largest |" in found
    assert "## Waits\n\nSkipped" in found


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_script_says_that_there_is_no_gpu(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh"), str(tmp_path / "found.md")],
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "this torch sees no GPU" in done.stderr
    assert not (tmp_path / "found.md").exists()
