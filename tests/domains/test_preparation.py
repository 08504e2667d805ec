"""An image as a network's input, as transformers prepares it, and back to the image's pixels."""

import json

import numpy as np
import pytest

from attrib.domains.preparation import Preparation, preparation_of

Image = pytest.importorskip("PIL.Image")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


CONFIGS = {
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 28}, "crop_pct": 0.875},
    "convnext, large": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 24}, "resample": 2},
    "number": {"feature_extractor_type": "ViTFeatureExtractor", "size": 16, "resample": 2},
    "crop": {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 30}, "do_center_crop": True,
        "crop_size": {"height": 21, "width": 24}, "resample": 3,
    },
}  # fmt: skip


@pytest.mark.parametrize("size", [(40, 64), (65, 33), (20, 20), (37, 50)])
@pytest.mark.parametrize("name", CONFIGS)
def test_images_are_prepared_as_transformers_does(name: str, size: tuple[int, int]) -> None:
    transformers = pytest.importorskip("transformers")
    stats = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}
    config = CONFIGS[name] | stats
    kinds = {
        "convnext": "ConvNext",
        "convnext, large": "ConvNext",
        "vit": "ViT",
        "number": "ViT",
        "crop": "CLIP",
    }
    processor = getattr(transformers, f"{kinds[name]}ImageProcessorPil", None)
    if processor is None:
        pytest.skip("a release of transformers without processors on Pillow")
    given = {k: v for k, v in config.items() if not k.endswith("_type")}
    image = picture(*size)
    theirs = processor(**given)(Image.fromarray(image), return_tensors="np")["pixel_values"][0]
    saved = json.loads(processor(**given).to_json_string()) | {
        "image_processor_type": f"{kinds[name]}ImageProcessor"
    }
    for described in (config, saved):
        ours = preparation_of(described).apply(image)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 1e-5


PREPARATIONS = {
    "as it is": Preparation(),
    "shorter side": Preparation(shortest=32),
    "shorter side and middle": Preparation(shortest=32, crop=(28, 28)),
    "squeezed": Preparation(square=(24, 40)),
    "odd middle": Preparation(shortest=33, crop=(20, 25)),
    "padded": Preparation(crop=(70, 90)),
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


def test_sizes_that_cannot_be_understood() -> None:
    with pytest.raises(ValueError, match="preprocessor's size"):
        preparation_of({"size": {"longest_edge": 3}})
    assert preparation_of({"size": {"height": 8, "width": 9}, "do_resize": False}).square is None
