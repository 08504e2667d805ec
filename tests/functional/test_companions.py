"""What goes into a model beside x: every sample is explained as it is alone, with its own values."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib import functional
from attrib.functional import (
    METHODS,
    conductance,
    deep_lift,
    feature_ablation,
    grad_cam,
    input_x_gradient,
    integrated_gradients,
    interaction,
    layer_activation,
    noise_tunnel,
    predict,
    saliency,
    shapley_values,
    shared,
)
from tests.cases import CASES, agree

N = 5


class Gene(nn.Module):
    """Expression with a batch id, a weight per sample, a table that all share, and a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.donor, self.layer, self.head = nn.Embedding(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(
        self, x: Tensor, ids: Tensor, scale: Any = 1.0, *, weight: Any = None, table: Any = None
    ) -> Tensor:
        h = torch.tanh(self.layer(x) + self.donor(ids))
        h = h if weight is None else h * weight
        y = self.head(h) * scale
        return y if table is None else y + x[:, :1] * table.sum()


def _model() -> Gene:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Gene().double().eval()


G = torch.Generator().manual_seed(1)
X = torch.randn(N, 6, generator=G, dtype=torch.float64)
IDS = torch.randint(0, 4, (N,), generator=G)
WEIGHT = torch.rand(N, 6, generator=G, dtype=torch.float64)
TABLE = torch.randn(N, 2, generator=G, dtype=torch.float64)  # as many rows as there are samples, by chance
FORMS = {
    "by name": {"ids": IDS, "weight": WEIGHT, "table": shared(TABLE)},
    "by position": (IDS, 2.0),
}


def of_sample(values: Any, i: int) -> Any:
    def one(v: Any) -> Any:
        return v[i : i + 1] if isinstance(v, Tensor) else v

    return {k: one(v) for k, v in values.items()} if isinstance(values, dict) else tuple(map(one, values))


@pytest.mark.parametrize("batch_size", ["auto", 1, 3])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "mlp" in c.kinds])
def test_a_sample_has_the_attribution_that_it_has_alone(name: str, form: str, batch_size: Any) -> None:
    case, model = CASES[name], _model()
    pool = X[None, :3] / 2 if case.method.about.baselines == "any" else X[:3] / 2
    baselines = {None: {}, "point": {"baselines": X.flip(0)}, "distribution": {"baselines": pool}}[case.takes]
    together = case.explain()(
        model, X, target=1, additional_forward_args=FORMS[form], batch_size=batch_size, **baselines
    )
    for i in range(N):
        own = {"baselines": X.flip(0)[i : i + 1]} if case.takes == "point" else baselines
        alone = case.explain()(
            model, X[i : i + 1], target=1, additional_forward_args=of_sample(FORMS[form], i), **own
        )
        agree(together.attribution[i : i + 1], alone.attribution)
        agree(together.prediction[i : i + 1], alone.prediction)


def test_prediction_gets_them_too() -> None:
    model = _model()
    expected = model(X, IDS, weight=WEIGHT, table=TABLE).detach()
    agree(predict(model, X, batch_size=2, additional_forward_args=FORMS["by name"]), expected)


def test_a_closure_over_values_of_samples_is_refused_with_the_way_out() -> None:
    model = _model()
    for f in (lambda v: model(v, IDS), lambda v: model(v[:, :], IDS[: len(v)])):
        with pytest.raises(ValueError, match=r"mixes samples.*additional_forward_args"):
            integrated_gradients(f, X, target=0)


def test_a_loss_of_each_sample_is_a_target() -> None:
    model, labels = _model(), torch.tensor([0, 2, 1, 1, 0])

    def loss(y: Tensor, samples: Tensor) -> Tensor:
        return F.cross_entropy(y, labels[samples], reduction="none")

    for method in (saliency, integrated_gradients, deep_lift, noise_tunnel):
        first = (saliency,) if method is noise_tunnel else ()
        options = {"stdevs": 0.1} if first else {}
        together = method(
            *first, model, X, target=loss, additional_forward_args=(IDS,), batch_size=2, **options
        )
        for i in range(N):
            own = lambda y, i=i: F.cross_entropy(y, labels[i].expand(len(y)), reduction="none")
            alone = method(
                *first, model, X[i : i + 1], target=own, additional_forward_args=(IDS[i : i + 1],), **options
            )
            agree(together[i : i + 1], alone)


def test_lengths_of_packed_sequences() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.rnn(packed)[1][0]

    torch.manual_seed(0)
    model = Packed().double().eval()
    x, lengths = torch.randn(3, 6, 3, dtype=torch.float64), torch.tensor([6, 2, 4])
    for method in (saliency, integrated_gradients):
        together = method(model, x, target=0, additional_forward_args=(lengths,))
        for i, n in enumerate(lengths.tolist()):
            agree(
                together[i : i + 1, :n],
                method(model, x[i : i + 1, :n], target=0, additional_forward_args=(lengths[i : i + 1],)),
            )
            assert not together[i, n:].any()


class Graphs(nn.Module):
    """Two steps of messages between nodes, along each sample's own edges; nodes that a sample lacks have no edges."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, nodes: Tensor, edges: Tensor, present: Tensor) -> Tensor:
        h = torch.tanh(edges.to(nodes) @ self.first(nodes))
        h = torch.relu(edges.to(nodes) @ self.second(h)) * present[..., None]
        return self.head(h.sum(1) / present.sum(1, keepdim=True))


def test_graph_nets_with_one_graph_for_each_sample() -> None:
    torch.manual_seed(0)
    model = Graphs().double().eval()
    sizes = torch.tensor([5, 3, 4])
    present = torch.arange(5) < sizes[:, None]
    edges = (torch.rand(3, 5, 5) < 0.6) & present[:, None] & present[:, :, None]
    nodes = torch.randn(3, 5, 3, dtype=torch.float64)
    for method in (saliency, integrated_gradients, deep_lift, feature_ablation, shapley_values):
        extra = {"groups": torch.arange(5)[:, None].expand(5, 3)} if method is shapley_values else {}
        together = method(model, nodes, target=1, additional_forward_args=(edges, present), **extra)
        for i, n in enumerate(sizes.tolist()):
            few = {"groups": extra["groups"][:n]} if extra else {}
            own = edges[i : i + 1, :n, :n], present[i : i + 1, :n]
            agree(
                together[i : i + 1, :n],
                method(model, nodes[i : i + 1, :n], target=1, additional_forward_args=own, **few),
            )
            assert float(together[i, n:].abs().sum()) < 1e-14


def test_regions_of_each_image_and_what_the_clinic_knows_of_it() -> None:
    """A segmentation network beside whose images go ages; the score is the mean over the region of each image."""
    torch.manual_seed(0)
    body, shift = nn.Conv2d(1, 2, 3, padding=1).double(), nn.Linear(1, 2).double()

    def segment(x: Tensor, age: Tensor) -> Tensor:
        return (body(x) + shift(age[:, None])[..., None, None]).tanh()

    x, ages = torch.randn(3, 1, 6, 6, dtype=torch.float64), torch.tensor([0.2, 0.9, 0.5], dtype=torch.float64)
    regions = torch.rand(3, 6, 6) < 0.4

    def in_region(y: Tensor, samples: Tensor) -> Tensor:
        inside = regions[samples].to(y)
        return (y[:, 1] * inside).sum((1, 2)) / inside.sum((1, 2))

    for method in (saliency, integrated_gradients, deep_lift, feature_ablation):
        together = method(segment, x, target=in_region, additional_forward_args=(ages,), batch_size=2)
        for i in range(3):
            own = lambda y, i=i: (y[:, 1] * regions[i]).sum((1, 2)) / regions[i].sum()
            alone = method(segment, x[i : i + 1], target=own, additional_forward_args=(ages[i : i + 1],))
            agree(together[i : i + 1], alone)


def test_maps_and_activations_of_a_layer() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(3, 2)

        def forward(self, x: Tensor, age: Tensor) -> Tensor:
            return self.head((torch.relu(self.body(x)) * age[:, None, None, None]).mean((2, 3)))

    torch.manual_seed(0)
    model, x, age = (
        Gated().double().eval(),
        torch.randn(4, 1, 6, 6, dtype=torch.float64),
        torch.rand(4).double(),
    )
    together = grad_cam(model, x, layer="body", target=1, additional_forward_args=(age,), batch_size=3)
    layer_activation(model, x, layer="body", additional_forward_args=(age,))
    for i in range(4):
        agree(
            together[i : i + 1],
            grad_cam(model, x[i : i + 1], layer="body", target=1, additional_forward_args=(age[i : i + 1],)),
        )


@pytest.mark.parametrize(
    "measure", ["deletion", "insertion", "infidelity", "sensitivity_max", "randomization", "conductance"]
)
def test_measures_and_conductance_get_them_too(measure: str) -> None:
    model = _model()

    def found(x: Tensor, ids: Tensor) -> Tensor:
        given = {"target": 1, "additional_forward_args": (ids,)}
        if measure == "conductance":
            return conductance(model, x, layer="layer", **given)
        if measure in ("sensitivity_max", "randomization"):
            return getattr(functional, measure)(input_x_gradient, model, x, **given)
        return getattr(functional, measure)(model, x, input_x_gradient(model, x, **given), **given)

    samples = 1 if measure == "randomization" else 0
    together = found(X, IDS)
    for i in range(N):
        agree(together.narrow(samples, i, 1), found(X[i : i + 1], IDS[i : i + 1]), 1e-9)


@pytest.mark.parametrize("name", ["grad_cam_plus_plus", "layer_cam", "hires_cam", "guided_grad_cam"])
def test_other_maps_of_a_layer(name: str) -> None:
    torch.manual_seed(0)
    body, head = nn.Conv2d(1, 3, 3, padding=1).double(), nn.Linear(3, 2).double()

    class Aged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = body, head

        def forward(self, x: Tensor, age: Tensor) -> Tensor:
            return self.head((torch.relu(self.body(x)) * age[:, None, None, None]).mean((2, 3)))

    x, age = torch.randn(4, 1, 6, 6).double(), torch.rand(4).double()
    lead = (saliency,) if name == "guided_grad_cam" else ()
    explain = partial(getattr(functional, name), *lead, Aged().eval(), layer="body", target=1)
    together = explain(x, additional_forward_args=(age,))
    for i in range(4):
        agree(together[i : i + 1], explain(x[i : i + 1], additional_forward_args=(age[i : i + 1],)), 1e-9)


def test_interactions_get_them_too() -> None:
    f = lambda a, b, w: (a * b).sum(1) * w
    a, b, w = torch.randn(3, 2).double(), torch.randn(3, 2).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    found = interaction(f, (a, b), additional_forward_args=(w,))
    agree(found, torch.diag_embed(a * b) * w[:, None, None], rtol=1e-9)


def test_other_forms_are_refused() -> None:
    with pytest.raises(
        TypeError, match=r"`additional_forward_args` is a Tensor, expected a tuple.*\(value,\)"
    ):
        saliency(_model(), X, target=0, additional_forward_args=IDS)


def test_every_method_takes_them() -> None:
    assert all("additional_forward_args" in m.about.arguments for m in METHODS.values())
