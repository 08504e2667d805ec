"""From an image to a network's input, and from attributions of the input back to the image's pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from attrib._install import install_hint
from attrib._memory import refuse_what_cannot_fit

Resize: TypeAlias = Callable[[np.ndarray, tuple[int, int], int], np.ndarray]


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
