"""The register of bad inputs: what means nothing is refused, by the right type, with the argument's name, in Python and on the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import attrib
from attrib.cli.run import REFUSED, run
from attrib.functional import METHODS
from attrib.workflows.bench import bench
from tests.bad_inputs import VALUES, Row, arguments, named, rows

ROWS = rows()
torch.manual_seed(0)
LETTERS = torch.eye(4)[torch.randint(0, 4, (2, 10))].permute(0, 2, 1).contiguous()
NET = nn.Sequential(nn.Conv1d(4, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(30, 3)).eval()
IMAGES = torch.rand(2, 3, 8, 8)
IMAGE_NET = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)).eval()


def pair(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.stack([a.sum(1) * b.sum(1), a.sum(1)], 1)


def call_of(row: Row) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call of the method that is sound but for the row's value."""
    about = METHODS[row.method].about
    inputs: tuple[Any, ...] = (IMAGE_NET, IMAGES) if about.layer else (NET, LETTERS)
    inputs = (pair, (torch.rand(2, 3), torch.rand(2, 2))) if row.method == "interaction" else inputs
    options: dict[str, Any] = {"target": 0}
    if row.argument in ("target", "targets") or "target" not in arguments(row.method):
        options.pop("target")
    if about.baselines == "distribution":
        options["baselines"] = torch.zeros(3, *inputs[-1].shape[1:])
    if row.method == "occlusion":
        options["window"] = 3
    if row.argument in ("output", "call"):
        options["layer"] = "0"
    return ((METHODS["saliency"],) if about.wraps else ()) + inputs, options | {row.argument: row.value}


def test_the_register_is_long_and_meets_every_method() -> None:
    assert len(ROWS) > 1000
    assert {r.method for r in ROWS} == set(METHODS)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_bad_values_are_refused_by_name(row: Row) -> None:
    args, options = call_of(row)
    with pytest.raises((ValueError, TypeError, NotImplementedError)) as raised:
        METHODS[row.method](*args, **options)
    assert named(raised.value, row.argument), str(raised.value)


LABELLED = [r for r in ROWS if r.method in ("integrated_gradients", "smooth_grad") and r.argument != "groups"]


@pytest.mark.parametrize("row", LABELLED, ids=str)
def test_labelled_methods_refuse_them_too(row: Row) -> None:
    _, options = call_of(row)
    x = xr.DataArray(LETTERS.numpy(), dims=("sample", "nucleotide", "position"))
    with pytest.raises((ValueError, TypeError, NotImplementedError)) as raised:
        getattr(attrib, row.method)(NET, x, **options)
    assert named(raised.value, row.argument) or "expected" in str(raised.value), str(raised.value)


DIMS = ("delta", "prediction", "target", "baseline")


@pytest.mark.parametrize("name", DIMS)
def test_names_of_results_are_no_dims(name: str) -> None:
    x = xr.DataArray(np.ones((2, 3), "float32"), dims=("sample", name))
    with pytest.raises(ValueError, match=name):
        attrib.integrated_gradients(lambda z: z.sum(1), x)


def test_a_coord_that_the_dim_of_targets_would_replace_is_refused() -> None:
    x = xr.DataArray(
        np.ones((2, 3), "float32"), dims=("sample", "gene"), coords={"target": ("sample", [7, 8])}
    )
    with pytest.raises(ValueError, match=r"`x` has a coord called 'target'.*drop_vars\('target'\)"):
        attrib.saliency(nn.Linear(3, 2), x, targets=[0, 1])
    assert attrib.saliency(nn.Linear(3, 2), x, target=0).target.values.tolist() == [7, 8]


@pytest.mark.filterwarnings("ignore:Duplicate dimension")
def test_dims_that_are_there_twice() -> None:
    x = xr.DataArray(np.ones((2, 2), "float32"), dims=("sample", "sample"))
    with pytest.raises(ValueError, match=r"`x` has the dims \('sample', 'sample'\)"):
        attrib.saliency(nn.Linear(2, 2), x, target=0)


def test_one_number_for_each_sample_takes_noise() -> None:
    """x^2 at 3 and 1: a sample of one number is a sample."""
    x = torch.tensor([3.0, 1.0])
    f = lambda z: z**2
    smooth = METHODS["smooth_grad"](f, x, stdevs=0.1, n_samples=400)
    assert torch.allclose(
        smooth, 2 * x, atol=1e-4
    )  # noise comes in pairs of opposite sign, so its mean is exact
    tunnel = METHODS["noise_tunnel"](METHODS["saliency"], f, x, stdevs=0.1, n_samples=400)
    assert torch.allclose(tunnel, 2 * x, atol=1e-4)
    shap = METHODS["gradient_shap"](f, x, baselines=torch.zeros(2), stdevs=0.1, n_samples=400)
    assert torch.allclose(shap, x**2, atol=0.1)


def test_numbers_of_passes_that_cannot_fit_are_refused_before_memory_is_touched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="`batch_sizes`: the inputs of 1000000000000 rows would take"):
        bench(nn.Linear(3, 2).eval(), torch.ones(2, 3), methods=["saliency"], batch_sizes=[10**12], target=0)
    monkeypatch.setattr("attrib.engine.sampling.perturbations.MOST", 10**13)
    with pytest.raises(
        ValueError, match="`n_samples`: 1,000,000,000,000 draws of baselines for a sample would take"
    ):
        attrib.functional.gradient_shap(NET, LETTERS, baselines=LETTERS, target=0, n_samples=10**12)


@pytest.mark.parametrize(
    ("name", "argument"),
    [("smooth_grad", "n_samples"), ("gradient_shap", "n_samples"), ("shapley_values", "n_permutations"), ("infidelity", "n_perturb_samples"), ("deletion", "n_random")],
)  # fmt: skip
def test_numbers_of_passes_that_would_never_end_are_refused(name: str, argument: str) -> None:
    beside = {
        "gradient_shap": {"baselines": LETTERS},
        "infidelity": {"attribution": LETTERS},
        "deletion": {"attribution": LETTERS},
    }
    with pytest.raises(ValueError, match=f"`{argument}` is 1,000,000,000,000, expected at most 100,000,000"):
        getattr(attrib.functional, name)(NET, LETTERS, target=0, **beside.get(name, {}), **{argument: 10**12})


@pytest.mark.parametrize("seed", [1.5, "x", None, True, 2**64])
def test_seeds_of_draws_beside_the_methods(seed: Any) -> None:
    from attrib.domains.draws import drawn_evenly
    from attrib.domains.sequences import one_hot, random_sequences, shuffle
    from attrib.stats import contrast

    x = one_hot(["ACGTACGT", "GGTTACCA"])
    a = xr.DataArray(np.random.default_rng(0).normal(size=(8, 3)), dims=("sample", "gene"), coords={"group": ("sample", [0, 0, 0, 0, 1, 1, 1, 1])})  # fmt: skip
    for draw in (
        lambda: drawn_evenly([1, 1, 1], 2, seed),
        lambda: shuffle(x, n=2, seed=seed),
        lambda: random_sequences(2, 8, seed=seed),
        lambda: contrast(a, "group", seed=seed),
    ):
        with pytest.raises((TypeError, ValueError), match="`seed` is"):
            draw()


# ------------------------------------------------------------------ the command line

CODE = """
import torch
def genes():
    return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).eval()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "register.py").write_text(CODE)
    np.save(folder / "x.npy", np.ones((2, 6), "float32"))
    (folder / "pairs.csv").write_text(
        "mirna,target,label\n" + "TGAGGTAGTAGGTTGTATAG,ATGTCAACCTACCTACTTCTAAG,1\n" * 3
    )
    (folder / "a.fa").write_text(">a\nACGTACGTAC\n")
    return folder


TEXTS = {  # values of `--set` as a person types them
    a: [json.dumps(v) if not isinstance(v, str) else v for v in values if v is None or isinstance(v, bool | int | float | str)]
    for a, values in VALUES.items()
}  # fmt: skip
SETTINGS = [(m, a, t) for m, a in (
    ("integrated_gradients", "n_steps"), ("integrated_gradients", "multiply_by_inputs"), ("integrated_gradients", "quadrature"),
    ("integrated_gradients", "rtol"), ("smooth_grad", "n_samples"), ("smooth_grad", "stdevs"), ("smooth_grad", "stdev_spread"),
    ("smooth_grad", "reduce"), ("saliency", "absolute"), ("deep_lift", "check"),
) for t in TEXTS[a] if t not in ("null", "3", "0.1")]  # fmt: skip


@pytest.mark.parametrize(("method", "argument", "text"), SETTINGS)
def test_settings_of_the_command_line(
    method: str, argument: str, text: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    words = f"explain --model register:genes --data x.npy --target 0 --methods {method} --output {tmp_path / 'out'}".split()
    assert run([*words, "--set", f"{argument}={text}"]) == REFUSED
    message = capsys.readouterr().err
    assert argument in message
    assert message.count("\n") == 1


EXPLAIN = "explain --model register:genes --data x.npy --target 0 --output OUT"
FLAGS: list[tuple[str, str, tuple[str, ...]]] = [
    (EXPLAIN, "--batch-size", ("0", "-1", "2.5", "many", "")), (EXPLAIN, "--device", ("abacus", "cuda:99", "mps:7", "meta")),
    (EXPLAIN, "--target", ("7", "-9", "eta", "0.5", "0,0")), (EXPLAIN + " --methods smooth_grad", "--seed", ("1.5", "x", "99999999999999999999999")), (EXPLAIN, "--dims", ("a", "a,a", "a,b,c")),
    (EXPLAIN, "--methods", ("saliance", "saliency,saliance")), (EXPLAIN, "--classes", ("a", "a,b", "a,a,b")), (EXPLAIN, "--baselines", ("zero", "nothing.npy")),
    ("bench --model register:genes --data x.npy --target 0", "--batch-sizes", ("0", "-4", "x", "1000000000000")),
    ("bench --model register:genes --data x.npy --target 0", "--repeats", ("0", "-1", "1.5")),
    ("judge --model register:genes --data x.npy --target 0 --output OUT", "--steps", ("0", "-1", "2000000000")), ("judge --model register:genes --data x.npy --target 0 --output OUT", "--n-random", ("-1",)),
    ("fcgr train --data pairs.csv --output OUT", "--patience", ("-1", "0", "x")),
    ("fcgr train --data pairs.csv --output OUT", "--learning-rate", ("0", "-1", "nan", "inf", "x")),
    ("fcgr train --data pairs.csv --output OUT", "--epochs", ("0", "-3")), ("fcgr train --data pairs.csv --output OUT", "--batch-size", ("0", "x")),
    ("fcgr train --data pairs.csv --output OUT", "--dropout", ("1", "-0.1", "nan")),
    ("fcgr train --data pairs.csv --output OUT", "--test", ("0", "1", "-1", "nan")),
    ("fcgr train --data pairs.csv --output OUT", "--validation", ("0", "1", "2")),
    ("sequence --model register:genes --data a.fa --output OUT", "--pictures", ("-1", "x")),
    ("sequence --model register:genes --data a.fa --output OUT", "--max-samples", ("0", "-1")),
    ("sequence --model register:genes --data a.fa --output OUT", "--set windows", ("0", "-1", "x")),
    ("sequence --model register:genes --data a.fa --output OUT", "--baselines", ("ones", "")),
    ("sequence --model register:genes --data a.fa --output OUT", "--device", ("abacus",)),
    ("sequence --model register:genes --data a.fa --output OUT", "--set width", ("10", "0", "x")),
    ("sequence --model register:genes --data a.fa --output OUT", "--set evolve", ("-1", "1.5", "x")),
    ("sequence --model register:genes --data a.fa --set summits=true --output OUT", "--set width", ("10",)),
    ("sequence --model register:genes --data a.fa --output OUT", "--set dims", ("sample", "a,b,c")),
    ("sequence --model register:genes --data a.fa --output OUT", "--set one_strand", ("1", "yes")),
    ("fcgr --data pairs.csv --checkpoint m.safetensors --output OUT", "--set n_background", ("0.5", "x")),
]  # fmt: skip


@pytest.mark.parametrize(("command", "flag", "value"), [(c, f, v) for c, f, values in FLAGS for v in values])
def test_flags_of_the_command_line(
    command: str, flag: str, value: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    words = command.replace("OUT", str(tmp_path / "out")).split()
    if flag in words:
        del words[words.index(flag) : words.index(flag) + 2]
    assert run([*words, f"{flag.replace(' ', '=')}={value}"]) == REFUSED
    message = capsys.readouterr().err
    assert flag in message, message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()
