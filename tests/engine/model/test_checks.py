"""What a watched call measures."""

import pytest
import torch
import torch.nn.functional as F

from attrib.engine.model.checks import Watch


def test_bytes_of_new_tensors_that_hold_values() -> None:
    x = torch.ones(4, 8)
    with Watch() as watch:
        y = (x + 1).view(32)  # 128 bytes; the view is not new
        torch.cat([y, y])  # 256 bytes
        torch.empty(1000, 1000, device="meta")  # a shape, no memory
    assert watch.bytes == 384
    assert watch.largest == 256


def test_linear_layers_on_places_are_seen() -> None:
    layer = torch.nn.Linear(8, 2)
    for x, expected in ((torch.ones(4, 8), False), (torch.ones(4, 3, 8), True)):
        with Watch() as watch:
            layer(x)
        assert watch.on_places is expected


OWN = torch.Generator().manual_seed(0)
DRAWS = {  # that leave torch's own generator as it was: behind fork_rng, or with another
    "rrelu": lambda x: F.rrelu(x, training=True),
    "gamma": lambda x: torch.distributions.Gamma(x + 1, 1.0).sample(),
    "dirichlet": lambda x: torch.distributions.Dirichlet(x + 1).sample(),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
    "native dropout": lambda x: torch.native_dropout(x, 0.5, True)[0],
    "fractional pooling": lambda x: F.fractional_max_pool2d(x[None], 2, output_size=3),
    "op": lambda x: x + torch.ops.aten.randn([8]),
    "op with a generator": lambda x: torch.ops.aten.poisson(x, OWN),
    "overload": lambda x: torch.ops.aten.rrelu.default(x, 0.1, 0.3, True, OWN),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_that_put_the_generator_back_are_suspected(name: str) -> None:
    with Watch(ops=False, device=torch.device("cpu")) as watch, torch.random.fork_rng(devices=[]):
        DRAWS[name](torch.ones(8, 8))
    assert watch.suspect


def test_functions_that_draw_nothing_are_not_suspected() -> None:
    x = torch.ones(8, 8)
    with Watch(ops=False, device=torch.device("cpu")) as watch:
        F.rrelu(x), F.dropout(x, 0.5, False), F.dropout(x, training=False), torch.dropout(x, 0.5, train=False)
        F.scaled_dot_product_attention(x, x, x), torch.ops.aten.relu(x), torch.nn.RReLU().eval()(x)
    assert not watch.suspect


@pytest.mark.parametrize("op", [torch.ops.aten.batch_norm, torch.batch_norm])
def test_the_op_of_batch_norm_is_refused_as_its_function(op) -> None:
    with pytest.raises(ValueError, match="statistics of the batch"), Watch(ops=False):
        op(torch.ones(4, 3), None, None, None, None, True, 0.1, 1e-5, False)
