"""Factories with arguments, weights of wrapped models, and methods inside a noise tunnel."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from torch import nn

import attrib
from attrib.functional import METHODS
from attrib.scale.loading import load_model, without_prefixes
from attrib.workflows.plan import plan


def sized(width: int = 2, depth: int = 1) -> nn.Module:
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(depth)])


def told(config: dict) -> nn.Module:
    return nn.Linear(config["width"], 1)


def anything(**settings: int) -> nn.Module:
    return nn.Linear(settings["width"], len(settings))


HERE = "tests.workflows.test_loading"


def test_factories_get_what_they_take() -> None:
    record = {"width": 3, "learning_rate": 1e-3, "depth": 2}
    assert [m.in_features for m in load_model(f"{HERE}:sized", parameters=record)] == [3, 3]
    assert load_model(f"{HERE}:told", parameters=record).in_features == 3
    assert load_model(f"{HERE}:anything", parameters=record).out_features == 3
    with pytest.raises(ValueError, match="needs the arguments config; name a function"):
        load_model(f"{HERE}:told")
    with pytest.raises(ValueError, match="leave them out"):
        load_model("model.pt2", parameters=record)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "model.module."])
def test_names_of_wrapped_models_are_brought_back(prefix: str) -> None:
    weights = sized(depth=2).state_dict()
    wrapped = {prefix + k: v for k, v in weights.items()}
    assert list(without_prefixes(wrapped, weights)) == list(weights)
    assert without_prefixes(weights, weights) is weights


def test_prefixes_stay_where_they_belong_to_the_model() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = sized()

    weights = Holder().state_dict()
    assert without_prefixes(weights, weights) is weights
    assert list(without_prefixes({"module." + k: v for k, v in weights.items()}, weights)) == list(weights)


def test_the_method_inside_a_noise_tunnel_and_its_arguments() -> None:
    options = {
        "noise_tunnel.n_steps": 7,
        "noise_tunnel.method": "integrated_gradients",
        "noise_tunnel.n_samples": 3,
    }
    chosen = plan(["noise_tunnel", "saliency"], options=options, baselines=0.5).by_method["noise_tunnel"]
    assert chosen["n_samples"] == 3
    assert chosen["method"].func is METHODS["integrated_gradients"]
    assert chosen["method"].keywords == {"n_steps": 7, "baselines": 0.5}
    with pytest.raises(ValueError, match="there is no method 'grad_cam' to go inside"):
        plan(["noise_tunnel"], options={"noise_tunnel.method": "grad_cam"})
    with pytest.raises(ValueError, match="no such argument"):
        plan(["noise_tunnel"], options={"noise_tunnel.n_steps": 7})


def test_results_record_the_arguments_of_the_inner_method() -> None:
    inner = functools.partial(attrib.integrated_gradients, n_steps=7)
    a = attrib.noise_tunnel(inner, sized(), torch.ones(1, 2), target=0, n_samples=2)
    assert json.loads(a.attrs["params"])["method"] == "integrated_gradients(n_steps=7)"
