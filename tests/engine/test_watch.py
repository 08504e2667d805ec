"""What a watched call measures."""

import torch

from attrib.engine.watch import Watch


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
