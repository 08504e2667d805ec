"""An image as a network's input, as transformers prepares it, and back to the image's pixels."""

import numpy as np
import pytest

from attrib.domains.processors import Preparation

Image = pytest.importorskip("PIL.Image")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


PREPARATIONS = {
    "as it is": Preparation(),
    "shorter side": Preparation(shortest=32),
    "shorter side and middle": Preparation(shortest=32, crop=(28, 28)),
    "squeezed": Preparation(square=(24, 40)),
    "odd middle": Preparation(shortest=33, crop=(20, 25)),
    "padded": Preparation(crop=(70, 90)),
    "whole in a box": Preparation(fit=(30, 40), inside=True, crop=(28, 36), middle="round"),
    "a box filled": Preparation(fit=(30, 40), crop=(27, 36), middle="round"),
    "multiples": Preparation(shortest=30, divisor=8),
}


@pytest.mark.parametrize("size", [(40, 64), (65, 33)])
@pytest.mark.parametrize("name", PREPARATIONS)
def test_resize_and_crop_are_inverted(name: str, size: tuple[int, int]) -> None:
    """Each pixel of the input lies where the picture of its place says: images of ramps, prepared, then read back."""
    prepared = PREPARATIONS[name]
    frame = prepared.frame(*size)
    for axis in (0, 1):
        ramp = np.arange(size[axis], dtype=float)
        whole = np.broadcast_to(ramp[:, None] if axis == 0 else ramp, size)
        values = np.asarray(
            Image.fromarray(whole.astype(np.float32)).resize(frame.resized[::-1], resample=2), dtype=float
        )
        (top, left), (h, w) = frame.offset, frame.size
        padded = np.zeros((h, w))
        part = values[max(0, top) : top + h, max(0, left) : left + w]
        padded[max(0, -top) : max(0, -top) + part.shape[0], max(0, -left) : max(0, -left) + part.shape[1]] = (
            part
        )
        back = frame.back(padded)
        assert back.shape == size
        inside = np.isfinite(back)
        inner = inside.copy()
        edge = 2
        inner[:edge] = inner[-edge:] = inner[:, :edge] = inner[:, -edge:] = False
        assert inner.any()
        off = np.abs(back - whole)[inner & _away_from_nan(inside)]
        assert off.max() < 0.3  # a shift of the grid by one cell would be 1 or more
        assert abs((back - whole)[inner & _away_from_nan(inside)].mean()) < 0.02


def _away_from_nan(inside: np.ndarray, by: int = 2) -> np.ndarray:
    found = inside.copy()
    for _ in range(by):
        found[1:-1, 1:-1] &= found[:-2, 1:-1] & found[2:, 1:-1] & found[1:-1, :-2] & found[1:-1, 2:]
    return found


def test_what_the_network_did_not_see_is_nan() -> None:
    frame = Preparation(shortest=32, crop=(28, 28)).frame(
        64, 128
    )  # half the size; 28 of 32 rows, 28 of 64 columns
    back = frame.back(np.ones((2, 28, 28)))
    seen = np.isfinite(back[0])
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert (rows[0], rows[-1] + 1) == (4, 60)
    assert (columns[0], columns[-1] + 1) == (36, 92)
    assert np.array_equal(back[1][seen], np.ones(seen.sum()))


def test_a_spot_comes_back_to_its_pixel() -> None:
    frame = Preparation(shortest=32, crop=(28, 28)).frame(64, 64)
    spot = np.zeros((28, 28))
    spot[5, 20] = 1.0  # centre of resized (7, 22): pixels 14.5 and 44.5 of the image
    y, x = np.unravel_index(np.nanargmax(frame.back(spot)), (64, 64))
    assert (y, x) == (14, 44)


def test_a_size_that_cannot_fit_is_refused_before_memory_is_touched() -> None:
    with pytest.raises(ValueError, match="`size`: an image of 1000000 x 1000000 pixels would take"):
        Preparation(square=(10**6, 10**6)).apply(picture(4, 4))
