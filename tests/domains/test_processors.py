"""Images as the processors of transformers and timm prepare them, or a refusal that names the key."""

import json
from typing import Any

import numpy as np
import pytest

from attrib.domains.processors import PROCESSORS, Preparation, preparation_of, timm_preparation

Image = pytest.importorskip("PIL.Image")

SIZES = [(257, 301), (300, 451), (40, 64), (65, 33), (224, 224)]


def picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 5)], -1).astype(np.uint8)


SETTINGS: dict[str, list[dict[str, Any]]] = {
    "Beit": [{"size": 40, "do_center_crop": True, "crop_size": 33}, {"do_rescale": False}],
    "Bit": [{"size": {"shortest_edge": 51}, "crop_size": {"height": 40, "width": 48}}, {"do_normalize": False}],
    "CLIP": [{"size": 30, "crop_size": 29, "do_convert_rgb": True}, {"size": {"height": 31, "width": 47}, "crop_size": 40}],
    "ConvNext": [
        {"size": {"shortest_edge": 27}}, {"size": {"shortest_edge": 28}, "crop_pct": 0.95}, {"size": 384},
        {"size": {"shortest_edge": 224}, "do_resize": False},
    ],
    "DPT": [{"size": {"height": 30, "width": 44}}],
    "DeiT": [{"size": 57, "crop_size": 50}, {"do_resize": False}],
    "EfficientNet": [
        {"size": 33}, {"size": 33, "include_top": False}, {"size": 33, "rescale_offset": True, "rescale_factor": 1 / 127.5},
        {"size": 33, "rescale_offset": True, "include_top": False, "do_normalize": False}, {"size": 33, "do_normalize": False},
        {"size": 40, "do_center_crop": True, "crop_size": 31},
    ],
    "Levit": [{"size": {"shortest_edge": 30}, "crop_size": 30}, {"size": {"height": 40, "width": 44}, "crop_size": 33}],
    "Llava": [{"size": {"shortest_edge": 31}, "crop_size": 29}],
    "MobileViT": [
        {"size": {"shortest_edge": 31}, "crop_size": 32}, {"size": 30, "do_flip_channel_order": False, "crop_size": 29},
        {"size": 30, "do_rescale": False},
    ],
    "PoolFormer": [{"size": 40, "crop_size": 37}, {"size": {"height": 40, "width": 40}, "crop_size": 37}, {"crop_pct": 0.8}],
    "Siglip": [{"size": {"height": 41, "width": 29}}, {"image_mean": [0.1, 0.2, 0.3], "image_std": [1.0, 2.0, 0.5]}],
    "TextNet": [{"size": {"shortest_edge": 30}, "size_divisor": 8}, {"size": {"shortest_edge": 30}, "do_center_crop": True, "crop_size": 21}],
    "ViT": [{"size": 30, "resample": 0}, {"size": 30, "resample": 3}, {"size": {"height": 20, "width": 24}}, {"do_resize": False}],
}  # fmt: skip
CASES = [(kind, setting) for kind in PROCESSORS for setting in [{}, *SETTINGS.get(kind, [])]]


def processor(kind: str, setting: dict[str, Any]) -> Any:
    transformers = pytest.importorskip("transformers")
    found = getattr(transformers, f"{kind}ImageProcessorPil", None)
    if found is None:
        pytest.skip(f"a release of transformers without {kind}ImageProcessorPil")
    return found(**setting)


@pytest.mark.parametrize(("kind", "setting"), CASES, ids=[f"{k}-{n}" for n, (k, _) in enumerate(CASES)])
def test_pixels_are_those_of_the_processor(kind: str, setting: dict[str, Any]) -> None:
    theirs = processor(kind, setting)
    saved = json.loads(theirs.to_json_string())
    partial = {"image_processor_type": f"{kind}ImageProcessor", **setting}
    sizes = SIZES if theirs.size is None or ("384" not in str(theirs.size) and "640" not in str(theirs.size)) else SIZES[:1]  # fmt: skip
    for size in sizes:
        image = picture(*size)
        expected = np.asarray(theirs(Image.fromarray(image), return_tensors="np")["pixel_values"][0])
        for described in (saved, partial):
            ours = preparation_of(described).apply(image)
            assert ours.shape == expected.shape
            assert np.abs(ours - expected).max() < 1e-4


REFUSED = {
    "an empty file": ({}, "`image_processor_type` is missing, and so is `size`"),
    "no name and no normalization": ({"size": 8, "do_resize": True, "resample": 2, "do_rescale": True}, "so is `do_normalize`"),
    "another processor": ({"image_processor_type": "DonutImageProcessor"}, "`image_processor_type` is 'DonutImageProcessor'"),
    "an unknown key": ({"image_processor_type": "ViTImageProcessor", "sharpen": 2}, "`sharpen` is 2"),
    "a key of another processor": ({"image_processor_type": "ViTImageProcessor", "do_flip_channel_order": True}, "`do_flip_channel_order`"),
    "padding": ({"image_processor_type": "ViTImageProcessor", "do_pad": True}, "`do_pad` is True"),
    "thumbnails": ({"image_processor_type": "ViTImageProcessor", "size": {"longest_edge": 3}}, "preprocessor's `size`"),
    "two limits": ({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 3, "longest_edge": 9}}, "preprocessor's `size`"),
    "no size": ({"image_processor_type": "ViTImageProcessor", "size": 0}, "`size` is 0, expected a whole number"),
    "half a pixel": ({"image_processor_type": "ViTImageProcessor", "size": 8.5}, "`size` is 8.5"),
    "a huge size": ({"image_processor_type": "ViTImageProcessor", "size": 10**9}, "`size` is 1000000000"),
    "a size of text": ({"image_processor_type": "ViTImageProcessor", "size": "8"}, "`size` is '8'"),
    "a crop of nothing": ({"image_processor_type": "CLIPImageProcessor", "crop_size": -1}, "`crop_size` is -1"),
    "text for a boolean": ({"image_processor_type": "ViTImageProcessor", "do_resize": "no"}, "`do_resize` is 'no', expected true or false"),
    "no deviation": ({"image_processor_type": "ViTImageProcessor", "image_std": [1, 0, 1]}, "`image_std`"),
    "two means": ({"image_processor_type": "ViTImageProcessor", "image_mean": [1, 0]}, "`image_mean`"),
    "a filter": ({"image_processor_type": "ViTImageProcessor", "resample": 17}, "`resample` is 17"),
    "a factor of text": ({"image_processor_type": "ViTImageProcessor", "rescale_factor": "1/255"}, "`rescale_factor`"),
    "more than all": ({"image_processor_type": "ConvNextImageProcessor", "crop_pct": 1.5}, "`crop_pct` is 1.5"),
    "two crops": ({"image_processor_type": "ConvNextImageProcessor", "do_center_crop": True}, "`do_center_crop`"),
    "a multiple": ({"image_processor_type": "DPTImageProcessor", "ensure_multiple_of": 32}, "`ensure_multiple_of` is 32"),
    "an aspect": ({"image_processor_type": "DPTImageProcessor", "keep_aspect_ratio": True}, "`keep_aspect_ratio` is True"),
    "patches": ({"image_processor_type": "GotOcr2ImageProcessor", "crop_to_patches": True}, "`crop_to_patches` is True"),
    "grey": ({"image_processor_type": "SuperPointImageProcessor", "do_grayscale": True}, "`do_grayscale` is True"),
    "a layout": ({"image_processor_type": "ViTImageProcessor", "data_format": "channels_last"}, "`data_format`"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_settings_that_are_not_understood_are_refused_by_key(what: str) -> None:
    config, text = REFUSED[what]
    with pytest.raises(ValueError, match=text):
        preparation_of(config)


def test_every_other_processor_is_refused_or_right() -> None:
    """All that transformers has, as they come: the pixels, or an error."""
    transformers = pytest.importorskip("transformers")
    names = [n for n in dir(transformers) if n.endswith("ImageProcessorPil")]
    image, known = picture(65, 53), 0
    for name in names:
        try:
            theirs = getattr(transformers, name)()
            described = json.loads(theirs.to_json_string())
        except (ImportError, ValueError, TypeError):
            continue  # it needs more than defaults
        try:
            ours = preparation_of(described)
        except ValueError:
            continue
        known += 1
        assert name.removesuffix("ImageProcessorPil") in PROCESSORS
        assert ours.apply(image).ndim == 3
    assert known == len(PROCESSORS) >= 30 or len(names) < 60  # of an older release


def test_a_description_that_says_everything_needs_no_name() -> None:
    config = {
        "size": {"height": 8, "width": 9}, "do_resize": True, "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": False, "do_center_crop": False,
    }  # fmt: skip
    assert preparation_of(config) == Preparation(square=(8, 9), resample=2)


def test_fast_processors_cut_the_middle_by_rounding() -> None:
    """torchvision begins at round((rows - size) / 2), which is the even one of two: 31 - 28 = 3 begins at 2, 29 - 28 at 0."""
    config = {"size": {"shortest_edge": 28}, "crop_pct": 28 / 31}
    fast = preparation_of(config | {"image_processor_type": "ConvNextImageProcessorFast"})
    slow = preparation_of(config | {"image_processor_type": "ConvNextImageProcessor"})
    assert fast.frame(31, 29 * 31 // 29).offset == (2, 2)
    assert slow.frame(31, 29 * 31 // 29).offset == (1, 1)


TIMM = {
    "input_size": (3, 224, 224),
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "interpolation": "bicubic",
}
TIMM_CASES: dict[str, dict[str, Any]] = {
    "crop_pct 0.95": {"crop_pct": 0.95}, "crop_pct 0.875": {"crop_pct": 0.875}, "288": {"input_size": (3, 288, 288), "crop_pct": 0.95},
    "border": {"crop_mode": "border", "crop_pct": 0.95}, "border, 1": {"crop_mode": "border", "crop_pct": 1.0},
    "squash": {"crop_mode": "squash", "crop_pct": 0.9}, "224 x 112": {"input_size": (3, 224, 112), "crop_pct": 0.95},
    "bilinear": {"interpolation": "bilinear", "crop_pct": 1.0}, "no crop_pct": {},
}  # fmt: skip


@pytest.mark.parametrize("name", TIMM_CASES)
def test_pixels_are_those_of_timm(name: str) -> None:
    pytest.importorskip("torchvision")
    data = pytest.importorskip("timm.data")
    described = TIMM | TIMM_CASES[name]
    image = picture(300, 400)
    resolved = data.resolve_data_config(pretrained_cfg=described)
    expected = data.create_transform(**resolved)(Image.fromarray(image)).numpy()
    ours = timm_preparation(described).apply(image)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() < 1e-4


def test_frames_of_timm_by_hand() -> None:
    """300 x 400 pixels. 224 / 0.95 is 235: rows begin at round(11 / 2) = 6, columns at round(89 / 2) = 44. In a box of 235 the
    longer side is 235, the shorter 176: 48 rows of border, 24 above. A box of 235 x 117 is filled at a ratio of 300 / 235."""
    center = timm_preparation(TIMM | {"crop_pct": 0.95}).frame(300, 400)
    assert (center.resized, center.offset) == ((235, 313), (6, 44))
    border = timm_preparation(TIMM | {"crop_pct": 0.95, "crop_mode": "border"})
    assert (border.frame(300, 400).resized, border.frame(300, 400).offset) == ((176, 235), (-24, 6))
    assert np.allclose(border.apply(picture(300, 400))[:, 0, 0], 0, atol=0.01)  # the mean colour, normalised
    narrow = timm_preparation(TIMM | {"crop_pct": 0.95, "input_size": (3, 224, 112)}).frame(300, 400)
    assert (narrow.resized, narrow.offset) == ((235, 313), (6, 100))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mean": None}, "`mean` is missing"), ({"crop_mode": "zoom"}, "`crop_mode` is 'zoom'"), ({"crop_pct": 2}, "`crop_pct` is 2"),
        ({"input_size": (1, 8, 8)}, "`input_size`"), ({"interpolation": "random"}, "`interpolation` is 'random'"),
    ],
)  # fmt: skip
def test_descriptions_of_timm_that_are_not_understood(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        timm_preparation(TIMM | change)
