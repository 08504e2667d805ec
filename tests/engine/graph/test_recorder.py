"""The recorder: what it writes down plays back as what the callable does, and what it cannot see it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn import functional as F

from attrib.engine.graph import evaluate, record
from tests.zoo import ZOO

aten = torch.ops.aten


def names(graph) -> list[str]:
    return [str(node.op) for node in graph.nodes]


def plays_back(f: Callable[..., Tensor], *shape: int, points: int = 3) -> None:
    """A graph recorded at one point gives f at others, and f left its arguments alone."""
    x = torch.randn(*shape, dtype=torch.float64)
    graph = record(f, [x])
    torch.testing.assert_close(graph.value, f(x.clone()))
    for _ in range(points):
        other = torch.randn_like(x)
        torch.testing.assert_close(graph.run([other]), f(other.clone()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ZOO)
def test_plays_back_every_specimen_elsewhere(name):
    torch.manual_seed(0)
    specimen = ZOO[name]()
    model = specimen.like(torch.float64)
    graph = record(model, specimen.inputs())
    others = specimen.inputs()
    with torch.no_grad():
        torch.testing.assert_close(graph.run(others), model(*others), rtol=1e-9, atol=1e-10)


def test_no_op_writes_and_every_value_is_made_before_it_is_read():
    graph = record(ZOO["in_place"]().like(torch.float64), ZOO["in_place"]().inputs())
    assert not any(node.op._schema.is_mutable for node in graph.nodes)
    made = set(graph.inputs) | set(graph.constants)
    for node in graph.nodes:
        assert made.issuperset(node.reads)
        made.update(node.writes)


def test_ops_in_order_and_dead_ones_dropped():
    def f(x):
        x.exp()  # nobody uses it
        return x.sin() + torch.ones(3).cos()

    graph = record(f, [torch.zeros(3)])
    assert names(graph) == ["aten.sin.default", "aten.add.Tensor"]
    assert torch.equal(next(iter(graph.constants.values())), torch.ones(3).cos())


def test_source_is_the_model_line_and_names_layers_of_torch():
    line = test_source_is_the_model_line_and_names_layers_of_torch.__code__.co_firstlineno + 4

    def f(x):
        return F.relu(x)  # four lines below the first

    (node,) = record(f, [torch.ones(2)]).nodes
    assert node.source.file == __file__
    assert node.source.line == line
    assert "f" in node.source.function
    (node,) = record(nn.Sequential(nn.Sequential(nn.ReLU())), [torch.ones(2)]).nodes
    assert node.source.file.endswith("activation.py")
    assert str(node.source).endswith("in ReLU.forward")


def test_decompose_replaces_an_op():
    graph = record(
        lambda x: x.tanh(), [torch.ones(2)], lambda op: (lambda x: x * 2) if op is aten.tanh.default else None
    )
    assert names(graph) == ["aten.mul.Tensor"]
    assert torch.equal(graph.run([torch.ones(2)]), 2 * torch.ones(2))


def test_values_are_freed_after_their_last_use():
    graph = record(lambda x: (x.sin() + x).cos().exp(), [torch.ones(2)])
    freed = [ref for done in graph.last_reads for ref in done]
    assert len(freed) == len(set(freed)) == len(graph.inputs) + len(graph.nodes) - 1
    assert graph.output not in freed


# ---------------------------------------------------------------- writes in place


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.clone().relu_().mul_(2).add_(1),
        lambda x: x.clone().unsqueeze_(0).squeeze_(0).t_() @ x,
        lambda x: x.clone().masked_fill_(torch.eye(4, dtype=torch.bool), 3.0).clamp_(-1, 1),
        lambda x: x.clone().index_put_((torch.tensor([0, 2]),), x[1:3].exp()).zero_() + x,
        lambda x: x.clone().fill_(2.0) * x,
        lambda x: torch.zeros_like(x).copy_(x[:, :1]).cumsum_(0),
        lambda x: torch.add(x, 1, out=torch.empty_like(x)),
        lambda x: torch.zeros(4, 4, dtype=torch.float64).add_(x[0]),
        lambda x: (x * 2).as_strided((3, 3), (4, 1), 5).exp(),
    ],
)
def test_each_write_becomes_its_pure_counterpart(f):
    plays_back(f, 4, 4)


def test_views_see_writes_to_their_base_and_bases_those_to_their_views():
    def f(x):
        y = x * 1
        row, column, flat = y[1], y[:, 2], y.view(-1)
        y.sin_()
        column.mul_(row[0])
        flat[3:9].exp_()
        row += 10
        return y.sum() * flat[0] + column.sum() * row[3]

    plays_back(f, 4, 4)


def test_writes_through_views_of_memory_in_another_order():
    def f(x):
        y = x.t() * 1  # strided as the transpose is
        assert not y.is_contiguous()
        y[1].sin_()
        y[:, 2:].add_(y[:, :2])
        return y

    plays_back(f, 4, 4)


def test_a_constant_keeps_the_values_it_had_when_it_was_read():
    def f(x):
        weight = torch.ones(3, dtype=x.dtype)
        y = x * weight
        weight.mul_(5)
        z = y + x * weight
        weight[1:].copy_(x[1:])  # from here on it depends on the input
        return z * weight

    plays_back(f, 3)


def test_aliases_out_of_torchs_sight_are_followed_through_memory():
    def f(x):
        y = x * 2
        hidden = y.data  # no op says that this is y
        hidden[1:].add_(x[:-1])
        return y * hidden.detach().sin()

    plays_back(f, 5)


def test_unsafe_chunks_written_apart_stay_apart():
    def f(x):
        a, b = x.mul(1).unsafe_chunk(2, 1)
        return a.sigmoid_() * b.tanh_()

    plays_back(f, 3, 4)
    assert not any("index" in n for n in names(record(f, [torch.ones(3, 4)])))


@st.composite
def programs(draw) -> list[tuple]:
    """Steps of a program on a pool of views: ("view", source, how), ("write", target, how) or ("copy", target, source)."""
    kinds = st.sampled_from(["view", "write", "copy", "read"])
    return [
        (draw(kinds), draw(st.integers(0, 5)), draw(st.integers(0, 5)), draw(st.integers(0, 3)))
        for _ in range(draw(st.integers(2, 9)))
    ]


VIEWS = [
    lambda t: t[..., 1:],
    lambda t: t.flatten(),
    lambda t: t[0],
    lambda t: t.movedim(0, -1),
    lambda t: t[::2],
    lambda t: t.unsqueeze(0),
]
WRITES = [Tensor.sin_, Tensor.tanh_, lambda t: t.mul_(1.5), lambda t: t.add_(0.1)]


def interpreted(program: list[tuple], x: Tensor) -> Tensor:
    pool = [x * 1.0, x.cos(), torch.zeros_like(x)]
    total = x.sum()
    for kind, a, b, how in program:
        one, other = pool[a % len(pool)], pool[b % len(pool)]
        if kind == "view" and one.dim() and one.shape[0] > 1 and one.shape[-1] > 1:
            pool.append(VIEWS[(b + how) % len(VIEWS)](one))
        elif kind == "write":
            WRITES[how](one)
        elif kind == "copy" and one.dim():
            one[0] = other.mean()
        else:
            total = total + (one * one).sum()
    return total + sum((how + 1) * t.sum() for how, t in enumerate(pool))


@given(programs())
def test_random_programs_of_views_and_writes_play_back(program):
    torch.manual_seed(0)
    plays_back(lambda x: interpreted(program, x), 3, 4, points=1)


# ---------------------------------------------------------------- what is refused


def refuses(f: Callable[..., Tensor], match: str, *shape: int) -> None:
    with pytest.raises(NotImplementedError, match=match) as caught:
        record(f, [torch.randn(*shape or (3,))])
    assert "test_recorder.py" in str(caught.value)


def test_python_values_taken_from_activations():
    refuses(lambda x: x * x.sum().item(), "Python value")
    refuses(lambda x: x if x.sum() > 0 else -x, "control flow")
    refuses(lambda x: x[: int(x.abs().sum()) + 1], "_local_scalar_dense")


def asserts(x):
    assert torch.isfinite(x).all()
    return x * 2


def raises(x):
    if x.abs().max() > 1e6:
        raise ValueError("out of range")
    return x * 2


def names_it(x):
    if (largest := float(x.max())) > 1e6:
        raise ValueError("out of range")
    return x * largest


def has_another_branch(x):
    if x.sum() > 0:
        raise ValueError("positive")
    elif x.sum() < -1:
        return x * 3
    return x * 2


def test_python_values_that_only_decide_on_an_error_are_fine():
    plays_back(asserts, 3)
    plays_back(raises, 3)
    refuses(names_it, "Python value")
    with pytest.raises(NotImplementedError, match="Python value"):
        record(has_another_branch, [-torch.ones(3)])


def test_python_values_of_constants_are_fine():
    plays_back(lambda x: x * float(torch.ones(3).sum()), 3)


def test_an_activation_written_to_a_closed_over_buffer_leaves_it_as_it_was():
    buffer = torch.zeros(3)

    def f(x):
        buffer.mul_(1).add_(x)
        return buffer * 2

    refuses(f, "closes over")
    assert torch.equal(buffer, torch.zeros(3))
    refuses(lambda x: buffer[1:].copy_(x[1:]), "closes over")


def test_ops_that_swap_memory():
    refuses(lambda x: (x * 1).set_(torch.ones(3).untyped_storage()), "no pure counterpart")
    refuses(lambda x: torch._foreach_mul_([x * 1, x * 2], 2.0) or x, "no pure counterpart")


def test_memory_read_as_another_type():
    def f(x):
        y = x * 1
        bits = y.view(torch.int32)
        y.add_(1)
        return bits.float()

    with pytest.raises(NotImplementedError, match=r"float32 as torch\.int32"):
        record(f, [torch.randn(3)])


def test_a_result_that_is_no_tensor():
    with pytest.raises(TypeError, match="tuple"):
        record(lambda x: (x, x), [torch.randn(3)])


# ---------------------------------------------------------------- purity and transforms


def settings() -> tuple:
    return (
        torch.backends.mha.get_fastpath_enabled(),
        torch._C._get_mkldnn_enabled(),
        torch._C._get_cudnn_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("name", ["lstm", "transformer_encoder", "masked_attention"])
def test_global_settings_and_the_model_come_back_untouched(name):
    specimen = ZOO[name]()
    before, state = settings(), copy.deepcopy(specimen.model.state_dict())
    record(specimen.like(torch.float32), specimen.inputs(dtype=torch.float32))
    assert settings() == before
    assert all(torch.equal(v, specimen.model.state_dict()[k]) for k, v in state.items())
    assert all(p.grad is None for p in specimen.model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in specimen.model.modules())


def test_settings_come_back_after_an_error_inside_a_fused_layer():
    before = settings()
    with pytest.raises(RuntimeError):
        record(nn.LSTM(3, 4), [torch.randn(2, 2, 5)])
    assert settings() == before


def test_inputs_are_not_written_to():
    x = torch.randn(3)
    kept = x.clone()
    record(lambda v: v.relu_(), [x])
    assert torch.equal(x, kept)


def test_fused_layers_are_taken_apart():
    fused = ("mkldnn_rnn", "flash", "native_multi_head", "transformer_encoder_layer", "_cudnn")
    for name in ("lstm", "gru", "multihead_attention", "transformer_encoder", "masked_attention"):
        specimen = ZOO[name]()
        graph = record(specimen.like(torch.float32), specimen.inputs(dtype=torch.float32))
        assert not any(f in n for n in names(graph) for f in fused)


def test_inference_mode_records_the_same_graph():
    specimen = ZOO["residual_net"]()
    model, x = specimen.like(torch.float64), specimen.inputs()
    with torch.inference_mode():
        inside = record(model, x)
    torch.testing.assert_close(inside.run(x), record(model, x).run(x))


def test_a_closed_over_tensor_keeps_its_derivative():
    x = torch.randn(4, 3)

    def loss(weight: Tensor) -> Tensor:
        graph = record(lambda v: torch.tanh(v @ weight.T).sum(1), [x])
        assert len(graph.lifted) == 1
        return graph.run([x]).sum()

    weight = torch.randn(2, 3)
    torch.testing.assert_close(grad(loss)(weight), grad(lambda w: torch.tanh(x @ w.T).sum())(weight))


def test_under_vmap_the_graph_is_that_of_one_example():
    def one(x: Tensor) -> Tensor:
        return record(lambda v: v.sin().sum(0), [x]).run([x])

    x = torch.randn(5, 3)
    torch.testing.assert_close(vmap(one)(x), x.sin().sum(1))
    assert torch.equal(vmap(lambda v: v + evaluate(lambda t: t * 2, [v]))(x), x + 2 * x[0])


def test_transforms_inside_the_callable_are_recorded():
    plays_back(lambda x: vmap(grad(lambda v: v.sin().sum()))(x), 3, 2)
