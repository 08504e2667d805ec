"""DeepLIFT on the zoo: complete, row by row, whatever the chunks, and composable; and what it refuses."""

from __future__ import annotations

import copy
import itertools
import shutil
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn import functional as F

from attrib.functional import Explanation, deep_lift, deep_lift_shap, op_shares
from tests.zoo import ZOO, Specimen

EPS = torch.finfo(torch.float32).eps


def several(ts: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    return ts if len(ts) > 1 else ts[0]


def tuples(ts: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return ts if isinstance(ts, tuple) else (ts,)


def first(specimen: Specimen, model: nn.Module, x: tuple[Tensor, ...]) -> int | None:
    with torch.no_grad():
        return None if model(*x).ndim == 1 else 0


def explained(specimen: Specimen, dtype: torch.dtype, tiny: float = 0.0) -> tuple[Explanation, Tensor]:
    """An explanation of a specimen's first output, and the change it must add up to, in float64."""
    model, x, x0 = specimen.like(dtype), specimen.inputs(dtype=dtype), specimen.inputs(dtype=dtype)
    x0 = tuple(t + tiny for t in x) if tiny else x0
    target = first(specimen, model, x)
    found = deep_lift.explain(model, several(x), baselines=several(x0), target=target)
    with torch.no_grad():
        y1, y0 = (model(*v).double().reshape(len(v[0]), -1)[:, 0] for v in (x, x0))
    return found, y1 - y0


def total(found: Explanation) -> Tensor:
    return sum(a.double().flatten(1).sum(1) for a in tuples(found.attribution))


# ---------------------------------------------------------------- completeness


@pytest.mark.parametrize("name", ZOO)
def test_complete_in_float64(name):
    torch.manual_seed(1)
    found, change = explained(ZOO[name](), torch.float64)
    assert float((total(found) - change).abs().max()) <= 1e-10 * float(change.abs().max())
    assert float(found.delta.abs().max()) <= 1e-10 * float(change.abs().max())


@pytest.mark.parametrize("name", ZOO)
def test_complete_in_float32(name):
    torch.manual_seed(2)
    specimen = ZOO[name]()
    found, change = explained(specimen, torch.float32)
    allowed = 2e-5 if specimen.deep else 1e-5
    assert float((total(found) - change).abs().max()) <= allowed * float(change.abs().max())


@pytest.mark.parametrize("name", ZOO)
def test_complete_for_tiny_changes(name):
    """The change is below float32's reach: the error is that of rounding f itself, a few hundred times at most."""
    torch.manual_seed(3)
    found, change = explained(ZOO[name](), torch.float32, tiny=1e-5)
    assert float((total(found) - change).abs().max()) <= 200 * EPS * float(found.prediction.abs().max())


@pytest.mark.parametrize("name", ZOO)
def test_inputs_that_do_not_change_get_nothing_and_multipliers_stay_finite(name):
    torch.manual_seed(4)
    specimen = ZOO[name]()
    model, x = specimen.like(torch.float64), specimen.inputs()
    target = first(specimen, model, x)
    for t in tuples(deep_lift(model, several(x), baselines=several(x), target=target)):
        assert not t.any()
    for m in tuples(
        deep_lift(model, several(x), baselines=several(x), target=target, multiply_by_inputs=False)
    ):
        assert bool(m.isfinite().all())


SMOOTH = ["squeeze_excitation", "global_response_norm", "transformer_encoder", "lstm", "gru", "softmax_output", "contractions"]  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_without_a_change_the_multipliers_are_the_gradient(name):
    torch.manual_seed(5)
    specimen = ZOO[name]()
    model, (x,) = specimen.like(torch.float64), specimen.inputs()
    m = deep_lift(model, x, baselines=x, target=0, multiply_by_inputs=False)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)
    torch.testing.assert_close(m, expected, rtol=1e-6, atol=1e-10)


def test_the_zoo_is_as_large_as_promised():
    assert len(ZOO) >= 25


# ---------------------------------------------------------------- rows, chunks, targets


@pytest.mark.parametrize("name", ["residual_net", "transformer_encoder", "lstm", "in_place", "softmax_output", "two_branches"])  # fmt: skip
def test_rows_and_chunks_do_not_matter(name):
    torch.manual_seed(0)
    specimen = ZOO[name]()
    model, x, x0 = specimen.like(torch.float64), specimen.inputs(5), specimen.inputs(5)
    whole = tuples(deep_lift(model, several(x), baselines=several(x0), target=1))
    for size in (1, 2, 3):
        parts = tuples(deep_lift(model, several(x), baselines=several(x0), target=1, batch_size=size))
        torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-13)
    alone = tuples(deep_lift(model, several(tuple(t[3:4] for t in x)), baselines=several(tuple(t[3:4] for t in x0)), target=1))  # fmt: skip
    torch.testing.assert_close(alone, tuple(t[3:4] for t in whole), rtol=1e-10, atol=1e-13)


def test_many_targets_are_each_what_they_are_alone():
    torch.manual_seed(0)
    specimen = ZOO["residual_net"]()
    model, (x,) = specimen.like(torch.float64), specimen.inputs(4)

    def squares(y: Tensor) -> Tensor:
        return (y * y).sum(1)

    goals = [0, 2, [0, 1, 2, 0], squares]
    for size in (4, 2, "auto"):
        together = deep_lift.explain(model, x, targets=goals, batch_size=size)
        assert together.attribution.shape == (4, *x.shape)
        for goal, a, delta in zip(goals, together.attribution, together.delta, strict=True):
            alone = deep_lift.explain(model, x, target=goal)
            torch.testing.assert_close(a, alone.attribution, rtol=1e-10, atol=1e-13)
            assert float(delta.abs().max()) < 1e-12


def test_a_function_of_the_output_is_explained_by_secants_too():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    a = deep_lift(lambda v: v * 3, x, target=lambda y: y[:, 0] * y[:, 1])
    assert a.tolist() == [
        [9.0, 9.0]
    ]  # the product 3 * 6, shared half and half; its gradient times x would be 36


def test_predicted_is_settled_at_the_input():
    torch.manual_seed(0)
    specimen = ZOO["residual_net"]()
    model, (x,) = specimen.like(torch.float64), specimen.inputs(6)
    found = deep_lift.explain(model, x, target="predicted", batch_size=2)
    assert found.target.tolist() == model(x).argmax(1).tolist()
    torch.testing.assert_close(found.attribution, deep_lift(model, x, target=model(x).argmax(1).tolist()))


@pytest.mark.parametrize("baselines", [0.25, torch.full((3, 12, 12), 0.25), torch.full((1, 3, 1, 1), 0.25), lambda x: x * 0 + 0.25])  # fmt: skip
def test_forms_of_baselines(baselines):
    torch.manual_seed(0)
    specimen = ZOO["residual_net"]()
    model, (x,) = specimen.like(torch.float64), specimen.inputs()
    expected = deep_lift(model, x, baselines=torch.full_like(x, 0.25), target=0)
    b = baselines.double() if isinstance(baselines, Tensor) else baselines
    torch.testing.assert_close(deep_lift(model, x, baselines=b, target=0), expected)


def test_multipliers_times_differences():
    torch.manual_seed(0)
    specimen = ZOO["two_branches"]()
    model, x, x0 = specimen.like(torch.float64), specimen.inputs(), specimen.inputs()
    m = deep_lift(model, x, baselines=x0, target=0, multiply_by_inputs=False)
    a = deep_lift(model, x, baselines=x0, target=0)
    torch.testing.assert_close(a, tuple(k * (s - t) for k, s, t in zip(m, x, x0, strict=True)))


# ---------------------------------------------------------------- a distribution of baselines


@pytest.mark.parametrize("name", ["residual_net", "two_branches", "sequence_tower"])
def test_shap_is_the_mean_over_baselines_with_its_standard_error(name):
    torch.manual_seed(0)
    specimen = ZOO[name]()
    model, x, pool = specimen.like(torch.float64), specimen.inputs(3), specimen.inputs(4)
    target = first(specimen, model, x)
    each = [tuples(deep_lift(model, several(x), baselines=several(tuple(p[k : k + 1] for p in pool)), target=target)) for k in range(4)]  # fmt: skip
    for size in (1, 3, 5, 12, "auto"):
        found = deep_lift_shap.explain(
            model, several(x), baselines=several(pool), target=target, batch_size=size
        )
        for j, (a, error) in enumerate(
            zip(tuples(found.attribution), tuples(found.standard_error), strict=True)
        ):
            draws = torch.stack([e[j] for e in each])
            torch.testing.assert_close(a, draws.mean(0), rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(error, draws.std(0) / 2, rtol=1e-6, atol=1e-9)
        assert float(found.delta.abs().max()) < 1e-10


def test_shap_with_baselines_for_each_sample():
    torch.manual_seed(0)
    specimen = ZOO["residual_net"]()
    model, (x,) = specimen.like(torch.float64), specimen.inputs(3)
    pool = torch.randn(3, 2, *x.shape[1:], dtype=torch.float64)
    found = deep_lift_shap(model, x, baselines=pool, target=0, batch_size=4)
    for n in range(3):
        torch.testing.assert_close(
            found[n : n + 1], deep_lift_shap(model, x[n : n + 1], baselines=pool[n], target=0)
        )


def test_memory_is_bounded_by_the_pairs_in_a_chunk():
    rows: list[int] = []

    def f(x: Tensor) -> Tensor:
        rows.append(len(x))
        return (x.sigmoid() * x).sum(1)

    x, pool = torch.randn(6, 4), torch.randn(7, 4)
    deep_lift_shap(f, x, baselines=pool, batch_size=5)
    assert max(rows) <= 5


# ---------------------------------------------------------------- transforms and types


@pytest.mark.parametrize("name", ZOO)
def test_vmap_over_samples(name):
    torch.manual_seed(0)
    specimen = ZOO[name]()
    model, x, x0 = specimen.like(torch.float64), specimen.inputs(), specimen.inputs()
    target = first(specimen, model, x)

    def one(*values: Tensor) -> tuple[Tensor, ...]:
        rows = tuple(v[None] for v in values)
        a, b = rows[: len(x)], rows[len(x) :]
        return tuple(t[0] for t in tuples(deep_lift(model, several(a), baselines=several(b), target=target)))

    expected = tuples(deep_lift(model, several(x), baselines=several(x0), target=target))
    torch.testing.assert_close(vmap(one)(*x, *x0), expected, rtol=1e-9, atol=1e-12)


PENALISED = ["activations_as_modules", "norms", "transformer_encoder", "lstm", "global_response_norm", "formulas", "two_branches", "masked_attention"]  # fmt: skip


@pytest.mark.parametrize("name", PENALISED)
def test_grad_of_an_attribution_penalty(name):
    torch.manual_seed(0)
    specimen = ZOO[name]()
    model, x, x0 = specimen.like(torch.float64), specimen.inputs(), specimen.inputs()
    parameters = {k: v.detach() for k, v in model.named_parameters()}

    def penalty(p: dict[str, Tensor]) -> Tensor:
        def f(*v: Tensor) -> Tensor:
            return functional_call(model, p, v)

        return sum((a * a).sum() for a in tuples(deep_lift(f, several(x), baselines=several(x0), target=0)))

    slopes = grad(penalty)(parameters)
    way = {k: torch.randn_like(v) for k, v in parameters.items()}
    step = 1e-6
    ends = [penalty({k: v + s * way[k] for k, v in parameters.items()}) for s in (step, -step)]
    along = sum(float((slopes[k] * way[k]).sum()) for k in parameters)
    assert along == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_jacobian_of_attributions_in_the_input():
    x = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    jacobian = jacrev(lambda v: deep_lift(lambda u: u[:, 0] * u[:, 1], v))(x)
    assert jacobian.flatten().tolist() == pytest.approx(
        [-0.1, 0.15, -0.1, 0.15]
    )  # both get half of the product


def test_per_sample_parameters():
    """An ensemble: one attribution per set of parameters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 1)).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    stacks = {k: torch.randn(6, *v.shape, dtype=v.dtype) for k, v in model.named_parameters()}
    together = vmap(lambda p: deep_lift(lambda v: functional_call(model, p, (v,)), x))(stacks)
    for k in range(6):
        one = {name: v[k] for name, v in stacks.items()}
        torch.testing.assert_close(
            together[k], deep_lift(lambda v, p=one: functional_call(model, p, (v,)), x)
        )


def test_predicted_under_a_transform_is_refused():
    x = torch.randn(2, 3)
    with pytest.raises(ValueError, match="predicted"):
        vmap(lambda v: deep_lift(lambda u: u * 2, v[None], target="predicted"))(x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "name", ["residual_net", "transformer_encoder", "squeeze_excitation", "softmax_output"]
)
def test_half_precision(name, dtype):
    torch.manual_seed(0)
    specimen = ZOO[name]()
    model, (x,), (x0,) = specimen.like(dtype), specimen.inputs(dtype=dtype), specimen.inputs(dtype=dtype)
    found = deep_lift.explain(model, x, baselines=x0, target=0)
    assert found.attribution.dtype == dtype
    exact = deep_lift(specimen.like(torch.float64), x.double(), baselines=x0.double(), target=0)
    scale = float(exact.abs().max())
    assert float((found.attribution.double() - exact).abs().max()) < 60 * torch.finfo(dtype).eps * scale


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ZOO)
def test_on_a_gpu(name):
    torch.manual_seed(0)
    specimen = ZOO[name]()
    model, x, x0 = specimen.like(torch.float64), specimen.inputs(), specimen.inputs()
    target = first(specimen, model, x)
    expected = tuples(deep_lift(model, several(x), baselines=several(x0), target=target))
    found = tuples(deep_lift(model.cuda(), several(x), baselines=several(x0), target=target))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


# ---------------------------------------------------------------- purity


@pytest.mark.parametrize("name", ["residual_net", "lstm", "transformer_encoder", "in_place"])
def test_the_model_and_the_inputs_come_back_as_they_were(name):
    specimen = ZOO[name]()
    model, x = specimen.like(torch.float32), specimen.inputs(dtype=torch.float32)
    state, kept = copy.deepcopy(model.state_dict()), tuple(t.clone() for t in x)
    deep_lift(model, several(x), target=0)
    deep_lift_shap(model, several(x), baselines=several(x), target=0)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in state.items())
    assert all(torch.equal(a, b) for a, b in zip(x, kept, strict=True))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())


def test_the_model_comes_back_as_it_was_after_an_error():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    with pytest.raises(NotImplementedError):
        deep_lift(lambda x: model(x).cummax(1).values, torch.randn(2, 3), target=0)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.is_grad_enabled()


# ---------------------------------------------------------------- refusals


def test_an_op_without_a_rule_is_named_with_its_line():
    def f(x):
        return x.cummax(1).values[:, 0]  # no rule

    with pytest.raises(NotImplementedError, match=r"aten\.cummax.*test_deep_lift\.py:\d+ in .*f"):
        deep_lift(f, torch.randn(2, 3))


def test_control_flow():
    f, x = (
        lambda x: x.sum(1) if x.sum() > 0 else -x.sum(1),
        torch.tensor([[1.0, 2.0, 3.0], [1.0, -2.0, -4.0]]),
    )
    with pytest.raises(ValueError, match=r"mixes samples.*a Python `if` on values"):
        deep_lift(f, x)
    with pytest.raises(NotImplementedError, match=r"test_deep_lift.py.*control flow"):
        deep_lift(f, x, batch_size=1)


def test_an_activation_in_a_closed_over_buffer():
    buffer = torch.zeros(2, 3)

    def f(x):
        buffer.copy_(x * 2)
        return buffer.sum(1)

    x = torch.randn(2, 3)
    with pytest.raises(NotImplementedError, match="closes over"):
        deep_lift(f, x)
    assert torch.equal(buffer, 2 * x)  # as any call leaves it: nothing of the recording


def test_a_round_trip_through_numpy():
    def f(x):
        return torch.from_numpy(np.tanh(x.detach().numpy())).sum(1) + x.sum(1)

    with pytest.raises(ValueError, match=r"replay of `f` at `baselines` differs.*NumPy"):
        deep_lift(f, torch.randn(2, 3))
    found = deep_lift.explain(f, torch.randn(2, 3), check=False)
    assert float(found.delta.abs().min()) > 0  # the error is there, as data


def test_memory_written_behind_torchs_back():
    def f(x):
        y = x * 2
        y.detach().numpy()[:, 0] = 7.0
        return y.sum(1)

    with pytest.raises(ValueError, match="replay of `f` at `x` differs"):
        deep_lift(f, torch.randn(2, 3))


def test_a_function_of_time():
    clock = itertools.count()
    with pytest.raises(
        ValueError, match=r"other outputs when the same rows are called again.*counts its calls"
    ):
        deep_lift(lambda x: x.sum(1) * next(clock), torch.randn(2, 3), baselines=1.0)


def test_an_output_that_does_not_depend_on_the_input():
    with pytest.raises(ValueError, match="does not depend"):
        deep_lift(lambda x: torch.ones(len(x)), torch.randn(2, 3))


def test_training_mode_and_engines():
    with pytest.raises(ValueError, match="eval"):
        deep_lift(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)), torch.randn(2, 3))
    with pytest.raises(ValueError, match="`engine`"):
        deep_lift(lambda x: x.sum(1), torch.randn(2, 3), engine="func")


def test_shares_of_ops_add_up():
    torch.manual_seed(0)
    specimen = ZOO["squeeze_excitation"]()
    model, (x,) = specimen.like(torch.float64), specimen.inputs()
    rows = op_shares(model, x, target=1)
    found = deep_lift.explain(model, x, target=1)
    change = float((found.prediction - model(x * 0)[:, 1]).detach().sum())
    assert rows[-1].change == pytest.approx(change)
    assert sum(r.residual for r in rows) == pytest.approx(-float(found.delta.sum()), abs=1e-13)
    assert F.silu.__name__ in {r.op.split(".")[1] for r in rows}


@pytest.mark.parametrize("inplace", [False, True])
def test_a_few_large_samples_are_replayed_a_few_at_a_time(inplace: bool) -> None:
    """Also a job of few rows is measured, in the trial."""
    f = nn.Sequential(
        *(nn.Linear(3, 500_000), nn.ReLU(inplace), nn.Unflatten(1, (5, 100_000)), nn.AvgPool1d(100_000)),
        nn.Flatten(),
    )
    x, pool = torch.randn(20, 3), torch.rand(9, 3)
    seen: list[int] = []
    f.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    alone = deep_lift(f, x, baselines=pool[:1], target=1)
    # 5 x 4 MB a pair in 256 MB, to a power of two; writing in place takes half
    assert seen == ([2, 16, 1, 4] if inplace else [2, 8, 1, 8, 4])
    averaged = deep_lift_shap(f, x[:2], baselines=pool, targets=[0, 1])
    torch.testing.assert_close(alone, deep_lift(f, x, baselines=pool[:1], target=1, batch_size=8))
    torch.testing.assert_close(
        averaged, deep_lift_shap(f, x[:2], baselines=pool, targets=[0, 1], batch_size=8)
    )


def test_an_automatic_batch_size_records_once() -> None:
    """The trial settles the size; a small first chunk would have been recorded for itself."""
    seen: list[int] = []

    def f(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return (x**2).sum(1)

    deep_lift(f, torch.ones(20, 3), baselines=0.5)
    assert seen == [2, 20, 1]  # the trial; recorded; at the shared baseline
    seen.clear()
    deep_lift(f, torch.ones(1, 3), baselines=0.5)
    assert seen == [3, 1, 1]


def test_traced_and_exported_modules_are_like_any_other() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 6, 5), nn.GELU(), nn.MaxPool1d(3, 2), nn.Flatten(), nn.Linear(42, 2))
    net, x = net.double().eval(), torch.randn(3, 4, 20, dtype=torch.float64)
    expected = deep_lift(net, x, target=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit warns of its age
        traced = torch.jit.trace(net, x)
    torch.testing.assert_close(deep_lift(traced, x, target=1), expected)
    exported = torch.export.export(net, (x,)).module()  # takes three rows, no more and no fewer
    torch.testing.assert_close(deep_lift(exported, x, target=1), expected)


def test_what_the_recording_saw_is_used_at_most_once() -> None:
    """Equal chunks share a recording, but not its values: those belong to the first."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).eval(), torch.randn(6, 3)
    whole = deep_lift(net, x, target=0, batch_size=6)
    torch.testing.assert_close(deep_lift(net, x, target=0, batch_size=2), whole)
    writes = lambda t: net(t.clone().mul_(1.0).add_(0.0))  # in place: nothing is kept, all is computed
    torch.testing.assert_close(deep_lift(writes, x, target=0), whole)


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # torch's compiler imports what torch calls old
def test_compiled_replays_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)).double().eval()
    x, pool = torch.randn(5, 3, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    expected = deep_lift_shap(net, x, baselines=pool, targets="all", batch_size=5)
    found = deep_lift_shap(net, x, baselines=pool, targets="all", batch_size=5, compile=True)
    torch.testing.assert_close(found, expected)


def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> object:
        def call(*_: object) -> object:
            raise OSError("no compiler found\nsecond line")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(RuntimeError, match=r"`compile=True` does not work here.*no compiler found$"):
        deep_lift(lambda x: x.tanh().sum(1), torch.randn(2, 3), compile=True)


@pytest.mark.parametrize("kind", ["attention", "lstm"])
def test_under_autocast_it_is_that_of_single_precision(kind):
    """The casts are ops of the graph; values before and after them meet in one rule."""
    torch.manual_seed(0)
    lstm = nn.LSTM(8, 4, batch_first=True).eval()
    f = {"attention": lambda v: F.scaled_dot_product_attention(v, v, v), "lstm": lambda v: lstm(v)[0]}[kind]
    x, target = torch.randn(4, 3, 8), lambda y: y.flatten(1).sum(1)
    expected = deep_lift(f, x, target=target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        try:
            f(x)
        except RuntimeError as error:  # without AMX or AVX-512 oneDNN has no recurrent layers in bfloat16
            pytest.skip(f"this CPU cannot run the model: {error}"[:100])
        found = deep_lift(f, x, target=target)
    assert float((found - expected).abs().max()) < 0.03 * float(expected.abs().max())


def test_a_score_that_is_infinite_at_the_baseline_names_the_baseline():
    with pytest.raises(ValueError, match="at `baselines` for 2 of 2 samples: 0, 1"):
        deep_lift(lambda x: x.log().sum(1), torch.ones(2, 3))


def test_samples_that_are_single_numbers():
    x, pool = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])
    assert deep_lift(lambda t: t * t, x).tolist() == [1.0, 9.0]
    assert deep_lift_shap(lambda t: t * t, x, baselines=pool).tolist() == [0.5, 8.5]


def test_experts_add_up() -> None:
    """Those that are chosen by the input, and those that all answer."""
    torch.manual_seed(0)
    x, experts, gate = torch.randn(20, 3), torch.randn(4, 3, 3), torch.randn(3, 4)

    def routed(x: torch.Tensor) -> torch.Tensor:
        weights, chosen = (x @ gate).topk(2, dim=1)
        answers = (experts[chosen] @ x[:, None, :, None]).squeeze(-1)
        return (answers * weights.softmax(1)[..., None]).sum((1, 2))

    def mixed(x: torch.Tensor) -> torch.Tensor:
        return ((x @ gate).softmax(1)[..., None] * torch.einsum("eij,nj->nei", experts, x)).sum((1, 2))

    for model in (routed, mixed):
        assert deep_lift.explain(model, x, baselines=0.1 * x.flip(0)).delta.abs().max() < 1e-5


def test_compiling_hides_neither_a_missing_rule_nor_missing_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(4, 3)
    with pytest.raises(NotImplementedError, match=r"no DeepLIFT rule for aten.cummax"):
        deep_lift(lambda x: x.cummax(1).values, x, target=0, compile=True)
    sizes: list[int] = []

    def program(self, given):
        sizes.append(len(given[0]))
        if len(given[0]) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return lambda x0, x1, c: (x0.tanh().sum(1), x1.tanh().sum(1), (x1.tanh() / x1)[None])

    monkeypatch.setattr("attrib.engine.secant.replay.Compiled._program", program)
    found = deep_lift(lambda x: x.tanh().sum(1), x, compile=True, multiply_by_inputs=False, batch_size=4)
    assert sizes == [4, 2, 1]
    assert torch.equal(found, x.tanh() / x)
