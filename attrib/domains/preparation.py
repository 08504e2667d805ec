"""From an image to a network's input, and from attributions of the input back to the image's pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

WARPED_FROM = 384  # ConvNeXt's processor crops below this size and squeezes from it on


def pillow_module() -> Any:
    """Pillow, or an error that says how to install it."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError('reading images needs Pillow: pip install "attrib[cells]"') from error
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
    shortest, square : int or None, (int, int) or None
        The shorter side after resizing, or height and width. With neither the size stays.
    crop : (int, int) or None
        Height and width of the crop from the middle; smaller images are padded with zeros.
    resample : int
        Pillow's number of the filter: 2 linear, 3 cubic.
    factor : float
        Multiplies the values 0 to 255.
    mean, std : tuple of float
        Per channel, after `factor`.
    """

    shortest: int | None = None
    square: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    resample: int = 3
    factor: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def frame(self, height: int, width: int) -> Frame:
        """Where the input lies on an image of that size."""
        resized = self.square or (height, width)
        if self.shortest is not None:
            short = min(height, width)
            long = int(self.shortest * max(height, width) / short)
            resized = (self.shortest, long) if height <= width else (long, self.shortest)
        size = self.crop or resized
        offset = ((resized[0] - size[0]) // 2, (resized[1] - size[1]) // 2)
        return Frame((height, width), resized, size, offset)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """An RGB image (y, x, 3), unsigned 8 bit, as the network's input (3, *size), float32."""
        frame = self.frame(*image.shape[:2])
        if frame.resized != frame.image:
            pillow = pillow_module()
            small = pillow.Image.fromarray(np.ascontiguousarray(image))
            image = np.asarray(small.resize(frame.resized[::-1], resample=self.resample))
        values = np.zeros((*frame.size, 3), np.float32)
        (top, left), (h, w) = frame.offset, frame.size
        part = image[max(0, top) : top + h, max(0, left) : left + w]
        values[max(0, -top) : max(0, -top) + part.shape[0], max(0, -left) : max(0, -left) + part.shape[1]] = (
            part
        )
        mean, std = (np.array(v, np.float32) for v in (self.mean, self.std))
        values = (values * np.float32(self.factor) - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def preparation_of(config: Mapping[str, Any]) -> Preparation:
    """The preparation that a `preprocessor_config.json` of Hugging Face describes.

    Raises
    ------
    ValueError
        For a size that cannot be understood.
    """
    size, convnext = config.get("size"), "convnext" in str(config.get("image_processor_type", config.get("feature_extractor_type", ""))).lower()  # fmt: skip
    shortest, square = _size(size, convnext or "crop_pct" in config)
    crop = _pair(config.get("crop_size")) if config.get("do_center_crop") else None
    if (convnext or "crop_pct" in config) and shortest is not None:
        sides = (shortest, shortest)
        if shortest >= WARPED_FROM:
            shortest, square = None, sides
        else:
            shortest, crop = int(shortest / (config.get("crop_pct") or 224 / 256)), crop or sides
    if not config.get("do_resize", True):
        shortest, square = None, None
        crop = None if convnext and not config.get("do_center_crop") else crop
    normal = config.get("do_normalize", True)
    return Preparation(
        shortest, square, crop,
        resample=int(config.get("resample", 3 if convnext else 2)),
        factor=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
        mean=tuple(config.get("image_mean") or (0.5,) * 3) if normal else (0.0,) * 3,
        std=tuple(config.get("image_std") or (0.5,) * 3) if normal else (1.0,) * 3,
    )  # fmt: skip


def _size(size: Any, shorter: bool) -> tuple[int | None, tuple[int, int] | None]:
    if isinstance(size, Mapping) and size.get("shortest_edge"):
        return int(size["shortest_edge"]), None
    if isinstance(size, int) and shorter:
        return size, None
    return None, _pair(size)


def _pair(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    raise ValueError(
        f"the preprocessor's size is {size!r}, expected a number, shortest_edge, or height and width"
    )
