"""What torch.func cannot trace goes through plain autograd, and a gradient that is cut is an error."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attrib.engine.gradient.differentiate import by_forward_mode, cut_inputs, has_batch_norm, pull_by_autograd
from attrib.functional import (
    METHODS,
    conductance,
    deep_lift,
    deep_lift_shap,
    grad_cam,
    grad_cam_plus_plus,
    gradient_shap,
    guided_grad_cam,
    hires_cam,
    input_x_gradient,
    integrated_gradients,
    interaction,
    layer_cam,
    noise_tunnel,
    saliency,
    smooth_grad,
)
from attrib.testing import untouched

SEED = torch.Generator().manual_seed(0)
X = torch.randn(3, 4, 6, generator=SEED)


class Cube(torch.autograd.Function):
    """A function in the old style: forward has a context, there is no setup_context."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cells, self.head = kind(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


def hooked(register: str) -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3))
    seen: list[Any] = []
    getattr(model[1], register)(lambda module, *given: seen.append(len(given)))
    return model


def cubed() -> Any:
    layer = nn.Linear(6, 3)
    return lambda x: Cube.apply(layer(x).sum(1))


def build(name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return {
            "lstm": lambda: Recurrent(nn.LSTM),
            "gru": lambda: Recurrent(nn.GRU),
            "rnn": lambda: Recurrent(nn.RNN),
            "old-style function": cubed,
            "reentrant checkpoint": lambda: Checkpointed(True),
            "checkpoint": lambda: Checkpointed(False),
            "full backward hook": lambda: hooked("register_full_backward_hook"),
            "full backward pre-hook": lambda: hooked("register_full_backward_pre_hook"),
        }[name]()


UNTRACEABLE = ["lstm", "old-style function", "full backward hook", "full backward pre-hook"]
PERHAPS = ["rnn", "gru", "checkpoint"]  # depends on the version of torch


def plain(model: Any, x: Tensor, target: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", UNTRACEABLE + PERHAPS)
def test_values_are_those_of_plain_autograd(name: str) -> None:
    model = build(name)
    expected = plain(model, X, 1)
    with untouched(model, X):
        found = saliency.explain(model, X, target=1, absolute=False, batch_size=2)
    torch.testing.assert_close(found.attribution, expected, rtol=1e-5, atol=1e-7)
    if name in UNTRACEABLE:
        assert found.engine == "autograd"


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", UNTRACEABLE + PERHAPS)
def test_all_targets_of_what_cannot_be_traced(name: str) -> None:
    model = build(name)
    found = integrated_gradients(model, X, targets="all", n_steps=5)
    for k in range(3):
        torch.testing.assert_close(
            found[k], integrated_gradients(model, X, target=k, n_steps=5), rtol=1e-5, atol=1e-6
        )


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch's, of the trial
@pytest.mark.parametrize(
    "method",
    [
        saliency,
        input_x_gradient,
        integrated_gradients,
        smooth_grad,
        partial(gradient_shap, baselines=0.0),
        partial(noise_tunnel, saliency),
    ],
)
@pytest.mark.parametrize("options", [{"target": 0}, {"targets": [0, 1]}, {"target": 0, "engine": "autograd"}])
def test_a_reentrant_checkpoint_says_what_to_do(method: Any, options: dict[str, Any]) -> None:
    if "engine" in options and "noise_tunnel" in str(method):
        options = {"target": 0}
    with pytest.raises(
        RuntimeError,
        match=r"`model` calls torch.utils.checkpoint in its re-entrant form.*use_reentrant=False",
    ):
        method(build("reentrant checkpoint"), X, **options)


@pytest.mark.parametrize("method", [saliency, smooth_grad])
def test_the_engine_is_recorded(method: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 3))
    assert method.explain(model, X, target=0).engine == "func"
    assert method.explain(model, X, target=0, engine="autograd").engine == "autograd"


def test_the_error_of_a_broken_model_is_its_own() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        saliency(nn.Linear(7, 2), X, target=0)


def test_few_inputs_and_many_outputs_go_forward() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 40)).double()
    x = torch.randn(5, 3, generator=SEED, dtype=torch.float64)
    for method in (saliency, smooth_grad, integrated_gradients):
        found = method.explain(model, x, targets="all", batch_size=2)
        by_reverse = method.explain(model, x, targets="all", engine="func")
        assert found.engine == "forward"
        assert by_reverse.engine == "func"
        torch.testing.assert_close(found.attribution, by_reverse.attribution, rtol=1e-9, atol=1e-12)


def test_several_inputs_go_forward() -> None:
    weights = torch.randn(5, 30, generator=SEED, dtype=torch.float64)

    def model(a: Tensor, b: Tensor) -> Tensor:
        return torch.tanh(torch.cat([a, b.flatten(1)], 1)) @ weights

    x = (torch.randn(4, 1, generator=SEED).double(), torch.randn(4, 2, 2, generator=SEED).double())
    found = saliency.explain(model, x, targets="all", batch_size=2)
    assert found.engine == "forward"
    expected = saliency(model, x, targets="all", engine="autograd")
    for a, b in zip(found.attribution, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_where_forward_mode_fails_it_goes_back() -> None:
    layer = nn.Linear(2, 6)
    found = saliency.explain(lambda x: Cube.apply(layer(x)), X[:, 0, :2], targets="all")
    assert found.engine in ("func", "autograd")
    expected = torch.stack([plain(lambda x: Cube.apply(layer(x)), X[:, 0, :2], k).abs() for k in range(6)])
    torch.testing.assert_close(found.attribution, expected)


LAYER, BACKBONE = nn.Linear(6, 2), nn.Sequential(nn.Linear(6, 6), nn.Tanh())


def under_no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return LAYER(x[:, 0])


def frozen(x: Tensor) -> Tensor:
    """As transfer learning writes it: what is behind has weights, so that the output has a graph."""
    with torch.no_grad():
        h = BACKBONE(x[:, 0])
    return LAYER(h)


def in_inference_mode(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return LAYER(x[:, 0])


CUT = {
    "no_grad": under_no_grad,
    "a frozen backbone": frozen,
    "inference_mode": in_inference_mode,
    "detach": lambda x: LAYER(x[:, 0].detach()),
    "whole numbers": lambda x: x[:, 0].long().float(),
    "round": lambda x: LAYER((3 * x[:, 0]).round()),
    "floor": lambda x: LAYER((3 * x[:, 0]).floor()),
    "ceil": lambda x: LAYER((3 * x[:, 0]).ceil()),
    "trunc": lambda x: LAYER((3 * x[:, 0]).trunc()),
    "sign": lambda x: LAYER(x[:, 0].sign()),
    "sgn": lambda x: LAYER(x[:, 0].sgn()),
    "floor division": lambda x: LAYER(torch.div(x[:, 0], 0.2, rounding_mode="floor")),
    "round of some, sign of others": lambda x: LAYER((3 * x[:, 0]).round() + x[:, 1].sign()),
    "compare": lambda x: (x[:, 0] > 0).float(),
    "argmax": lambda x: LAYER.weight.T[x.argmax(2)[:, 0]],
    "numpy": lambda x: torch.from_numpy(x.detach().numpy()).sum(1),
    "copy": lambda x: torch.tensor(x[:, 0].tolist()),
}


def of_zeros(method: Any) -> Any:
    return lambda f, x, **options: method(f, x, baselines=torch.zeros_like(x[:2]), **options)


GRADIENTS = {
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "smooth_grad": smooth_grad,
    "gradient_shap": of_zeros(gradient_shap),
    "noise_tunnel": partial(noise_tunnel, saliency),
}


@pytest.mark.filterwarnings("ignore:.*torch.tensor")
@pytest.mark.parametrize("engine", ["auto", "autograd"])
@pytest.mark.parametrize("method", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize("name", CUT)
def test_a_cut_gradient_is_an_error(name: str, method: Any, engine: str) -> None:
    with pytest.raises(
        ValueError, match=r"`model` cuts the gradient:.*no_grad, inference_mode, detach, rounding"
    ):
        method(CUT[name], X, target=0, engine=engine)


def behind(cut: Any) -> nn.Module:
    """A model with a layer, something behind it, and a head."""

    class Behind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Conv1d(4, 3, 3, padding=1), nn.Linear(18, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(cut(self.layer(x)).flatten(1))

    return Behind().eval()


def in_no_grad(h: Tensor) -> Tensor:
    with torch.no_grad():
        return h.tanh()


CUT_BEHIND = {
    "nothing": torch.tanh,
    "no_grad": in_no_grad,
    "detach": Tensor.detach,
    "round": lambda h: (9 * h).round(),
    "floor": lambda h: (9 * h).floor(),
    "sign": Tensor.sign,
    "compare": lambda h: (h > 0).to(h),
    "heaviside": lambda h: torch.heaviside(h, h.new_tensor(0.5)),
    "floor division": lambda h: h // 0.1,
}
AT_LAYER = {
    "grad_cam": grad_cam,
    "grad_cam_plus_plus": grad_cam_plus_plus,
    "layer_cam": layer_cam,
    "hires_cam": hires_cam,
    "guided_grad_cam": partial(guided_grad_cam, saliency),
    "conductance": partial(conductance, n_steps=2),
}
SECANTS = {"deep_lift": deep_lift, "deep_lift_shap": of_zeros(deep_lift_shap)}  # they compare two points


def test_the_cuts_are_tried_with_every_method_that_differentiates() -> None:
    differentiate = {name for name, m in METHODS.items() if not m.about.edits}
    assert {*GRADIENTS, *AT_LAYER, *SECANTS, "interaction"} - {"conductance"} == differentiate


@pytest.mark.parametrize("method", AT_LAYER.values(), ids=AT_LAYER)
@pytest.mark.parametrize("name", CUT_BEHIND)
def test_a_gradient_cut_behind_the_layer_is_an_error(name: str, method: Any) -> None:
    run = partial(method, behind(CUT_BEHIND[name]), X, layer="layer", target=0)
    if name == "nothing":
        assert run().any()
        return
    words = (
        "no gradient path leads|cuts the gradient"
        if "iside" not in name and "division" not in name
        else "no derivative"
    )
    with pytest.raises(ValueError, match=words):
        run()


@pytest.mark.parametrize("method", [*GRADIENTS.values(), *AT_LAYER.values()], ids=[*GRADIENTS, *AT_LAYER])
@pytest.mark.parametrize("name", ["heaviside", "floor division"])
def test_an_op_without_a_derivative_is_named(name: str, method: Any) -> None:
    options = {"layer": "layer"} if method in AT_LAYER.values() else {}
    with pytest.raises(
        ValueError, match=r"`model` cuts the gradient: torch has no derivative of (heaviside|floor_divide)"
    ):
        method(behind(CUT_BEHIND[name]), X, target=0, **options)


@pytest.mark.parametrize("method", SECANTS.values(), ids=SECANTS)
@pytest.mark.parametrize("name", [n for n in CUT_BEHIND if n not in ("compare", "floor division")])
def test_deep_lift_goes_through_what_gradients_do_not(name: str, method: Any) -> None:
    model = behind(CUT_BEHIND[name])
    change = (model(X) - model(torch.zeros_like(X)))[:, 0].detach()
    torch.testing.assert_close(method(model, X, target=0).sum((1, 2)), change)


@pytest.mark.parametrize("name", [n for n in CUT if n not in ("numpy", "copy")])
def test_an_interaction_through_a_cut_is_refused_as_one(name: str) -> None:
    f = lambda a, b: CUT[name](a * b)
    with pytest.raises(ValueError, match="`model` cuts the gradient of input 0, 1"):
        interaction(f, (X, X.flip(0)), target=0, n_steps=2)


def test_inputs_that_the_model_cannot_look_up_show_a_cut_all_the_same() -> None:
    """Bins of a table, beyond which there is nothing: most moves of x fall outside of it."""
    table = nn.Embedding(10, 3)
    x = torch.rand(2, 5, generator=SEED)
    with pytest.raises(ValueError, match="cuts the gradient"):
        saliency(lambda x: table((x * 9).long()).sum(1), x, target=0)


def test_a_score_that_changes_with_large_steps_only_shows_a_cut() -> None:
    with pytest.raises(ValueError, match="cuts the gradient"):
        saliency(lambda x: (x.sum((1, 2)) / 40).round(), X)


@pytest.mark.parametrize(
    "name", ["no_grad", "a frozen backbone", "detach", "round", "sign", "floor division"]
)
def test_forward_mode_refuses_a_cut_gradient_too(name: str) -> None:
    narrow, many = torch.randn(6, 1, generator=SEED), torch.randn(2, 30, generator=SEED)
    model = lambda x: CUT[name]((x @ narrow.T)[:, None])[:, :2] @ many
    x = torch.tensor([[1.0], [-2.0], [0.7]])
    sound = integrated_gradients.explain(lambda x: LAYER(x @ narrow.T).tanh() @ many, x, targets="all")
    assert sound.engine == "forward"
    with pytest.raises(ValueError, match="cuts the gradient"):
        integrated_gradients(model, x, targets="all")


def test_forward_mode_stops_at_no_grad_as_reverse_mode_does() -> None:
    """A step that gradients go straight through, written with no_grad."""
    many = torch.randn(1, 30, generator=SEED)

    def model(x: Tensor) -> Tensor:
        with torch.no_grad():
            step = (5 * x).round() / 5 - x
        return (x + step).sum(1, keepdim=True) @ many

    x = X[:, 0, :2]
    for engine in ("auto", "func", "autograd"):
        found = integrated_gradients(model, x, targets="all", multiply_by_inputs=False, engine=engine)
        torch.testing.assert_close(found, many[0, :, None, None].expand(30, 3, 2))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda x: x.round().sum((1, 2)) + x[:, 0].sum(1), [1, 0, 0, 0]),
        (lambda x: (x - (x - x.round()).detach()).sum((1, 2)), [1, 1, 1, 1]),  # straight through
        (lambda x: (x * x.sign()).sum((1, 2)), "sign"),
        (lambda x: x.detach().tanh().sum((1, 2)) + 2 * x[:, 3].sum(1), [0, 0, 0, 2]),
    ],
)
def test_a_path_that_is_left_open_is_enough(model: Any, expected: Any) -> None:
    found = saliency(model, X, absolute=False)
    gradient = X.sign() if expected == "sign" else torch.tensor(expected).view(1, 4, 1).expand_as(X).to(X)
    torch.testing.assert_close(found, gradient)


def test_the_input_that_is_cut_is_named() -> None:
    with pytest.raises(ValueError, match="cuts the gradient of input 1:"):
        saliency(lambda a, b: a[:, 0] + b.detach()[:, 0], (X, X), target=0)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: 0 * x[:, 0], lambda x: torch.ones(len(x), 6), lambda x: torch.relu(x[:, 0] - 100), lambda x: x[:, 0] * 0 + 3,
        lambda x: torch.relu(x[:, 0].round().detach() * 0 - 1), lambda x: x[:, 0].clamp(200, 300),
    ],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["auto", "autograd"])
def test_a_gradient_that_is_zero_is_no_error(model: Any, engine: str) -> None:
    assert not saliency(model, X, target=0, engine=engine).any()


def test_an_input_that_is_not_used_is_no_error() -> None:
    a, b = saliency(lambda a, b: a[:, 0], (X, X), target=0)
    assert a.any()
    assert not b.any()


class Transformed(nn.Module):
    """Linear layers on (rows, places, features), one of them on a view that does not lie in order."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 5), nn.Linear(4, 3, bias=False)
        self.three = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.one(x)).transpose(1, 2)
        return torch.cat([self.two(h), self.three(h)], 2).sum(1)


@pytest.mark.parametrize("engine", ["func", "autograd"])
def test_linear_layers_on_places(engine: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Transformed().double()
    x = X.double()
    with untouched(model, x):
        found = saliency(model, x, targets="all", absolute=False, engine=engine)
    torch.testing.assert_close(found, torch.stack([plain(model, x, k) for k in range(5)]))


def test_gradients_that_are_not_copied_are_nobody_elses() -> None:
    weight = torch.randn(6, 2, generator=SEED)

    def f(a: Tensor, b: Tensor) -> Tensor:
        return (a + b)[:, 0] @ weight

    a, b = saliency(f, (X, X.clone()), targets="all", absolute=False)
    kept, before = b.clone(), weight.clone()
    a.zero_()
    assert torch.equal(b, kept)
    assert torch.equal(weight, before)


def test_all_targets_of_a_dense_network_go_back_together_from_the_first_call_on() -> None:
    seen = []

    class Seen(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            seen.append(1)
            return g

    wide = nn.Linear(6, 4000)
    last = nn.Linear(4000, 9)
    saliency(lambda x: last(Seen.apply(wide(x[:, 0]))), X, targets="all", engine="func")
    assert len(seen) == 1


def test_pullbacks_agree() -> None:
    def f(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([(a * b).sum(1), a.sin().sum(1), b.prod(1)], 1)

    rows = tuple(torch.randn(2, 3, generator=SEED, dtype=torch.float64) for _ in range(2))
    cotangents = torch.eye(3, dtype=torch.float64)[:, None].expand(3, 2, 3)
    leaves = tuple(r.clone().requires_grad_() for r in rows)
    y = f(*leaves)
    y2, forward = by_forward_mode(f, rows)
    first = pull_by_autograd(y, leaves, cotangents[:1], False)  # the graph stays for the rest
    torch.testing.assert_close(y2, y.detach())
    gradients = pull_by_autograd(y, leaves, cotangents, True)
    (a, b), zeros = rows, torch.zeros_like(rows[0])
    of_product = torch.stack([b[:, [1, 2, 0]] * b[:, [2, 0, 1]]])[
        0
    ]  # d prod / d b_j: the product of the other two
    expected = (torch.stack([b, a.cos(), zeros]), torch.stack([a, zeros, of_product]))
    for j, (g, e) in enumerate(zip(gradients, expected, strict=True)):
        torch.testing.assert_close(g, e)
        assert torch.equal(first[j], g[:1])
        torch.testing.assert_close(forward[j].permute(2, 1, 0), e)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        pull_by_autograd(y, leaves, cotangents[:1], True)  # freed behind the last
    for engine in ("func", "autograd"):
        by_saliency = saliency(f, rows, targets="all", absolute=False, engine=engine)
        for g, e in zip(by_saliency, expected, strict=True):
            torch.testing.assert_close(g, e)


def test_inputs_that_are_cut() -> None:
    rows = tuple(torch.randn(2, 3, generator=SEED, dtype=torch.float64) for _ in range(2))

    def scores(f: Any) -> Any:
        return lambda *rs: f(*rs).sum(1)[None]

    assert cut_inputs(scores(lambda a, b: a * b), rows, [0, 1]) == []
    assert cut_inputs(scores(lambda a, b: a.detach() * b), rows, [0, 1]) == [0]
    assert cut_inputs(scores(lambda a, b: a.detach() * b), rows, [1]) == []  # only where it is asked about
    assert cut_inputs(scores(lambda a, b: a.round() * b.sign()), rows, [0, 1]) == [0, 1]
    assert (
        cut_inputs(scores(lambda a, b: 0 * a.detach() + b), rows, [0, 1]) == []
    )  # the score does not change with it
    assert cut_inputs(scores(lambda a, b: a.argsort(1) * b), rows, [0]) == [
        0
    ]  # changes when it is turned over
    small = tuple(torch.full((2, 3), 0.1 * (j + 1), dtype=torch.float64) for j in range(2))
    for sign in (1, -1):
        rows = tuple(sign * r for r in small)
        assert cut_inputs(scores(lambda a, b: a.sign() * b.sgn()), rows, [0, 1]) == [0, 1]


def norm_of(x: Tensor, w: Tensor) -> Tensor:
    return F.batch_norm(x, torch.zeros(6), torch.ones(6), w)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda x, w: norm_of(x[:, 0], w).sum(), True),
        (lambda x, w: norm_of(x[:, 0].tanh().round(), w).sum(), True),
        (lambda x, w: (x * w).sum(), False),
        (lambda x, w: F.layer_norm(x, (6,), w).sum(), False),
    ],
)
def test_batch_norm_is_seen_in_the_graph(model: Any, expected: bool) -> None:
    assert has_batch_norm(model(X.clone().requires_grad_(), torch.ones(6)).grad_fn) is expected


class Sizes(nn.Module):
    """Notes how many rows each call has."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body, self.sizes = body, []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return self.body(x)


def strided() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """Batch norm in evaluation mode, weights, and the exact gradient of its weighted sum."""
    norm = nn.BatchNorm2d(8).double().eval()
    with torch.no_grad():
        norm.running_var.copy_(torch.rand(8, generator=SEED) * 4 + 0.2)
        norm.weight.copy_(torch.rand(8, generator=SEED) * 3 + 0.2)
    w = torch.randn(16, 8, generator=SEED, dtype=torch.float64)
    exact = ((norm.weight / (norm.running_var + norm.eps).sqrt())[:, None] * w.t()).detach()
    return norm, w, exact.view(1, 8, 4, 4), torch.randn(3, 8, 4, 4, generator=SEED, dtype=torch.float64)


@pytest.mark.parametrize("as_function", [False, True], ids=["module", "function"])
@pytest.mark.parametrize("engine", ["func", "autograd", "auto"])
@pytest.mark.parametrize(("n", "batch_size"), [(1, "auto"), (1, 4), (3, 1), (3, 2), (3, "auto")])
def test_no_pass_back_through_batch_norm_has_one_row(
    n: int, batch_size: int | str, engine: str, as_function: bool
) -> None:
    """Torch's own is wrong there on a CPU where gradients arrive with channels last: a row goes with its copy."""
    norm, w, exact, x = strided()
    plain_norm = lambda t: F.batch_norm(t, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    model = Sizes(
        lambda t: ((plain_norm if as_function else norm)(t).flatten(2).transpose(1, 2) * w).sum((1, 2))
    )
    if not as_function:
        model.norm = norm
    options: dict[str, Any] = {"batch_size": batch_size, "engine": engine}
    found = saliency.explain(model, x[:n], absolute=False, **options)
    torch.testing.assert_close(found.attribution, exact.expand(n, -1, -1, -1))
    torch.testing.assert_close(found.prediction, model(x[:n]).detach())
    path = integrated_gradients.explain(model, x[:n], n_steps=3, **options)
    torch.testing.assert_close(path.attribution, exact * x[:n])
    assert float(path.delta.abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"), [(1, "auto", [3, 1]), (3, 1, [2, 1, 1, 1]), (3, 2, [3, 2, 1])]
)
def test_rows_of_models_without_batch_norm_stay_single(n: int, batch_size: Any, sizes: list[int]) -> None:
    model = Sizes(lambda x: LAYER(x[:, 0]))
    slopes = saliency(model, X[:n], target=0, batch_size=batch_size)
    assert model.sizes == sizes
    expected = torch.zeros_like(X[:n])
    expected[:, 0] = LAYER.weight[0].detach().abs()
    torch.testing.assert_close(slopes, expected)


def test_models_of_one_row_only_are_never_given_two() -> None:
    norm, w, _, x = strided()

    def one(t: Tensor) -> Tensor:
        assert len(t) == 1, "made for one row"
        return (norm(t) * w.t().reshape(8, 4, 4)).sum((1, 2, 3))

    expected = saliency(lambda t: (norm(t) * w.t().reshape(8, 4, 4)).sum((1, 2, 3)), x)
    for batch_size, rows in ((1, x), ("auto", x[:1])):
        torch.testing.assert_close(saliency(one, rows, batch_size=batch_size), expected[: len(rows)])
