"""Right and wrong calls for a type checker; tests/test_types.py compares its findings with the comments. Nothing here runs."""

from functools import partial
from typing import assert_type

import numpy as np
import torch
import xarray as xr

import attrib
from attrib import functional
from attrib.functional import deep_lift_shap, grad_cam, saliency

Net = torch.nn.Module
Array = xr.DataArray
Tensor = torch.Tensor


def labelled(net: Net, a: Array, both: xr.Dataset) -> None:
    assert_type(attrib.saliency(net, a, target=1, absolute=False), Array)
    assert_type(attrib.saliency(net, np.ones((1, 2)), target="predicted", sample_dims="cell"), Array)
    assert_type(attrib.integrated_gradients(net, both, n_steps=3, baselines=both), xr.Dataset)
    assert_type(attrib.integrated_gradients(net, {"drug": a, "gene": a}), xr.Dataset)
    assert_type(attrib.occlusion(net, (a, a), window={"gene": 1}), tuple[Array, ...])
    assert_type(attrib.grad_cam(net, both, layer=["0", "1"], onto="gene"), Array)
    assert_type(attrib.in_silico_mutagenesis(net, a, axis="nucleotide"), Array)
    assert_type(attrib.noise_tunnel(partial(attrib.integrated_gradients, n_steps=2), net, a, seed=1), Array)
    assert_type(attrib.guided_grad_cam(attrib.saliency, net, a, target=xr.DataArray([0, 1])), Array)
    assert_type(attrib.interaction(net, both), Array)
    assert_type(attrib.predict(net, a, batch_size=2), Array)


def pure(net: Net, t: Tensor) -> None:
    assert_type(attrib.functional.integrated_gradients(net, t, n_steps=3), Tensor)
    assert_type(functional.saliency(net, (t, t)), tuple[Tensor, ...])
    assert_type(saliency(f=net, x=t, targets="all", classes=["a", "b", "c"]), Tensor)
    assert_type(functional.noise_tunnel(functional.deep_lift, net, t), Tensor)
    assert_type(functional.interaction(net, (t, t), n_steps=2), Tensor)
    assert_type(grad_cam(net, (t, t), layer="0", relu=False), Tensor)
    assert_type(saliency.explain(net, t, target=1).prediction, Tensor)
    assert_type(saliency.about.axioms, tuple[str, ...])
    assert_type(functional.METHODS["saliency"](net, t, target=1), Tensor)


def rooms() -> tuple[object, ...]:
    """There after `import attrib`."""
    return (
        attrib.plots.logo,
        attrib.stats.agreement,
        attrib.io.load,
        attrib.testing.completeness,
        attrib.domains,
    )


def wrong(net: Net, a: Array, both: xr.Dataset, t: Tensor) -> None:
    attrib.integrated_gradients(net, a, n_stepz=3)  # wrong
    attrib.saliency(net, a, abs=True)  # wrong
    attrib.saliency(net, a, target=1.5)  # wrong
    attrib.saliency(net, a, True)  # wrong
    attrib.saliency(net)  # wrong
    attrib.gradient_shap(net, a)  # wrong
    attrib.grad_cam(net, a, n_steps=3)  # wrong
    attrib.noise_tunnel(attrib.saliency, net, a, n_sample=3)  # wrong
    attrib.interaction(net, both, n_stepz=3)  # wrong
    attrib.predict(net, a, batchsize=3)  # wrong
    attrib.salience(net, a)  # wrong
    attrib.functional.integrated_gradients(net, t, n_stepz=3)  # wrong
    functional.integrated_gradients(net, t, n_steps="3")  # wrong
    functional.saliency(net, a)  # wrong
    saliency(net, t, target=1.5)  # wrong
    saliency.explain(net, t, absolut=True)  # wrong
    deep_lift_shap(net, t)  # wrong
    grad_cam(net, t, layers="0")  # wrong
    functional.noise_tunnel(saliency, net, t, n_sample=3)  # wrong
    functional.guided_grad_cam(saliency, net, t, layers="0")  # wrong
    functional.interaction(net, t)  # wrong
    functional.predict(net, t, batchsize=3)  # wrong
    assert_type(functional.deletion(net, t, t, steps=3), Tensor)
    assert_type(functional.deletion.explain(net, t, t).area, Tensor)
    functional.deletion(net, t, t, step=3)  # wrong
    functional.randomization.explain(saliency, net, t, seeds=3)  # wrong
    functional.sensitivity_max(saliency, net, t, radius=3)  # wrong
    attrib.deletion(net, t, t, step=3)  # wrong
