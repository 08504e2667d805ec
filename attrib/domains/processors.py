"""From an image to a network's input, also as the processors of Hugging Face and timm do it by their configs, and back to pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from attrib._arguments import near, refuse_what_cannot_fit
from attrib._install import install_hint

HALF, IMAGENET, CLIP = (
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
)
WARPED_FROM = 384  # ConvNeXt's processor crops below this size and squeezes from it on
LARGEST = 100_000  # pixels of a side

Resize: TypeAlias = Callable[[np.ndarray, tuple[int, int], int], np.ndarray]


class Defaults(NamedTuple):
    """What a processor does where its config says nothing.

    Attributes
    ----------
    size : int or (int, int)
        Of the shorter side, or height and width.
    stats : pair of tuples
        Mean and standard deviation.
    resample : int
    crop : int or None
        Side of the middle that is cut out.
    shorter : bool
        Whether a `size` that is a number is the shorter side; else it is both.
    crops : bool
        Whether the middle is cut out.
    normalizes : bool
    """

    size: int | tuple[int, int]
    stats: tuple[tuple[float, ...], tuple[float, ...]] = HALF
    resample: int = 3
    crop: int | None = None
    shorter: bool = False
    crops: bool = False
    normalizes: bool = True


PROCESSORS = {
    "Beit": Defaults((224, 224), crop=224),
    "Bit": Defaults(224, CLIP, crop=224, shorter=True, crops=True),
    "Blip": Defaults((384, 384), CLIP),
    "CLIP": Defaults(224, CLIP, crop=224, shorter=True, crops=True),
    "ChineseCLIP": Defaults(224, CLIP, crop=224, shorter=True, crops=True),
    "ConvNext": Defaults(384, shorter=True),
    "DPT": Defaults((384, 384)),
    "DeiT": Defaults((256, 256), crop=224, crops=True),
    "EfficientNet": Defaults((346, 346), crop=289),
    "Flava": Defaults((224, 224), CLIP, crop=224, crops=True),
    "Gemma3": Defaults((224, 224), resample=2),
    "GotOcr2": Defaults((384, 384), CLIP),
    "Levit": Defaults(224, IMAGENET, crop=224, shorter=True, crops=True),
    "Llava": Defaults(224, CLIP, crop=224, shorter=True, crops=True),
    "MobileNetV1": Defaults(256, resample=2, crop=224, shorter=True, crops=True),
    "MobileNetV2": Defaults(256, resample=2, crop=224, shorter=True, crops=True),
    "MobileViT": Defaults(224, crop=256, shorter=True, crops=True, normalizes=False),
    "Ovis2": Defaults((384, 384), CLIP),
    "OwlViT": Defaults((768, 768), CLIP, crop=768),
    "PPChart2Table": Defaults((1024, 1024), CLIP),
    "PoolFormer": Defaults(224, IMAGENET, crop=224, shorter=True, crops=True),
    "PromptDepthAnything": Defaults((384, 384)),
    "Pvt": Defaults((224, 224), IMAGENET),
    "RTDetr": Defaults((640, 640), IMAGENET, resample=2, normalizes=False),
    "SegGpt": Defaults((448, 448), IMAGENET),
    "Segformer": Defaults((512, 512), IMAGENET, resample=2),
    "Siglip": Defaults((224, 224), shorter=True),
    "SuperPoint": Defaults((480, 640), resample=2, normalizes=False),
    "TextNet": Defaults(640, IMAGENET, resample=2, crop=224, shorter=True),
    "ViT": Defaults((224, 224), resample=2),
}

UNDERSTOOD = {
    "size", "crop_size", "do_resize", "do_center_crop", "do_rescale", "do_normalize", "rescale_factor", "resample", "image_mean", "image_std",
}  # fmt: skip

OWN = {
    "ConvNext": {"crop_pct"}, "PoolFormer": {"crop_pct"}, "EfficientNet": {"include_top", "rescale_offset"},
    "MobileViT": {"do_flip_channel_order"}, "TextNet": {"size_divisor"},
}  # fmt: skip

PLAIN = {"ensure_multiple_of": 1, "min_patches": 1}  # values of keys that then do nothing

WITHOUT_EFFECT = {  # on one RGB image
    "image_processor_type", "feature_extractor_type", "processor_class", "_processor_class", "_valid_processor_keys", "do_convert_rgb",
    "do_reduce_labels", "reduce_labels", "default_to_square", "device", "disable_grouping", "input_data_format", "return_tensors",
    "do_convert_annotations", "format", "annotation_format", "pan_and_scan_min_crop_size", "pan_and_scan_max_num_crops",
    "pan_and_scan_min_ratio_to_activate", "image_seq_length", "backend", "max_patches", "use_covering_area_grid", "prompt_scale_to_meter",
    "input_size_patches", "total_mask_patches", "mask_group_min_patches", "mask_group_max_patches", "mask_group_min_aspect_ratio",
    "mask_group_max_aspect_ratio",
}  # fmt: skip


def preparation_of(config: Mapping[str, Any]) -> Preparation:
    """The preparation that a `preprocessor_config.json` of Hugging Face describes.

    Parameters
    ----------
    config : mapping
        Content of the file. Where it names the processor (`image_processor_type`), what it does not say is that processor's
        default; else it has to say everything.

    Returns
    -------
    Preparation
        Pixels are those of the processor on Pillow, and for a name that ends in Fast its crop; see `is_fast`.

    Raises
    ------
    ValueError
        Naming the key: for processors and settings that are not known, and sizes that mean nothing.

    Examples
    --------
    >>> preparation_of({"image_processor_type": "ViTImageProcessor", "size": 16}).frame(20, 30).size
    (16, 16)
    """
    kind, defaults = _kind(config)
    _refuse_unknown(config, kind)
    shortest, square = _size(config.get("size", defaults.size), defaults.shorter)
    crops = _flag(config, "do_center_crop", defaults.crops)
    crop = _pair(config.get("crop_size", defaults.crop), "crop_size") if crops else None
    shortest, square, crop = _by_processor(kind, config, shortest, square, crop)
    if not _flag(config, "do_resize", True):
        shortest = square = None
    divisor = _whole(config.get("size_divisor", 32), "size_divisor") if kind == "TextNet" else 1
    factor, mean, std = _values(kind, config, defaults)
    return Preparation(
        shortest, square, crop, _resample(config, defaults), factor, mean, std, divisor=divisor,
        middle="round" if is_fast(config) else "floor",
        flip=kind == "MobileViT" and _flag(config, "do_flip_channel_order", True),
    )  # fmt: skip


def is_fast(config: Mapping[str, Any]) -> bool:
    """Whether the config is of a processor on torchvision, which resizes tensors and cuts the middle by rounding."""
    return str(config.get("image_processor_type", "")).endswith("Fast")


def _kind(config: Mapping[str, Any]) -> tuple[str, Defaults]:
    """The processor without the ends of its name, and its defaults; without a name nothing may be left open."""
    key = "image_processor_type" if config.get("image_processor_type") else "feature_extractor_type"
    name = config.get(key)
    if name is None:
        needed = ["size", "do_resize", "resample", "do_rescale", "do_normalize", "do_center_crop"]
        needed += ["rescale_factor"] * bool(config.get("do_rescale"))
        needed += ["image_mean", "image_std"] * bool(config.get("do_normalize"))
        missing = [k for k in needed if k not in config]
        if missing:
            raise ValueError(
                f"`image_processor_type` is missing, and so is `{missing[0]}`: without the processor's name nothing says "
                f"what it is; write all of {', '.join(needed)}, or the name"
            )
        return "ViT", PROCESSORS["ViT"]
    kind = str(name).removesuffix("Fast").removesuffix("Pil")
    kind = kind.removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    if kind not in PROCESSORS:
        raise ValueError(
            f"`{key}` is {name!r}, whose steps are not known; known are {', '.join(PROCESSORS)}, each with ImageProcessor"
        )
    return kind, PROCESSORS[kind]


def _refuse_unknown(config: Mapping[str, Any], kind: str) -> None:
    understood = UNDERSTOOD | OWN.get(kind, set()) | WITHOUT_EFFECT
    for key, value in config.items():
        if key == "data_format" and str(value).endswith(("channels_first", "FIRST")):
            continue
        if PLAIN.get(key) == value or (kind == "Flava" and key.startswith("codebook_")):
            continue
        if key not in understood and value is not None and value is not False:
            raise ValueError(
                f"`{key}` is {value!r}, which is not known of {kind}; the pixels might be others"
            )
    if kind == "ConvNext" and config.get("do_center_crop"):
        raise ValueError("`do_center_crop` is true, which is not known of ConvNext: it crops by `crop_pct`")


def _by_processor(
    kind: str,
    config: Mapping[str, Any],
    shortest: int | None,
    square: tuple[int, int] | None,
    crop: tuple[int, int] | None,
) -> tuple[int | None, tuple[int, int] | None, tuple[int, int] | None]:
    """Sizes as the processor changes them."""
    if kind == "ConvNext" and _flag(config, "do_resize", True):
        if shortest is None:
            raise ValueError(
                f"`size` is {config.get('size')!r}, expected shortest_edge: ConvNext takes nothing else"
            )
        sides, share = (shortest, shortest), _share(config.get("crop_pct") or 224 / 256)
        return (None, sides, crop) if shortest >= WARPED_FROM else (int(shortest / share), None, sides)
    if kind == "PoolFormer" and config.get("crop_pct", 0.9) is not None:
        share = _share(config.get("crop_pct", 0.9))
        if shortest is None and square is not None and square[0] != square[1]:
            return None, (int(square[0] / share), int(square[1] / share)), crop
        return int((shortest or (square or (0, 0))[0]) / share), None, crop
    if kind == "Levit" and shortest is not None:
        return int(256 / 224 * shortest), None, crop
    if kind == "TextNet" and shortest is None and _flag(config, "do_resize", True):
        raise ValueError(
            f"`size` is {config.get('size')!r}, expected shortest_edge: TextNet takes nothing else"
        )
    return shortest, square, crop


def _values(
    kind: str, config: Mapping[str, Any], defaults: Defaults
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Factor, mean and standard deviation, with all steps of the processor folded into them."""
    normal = _flag(config, "do_normalize", defaults.normalizes) and kind != "MobileViT"
    mean = _three(config.get("image_mean") or defaults.stats[0], "image_mean")
    std = _three(config.get("image_std") or defaults.stats[1], "image_std")
    if min(map(abs, std)) == 0:
        raise ValueError(f"`image_std` is {config.get('image_std')}, which cannot be divided by")
    rescales = _flag(config, "do_rescale", True)
    factor = _number(config.get("rescale_factor", 1 / 255), "rescale_factor") if rescales else 1.0
    shift, scale = (mean, std) if normal else ((0.0,) * 3, (1.0,) * 3)
    if kind == "EfficientNet":
        if rescales and _flag(config, "rescale_offset", False):
            shift = tuple(m + 1 for m in shift)
        if _flag(config, "include_top", True):
            scale = tuple(a * b for a, b in zip(scale, std, strict=True))
    return factor, shift, scale


def _resample(config: Mapping[str, Any], defaults: Defaults) -> int:
    value = config.get("resample")
    value = defaults.resample if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 5:
        raise ValueError(f"`resample` is {value!r}, expected Pillow's number of a filter, 0 to 5")
    return value


def _flag(config: Mapping[str, Any], key: str, default: bool) -> bool:
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ValueError(f"`{key}` is {value!r}, expected true or false")
    return value


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"`{key}` is {value!r}, expected a number")
    return float(value)


def _three(value: Any, key: str) -> tuple[float, ...]:
    values = [value] * 3 if isinstance(value, int | float) else value
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ValueError(f"`{key}` is {value!r}, expected three numbers, one per channel")
    return tuple(_number(v, key) for v in values)


def _share(value: Any) -> float:
    share = _number(value, "crop_pct")
    if not 0 < share <= 1:
        raise ValueError(f"`crop_pct` is {value!r}, expected more than 0 and at most 1")
    return share


def _whole(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise ValueError(f"`{key}` is {value!r}, expected a whole number of 1 to {LARGEST} pixels")
    return value


def _size(size: Any, shorter: bool) -> tuple[int | None, tuple[int, int] | None]:
    """The shorter side, or height and width."""
    if isinstance(size, Mapping):
        sides = {k: v for k, v in size.items() if v is not None}
        if set(sides) == {"shortest_edge"}:
            return _whole(sides["shortest_edge"], "size"), None
    elif shorter and isinstance(size, int | float):
        return _whole(size, "size"), None
    return None, _pair(size, "size")


def _pair(size: Any, key: str) -> tuple[int, int]:
    if isinstance(size, Mapping):
        sides = {k: v for k, v in size.items() if v is not None}
        if set(sides) == {"height", "width"}:
            return _whole(sides["height"], key), _whole(sides["width"], key)
        if key == "crop_size" and set(sides) == {"shortest_edge"}:
            return _whole(sides["shortest_edge"], key), _whole(sides["shortest_edge"], key)
    elif isinstance(size, list | tuple) and len(size) == 2:
        return _whole(size[0], key), _whole(size[1], key)
    elif isinstance(size, int | float):
        return _whole(size, key), _whole(size, key)
    raise ValueError(
        f"the preprocessor's `{key}` is {size!r}, expected a number, shortest_edge, or height and width"
    )


FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def timm_preparation(described: Mapping[str, Any]) -> Preparation:
    """The preparation in a `pretrained_cfg` of timm, as `timm.data.create_transform` makes it for evaluation.

    Parameters
    ----------
    described : mapping
        With `input_size`, `mean`, `std`, and optionally `crop_pct`, `crop_mode` and `interpolation`.

    Returns
    -------
    Preparation
        `crop_mode` "center": the shorter side (or a box that is filled) to size / crop_pct, then the middle. "squash": both
        sides to size / crop_pct, then the middle. "border": all of the image into size / crop_pct, with a border of the mean
        colour.

    Raises
    ------
    ValueError
        Naming the key that is missing or not known.
    """
    missing = [k for k in ("input_size", "mean", "std") if not described.get(k)]
    if missing:
        raise ValueError(f"`{missing[0]}` is missing in the model's pretrained_cfg")
    channels, *sides = described["input_size"]
    if channels != 3 or len(sides) != 2:
        raise ValueError(f"`input_size` is {described['input_size']}, expected 3 channels, height and width")
    size = _pair(sides, "input_size")
    mode, filter_name = described.get("crop_mode") or "center", described.get("interpolation") or "bicubic"
    if filter_name not in FILTERS:
        raise ValueError(
            f"`interpolation` is {filter_name!r}, expected one of {', '.join(FILTERS)}{near(filter_name, FILTERS)}"
        )
    share = _share(described.get("crop_pct") or 0.875)
    box = math.floor(size[0] / share), math.floor(size[1] / share)
    mean, std = _three(list(described["mean"]), "mean"), _three(list(described["std"]), "std")
    modes: dict[str, dict[str, Any]] = {
        "squash": {"square": box},
        "border": {"fit": box, "inside": True, "fill": tuple(round(255 * m) for m in mean)},
        "center": {"shortest": box[0]} if box[0] == box[1] else {"fit": box},
    }
    if mode not in modes:
        raise ValueError(f"`crop_mode` is {mode!r}, expected center, squash or border")
    return Preparation(
        crop=size, resample=FILTERS[filter_name], mean=mean, std=std, middle="round", **modes[mode]
    )


def pillow_module() -> Any:
    """Pillow, or an error that says how to install it."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError(f"reading images needs Pillow: {install_hint('cells')}") from error
    return PIL


class Frame(NamedTuple):
    """Where the network's input lies on an image.

    Attributes
    ----------
    image, resized, size : (int, int)
        Height and width of the image, of the image after resizing, and of the network's input.
    offset : (int, int)
        Row and column of the resized image at which the input begins; negative where it is padded.
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int]

    def positions(self, axis: int) -> np.ndarray:
        """Where the image's rows (axis 0) or columns (1) lie on the input, in pixels of the input; between its centres a fraction."""
        n, m = self.image[axis], self.resized[axis]
        return (np.arange(n) + 0.5) * m / n - 0.5 - self.offset[axis]

    def back(self, attributions: np.ndarray) -> np.ndarray:
        """Attributions (..., *size) interpolated to the image's pixels (..., *image); NaN where the network saw nothing."""
        for axis in (0, 1):
            weights = _weights(self.positions(axis), self.size[axis])
            attributions = np.moveaxis(np.moveaxis(attributions, axis - 2, -1) @ weights.T, -1, axis - 2)
        return attributions


def _weights(positions: np.ndarray, size: int) -> np.ndarray:
    """Rows of linear interpolation between `size` centres; NaN beyond the edges of the outer pixels."""
    inside = (positions >= -0.5 - 1e-9) & (positions <= size - 0.5 + 1e-9)
    at = np.clip(positions, 0, size - 1)
    low = np.minimum(np.floor(at).astype(int), max(size - 2, 0))
    rows = np.zeros((len(positions), size))
    rows[np.arange(len(positions)), low] = 1 - (at - low)
    if size > 1:
        rows[np.arange(len(positions)), low + 1] += at - low
    rows[~inside] = np.nan
    return rows


@dataclass(frozen=True)
class Preparation:
    """The steps from an image to a network's input: resize, crop in the middle, rescale, normalise.

    Attributes
    ----------
    shortest, square, fit : int or None, (int, int) or None
        The shorter side after resizing; or height and width; or a box of height and width that the image keeps its shape to
        fill (`inside=False`) or to lie in. With none of these the size stays.
    crop : (int, int) or None
        Height and width of the crop from the middle; smaller images are padded.
    resample : int
        Pillow's number of the filter: 2 linear, 3 cubic.
    factor : float
        Multiplies the values 0 to 255.
    mean, std : tuple of float
        Per channel, after `factor`.
    inside : bool
        See `fit`.
    divisor : int
        Sides after resizing are rounded up to multiples of it.
    middle : {"floor", "round"}
        Where a crop begins if the difference is odd: `"floor"` as most processors do, `"round"` as torchvision does, to the
        even number.
    fill : tuple of int
        Colour of the padding.
    flip : bool
        Whether the network takes blue first.
    resize : callable, optional
        ``(image, (height, width), resample) -> image``; default: Pillow's.
    """

    shortest: int | None = None
    square: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    resample: int = 3
    factor: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    fit: tuple[int, int] | None = None
    inside: bool = False
    divisor: int = 1
    middle: str = "floor"
    fill: tuple[int, int, int] = (0, 0, 0)
    flip: bool = False
    resize: Resize | None = None

    def frame(self, height: int, width: int) -> Frame:
        """Where the input lies on an image of that size.

        Raises
        ------
        ValueError
            If it cannot fit in memory.
        """
        resized = tuple(-(-n // self.divisor) * self.divisor for n in self._resized(height, width))
        size = self.crop or resized
        for n, m in (resized, size):
            refuse_what_cannot_fit(12.0 * n * m, "size", f"an image of {n} x {m} pixels")
        offset = tuple(self._begin(n - m) for n, m in zip(resized, size, strict=True))
        return Frame((height, width), resized, size, offset)  # type: ignore[arg-type]

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.shortest is not None:
            long = int(self.shortest * max(height, width) / min(height, width))
            return (self.shortest, long) if height <= width else (long, self.shortest)
        if self.fit is not None:
            ratios = height / self.fit[0], width / self.fit[1]
            ratio = max(ratios) if self.inside else min(ratios)
            return round(height / ratio), round(width / ratio)
        return self.square or (height, width)

    def _begin(self, spare: int) -> int:
        """Where a crop begins that leaves out so many rows; negative for padding."""
        if self.middle == "floor":
            return spare // 2
        return round(spare / 2) if spare > 0 else -(-spare // 2)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """An RGB image (y, x, 3), unsigned 8 bit, as the network's input (3, *size), float32."""
        frame = self.frame(*image.shape[:2])
        if frame.resized != frame.image:
            image = (self.resize or _by_pillow)(np.ascontiguousarray(image), frame.resized, self.resample)
        values = np.empty((*frame.size, 3), np.float32)
        values[:] = self.fill
        (top, left), (h, w) = frame.offset, frame.size
        part = image[max(0, top) : top + h, max(0, left) : left + w]
        below, right = max(0, -top), max(0, -left)
        values[below : below + part.shape[0], right : right + part.shape[1]] = part
        if self.flip:
            values = values[..., ::-1]
        mean, std = (np.array(v, np.float32) for v in (self.mean, self.std))
        values = (values * np.float32(self.factor) - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def _by_pillow(image: np.ndarray, size: tuple[int, int], resample: int) -> np.ndarray:
    return np.asarray(pillow_module().Image.fromarray(image).resize(size[::-1], resample=resample))
