"""Things that are no arrays are refused with the line to write."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import attrib


def kind(name: str, module: str) -> Any:
    return type(name, (), {"__module__": module, "__call__": lambda self, x: x})()


@pytest.mark.parametrize(
    ("x", "text"),
    [
        ("a sentence", "`x` is text, of which no gradient can be taken; pass the ids that the tokenizer gives"),
        (["two", "sentences"], r"`x` is text.*tokenizer\(texts, return_tensors='pt', padding=True\)"),
        ({"words": ["two"]}, r"`x\['words'\]` is text"),
        (np.array(["two", "sentences"]), "`x` is text"),
        (pd.Series(["two", "sentences"]), "`x` is text"),
        (xr.DataArray(["two"], dims="sample"), "`x` is text"),
        ((np.ones((1, 2)), {"a": np.ones((1, 2))}), r"`x\[1\]` is a dict, expected an array of numbers; where a model takes several inputs"),
        ({"a": {"b": np.ones((1, 2)), "c": np.ones((1, 2))}}, r"`x` has arrays inside of others, a.b, a.c, .*pass them in one flat mapping"),
        (kind("Nifti1Image", "nibabel.nifti1"), r"`x` is a Nifti1Image; pass attrib.io.from_nifti\(x\)"),
    ],
)  # fmt: skip
def test_inputs(x: Any, text: str) -> None:
    for method in (attrib.saliency, attrib.predict):
        with pytest.raises(TypeError, match=text):
            method(lambda x: x, x)


IMAGE = type("Nifti1Image", (), {"__module__": "nibabel.nifti1"})()
TABLE = kind("AnnData", "anndata._core.anndata")


@pytest.mark.parametrize(
    ("argument", "value", "text"),
    [
        ("baselines", IMAGE, r"`baselines` is a Nifti1Image; pass attrib.io.from_nifti\(baselines\)"),
        ("baselines", np.array(["a", "b"]), "`baselines` is text"),
        ("baselines", pd.Series(["a", "b"]), "`baselines` is a Series of .*, expected numbers"),
        ("attribution", IMAGE, "`attribution` is a Nifti1Image"),
        ("attribution", ["a", "b"], "`attribution` is text"),
        ("attribution", {"a": np.ones((1, 2))}, "`attribution` has names"),
        ("groups", IMAGE, "`groups` is a Nifti1Image"),
        ("groups", TABLE, "`groups` is AnnData; pass the name of a column of its var, such as groups='pathway'"),
    ],
)  # fmt: skip
def test_other_arguments_are_named(argument: str, value: Any, text: str) -> None:
    x = np.ones((1, 2))
    given = (
        {"attribution": x, argument: value}
        if argument != "baselines"
        else {"attribution": x, "baselines": value}
    )
    with pytest.raises((TypeError, ValueError), match=text):
        attrib.deletion(lambda x: x.sum(1), x, **given)


@pytest.mark.parametrize(
    "form", [list, np.array, lambda v: np.array(v, dtype=object), lambda v: np.array([v])]
)
def test_groups_may_be_texts(form: Any) -> None:
    a = attrib.feature_ablation(lambda x: x.sum(1), np.array([[1.0, 2.0, 4.0]]), groups=form(["p", "q", "p"]))
    np.testing.assert_array_equal(a, [[5, 2, 5]])


def test_whole_numbers_to_which_noise_is_added() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    ids = torch.tensor([[1, 5, 2], [3, 3, 8]])
    F = attrib.functional
    for method in (
        F.smooth_grad,
        partial(F.noise_tunnel, F.saliency),
        partial(F.sensitivity_max, F.saliency),
    ):
        with pytest.raises(TypeError, match=r"no noise can be added; .* pass from_layer\(f, layer\) for `f`"):
            method(model, ids, target=0)
    h = F.up_to(model, "0")(ids).detach()
    at = F.from_layer(model, "0")
    a = F.smooth_grad(at, h, target=0, additional_forward_args=(ids,), stdevs=0.1)
    expected = model[2].weight[0].reshape(1, 3, 4).expand(2, 3, 4)
    assert torch.allclose(a, expected, atol=1e-6)  # the model is linear in its embedding
    inner = partial(F.integrated_gradients, layer="0")
    r = F.randomization.explain(inner, model, ids, target=0)
    assert r.layers == ("2", "0")
    assert bool(r.correlation.isfinite().all())
    labelled = attrib.randomization(
        partial(attrib.integrated_gradients, layer="0"), model, ids.numpy(), target=0
    )
    np.testing.assert_allclose(labelled, r.correlation)
    swapped = lambda rows, radius: rows.flip(1)
    moved = F.sensitivity_max(inner, model, ids, perturb_func=swapped, target=0)
    assert bool((moved > 0).all())
    predicted = 2 * F.integrated_gradients(model, ids, target=0, layer="0").sum(2)
    off = F.infidelity(model, ids, predicted, perturb_func=lambda rows: (rows != 0, 0 * rows), target=0)
    y, y0 = model(ids)[:, 0], model(0 * ids)[:, 0]
    assert torch.allclose(off, (predicted.sum(1) - (y - y0)) ** 2, atol=1e-5)


def test_a_pipeline() -> None:
    pipeline = kind("TextClassificationPipeline", "transformers.pipelines.text_classification")
    with pytest.raises(
        TypeError, match=r"`f` is a TextClassificationPipeline, .*pass its model, f.model.eval\(\)"
    ):
        attrib.saliency(pipeline, [[1.0]])
