"""Every row of docs/coming-from.md: ours runs, and gives what the peer gives where it is installed."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attrib
from attrib import domains, functional
from attrib.domains import sequences  # noqa: F401 the rows name it

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text()
PEERS = {
    "captum": "captum.attr",
    "shap": "shap",
    "tangermeme": "tangermeme",
    "pytorch-grad-cam": "pytorch_grad_cam",
}
DRAWN = ("NoiseTunnel", "GradientShap")  # equal in the limit of many draws


def rows() -> list[tuple[str, str, str]]:
    """Library, its call, and ours, row by row."""
    table = []
    for section in PAGE.split("\n## ")[1:]:
        library = section.partition("\n")[0]
        for theirs, ours in re.findall(r"^\| `(.*?)` \| `(.*?)`.*\|$", section, flags=re.MULTILINE):
            table.append((library, theirs, ours))
    return table


def setting(library: str) -> dict[str, Any]:
    """The names that the rows use."""
    torch.manual_seed(0)
    if library == "tangermeme":
        codes = torch.randint(0, 4, (2, 20))
        X = torch.eye(4)[codes].transpose(1, 2).contiguous()
        f = torch.nn.Sequential(
            torch.nn.Conv1d(4, 6, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(96, 1)
        ).eval()
        pool = torch.eye(4)[torch.randint(0, 4, (2, 3, 20))].transpose(2, 3).contiguous()
        x = domains.sequences.one_hot(["".join("ACGT"[k] for k in row) for row in codes.tolist()])
        return {"X": X, "f": f, "pool": pool, "x": x}
    if library == "pytorch-grad-cam":
        f = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(64, 3)
        ).eval()  # fmt: skip
        return {"f": f, "x": torch.randn(1, 3, 16, 16), "layer": f[1]}
    f = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2)).eval()
    x, x0, pool = torch.randn(3, 4), torch.zeros(1, 4), torch.randn(5, 4)
    return {"f": f, "x": x, "x0": x0, "pool": pool}


def numbers(value: Any) -> np.ndarray:
    value = value.detach() if isinstance(value, torch.Tensor) else value
    return np.asarray(value, dtype=float)


def ours_of(call: str, names: dict[str, Any]) -> Any:
    scope = {
        "functional": functional,
        "attrib": attrib,
        "partial": partial,
        "domains": domains,
        **{n: getattr(functional, n) for n in functional.__all__},
    }
    return eval(call, scope | names)


def test_the_page_has_a_table_for_each_library() -> None:
    libraries = [library for library, _, _ in rows()]
    assert {library: libraries.count(library) for library in PEERS} == {
        "captum": 11, "shap": 2, "tangermeme": 4, "pytorch-grad-cam": 4
    }  # fmt: skip
    assert PAGE.count("\n| `") == len(rows())


@pytest.mark.parametrize(
    ("library", "theirs", "ours"), rows(), ids=lambda v: v.split("(")[0] if "(" in v else v
)
def test_our_side_runs(library: str, theirs: str, ours: str) -> None:
    names = setting(library)
    if "ExactExplainer" in theirs:
        names["f"] = first_output(names["f"])
    assert ours_of(ours, names) is not None


def first_output(f: Any) -> Any:
    return lambda v: f(v)[:, 0]


@pytest.mark.parametrize(
    ("library", "theirs", "ours"), rows(), ids=lambda v: v.split("(")[0] if "(" in v else v
)
@pytest.mark.filterwarnings("ignore::Warning")
def test_both_sides_agree(library: str, theirs: str, ours: str) -> None:
    peer = pytest.importorskip(PEERS[library])
    names = setting(library)
    scope = {**vars(peer), **names}
    if library == "tangermeme":
        scope |= peers_of_tangermeme()
    if library == "pytorch-grad-cam":
        scope["ClassifierOutputTarget"] = pytest.importorskip(
            "pytorch_grad_cam.utils.model_targets"
        ).ClassifierOutputTarget
    if "ExactExplainer" in theirs:
        network = names["f"]
        names["f"] = first_output(network)
        scope |= {"ExactExplainer": peer.ExactExplainer, "pool": names["pool"].numpy(), "x": names["x"].numpy(),
                  "numpy_f": lambda v: network(torch.from_numpy(np.asarray(v, "float32")))[:, 0].detach().numpy()}  # fmt: skip
    expected, a = eval(theirs, scope), ours_of(ours, names)
    tolerance = 0.05 if theirs.startswith(DRAWN) else 1e-4
    if "marginalize" in theirs:
        before, after = (numbers(v) for v in expected)
        np.testing.assert_allclose(numbers(a.after).reshape(-1), after.reshape(-1), atol=1e-5)
        np.testing.assert_allclose(numbers(a.before).reshape(-1), before.reshape(-1), atol=1e-5)
        return
    if "saturation_mutagenesis" in theirs:
        before, after = (numbers(v) for v in expected)
        np.testing.assert_allclose(numbers(a), (after - before[:, :, None, None]).reshape(a.shape), atol=1e-5)
        return
    np.testing.assert_allclose(numbers(a).reshape(numbers(expected).shape), numbers(expected), atol=tolerance)


def peers_of_tangermeme() -> dict[str, Any]:
    modules = {
        "deep_lift_shap": "tangermeme.deep_lift_shap", "saturation_mutagenesis": "tangermeme.saturation_mutagenesis",
        "marginalize": "tangermeme.marginalize", "one_hot_encode": "tangermeme.utils",
    }  # fmt: skip
    return {name: getattr(pytest.importorskip(module), name) for name, module in modules.items()}


def test_labels_of_the_same_calls() -> None:
    """The page says that `attrib` has the same names."""
    used = {call.split("(")[0] for _, _, call in rows() if not call.startswith(("functional", "domains"))}
    assert all(hasattr(attrib, name) for name in used)
