"""Bringing pictures to a model's size and maps back to the picture's, with half-pixel centres both ways.

    resized, placement = fit_image(image, (256, 256), "letterbox")
    probability = placement.restore(model_output)      # at the picture's size again

Nothing here reads a file or knows a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from edge_deeplab import kernels

Fit = Literal["stretch", "letterbox"]

# Mid-grey: the zero of a network whose input is -1..1, so padding excites nothing (as the official DeepLab pads).
LETTERBOX_VALUE = 128
# How far one bilinear step may shrink a side: of 2.5 pixels it sees two. 720p needs one step less than with 2 and
# loses nothing: trimap IoU 0.7879 against 0.7874, boundary F 0.7588 against 0.7576 on portraits of that size.
LAST_STEP = 2.5


@dataclass(frozen=True)
class Placement:
    """Where a picture lies inside the resized one: what it takes to bring a map back.

    Attributes:
        source_hw: height and width of the picture as it came.
        target_hw: height and width it was brought to, padding included.
        top, left: first row and column of the picture inside the target, pixels.
        inner_hw: height and width of the picture inside the target, without padding.
    """

    source_hw: tuple[int, int]
    target_hw: tuple[int, int]
    top: int
    left: int
    inner_hw: tuple[int, int]

    @classmethod
    def plan(
        cls, source_hw: tuple[int, int], target_hw: tuple[int, int], fit: Fit | str, *, align: int = 1
    ) -> Placement:
        """Decides where a picture of source_hw goes in target_hw; "letterbox" keeps its shape and centres it.

        align: the picture's first row and column and its size are multiples of it (a model's output stride, so that
            `crop` of the output is exact), which may change its shape by half of that.
        """
        if fit not in get_args(Fit):
            raise ValueError(f"fit is {fit!r}; allowed: {', '.join(get_args(Fit))}")
        if min(*source_hw, *target_hw) < 1:
            raise ValueError(f"sizes must be positive: source {source_hw}, target {target_hw}")
        if fit == "stretch":
            return cls(source_hw, target_hw, 0, 0, target_hw)
        scale = min(target_hw[0] / source_hw[0], target_hw[1] / source_hw[1])
        height, width = (
            max(align, min(target // align * align, round(source * scale / align) * align))
            for source, target in zip(source_hw, target_hw, strict=True)
        )
        top, left = (
            (target - inner) // (2 * align) * align for target, inner in zip(target_hw, (height, width), strict=True)
        )
        return cls(source_hw, target_hw, top, left, (height, width))

    @property
    def has_padding(self) -> bool:
        """Whether some of the target is not the picture."""
        return self.inner_hw != self.target_hw

    def crop(self, array: np.ndarray) -> np.ndarray:
        """The part of a map that covers the picture, as a view, cut at whole map pixels.

        array: (h, w) or (h, w, C) over the whole target, at the target's resolution or another one.
        Returns: (h', w', ...); where the map is coarser than the target, borders are rounded to its pixels.
        """
        if not self.has_padding:
            return array
        rows, columns = array.shape[0] / self.target_hw[0], array.shape[1] / self.target_hw[1]
        top, bottom = round(self.top * rows), round((self.top + self.inner_hw[0]) * rows)
        left, right = round(self.left * columns), round((self.left + self.inner_hw[1]) * columns)
        top, left = min(top, array.shape[0] - 1), min(left, array.shape[1] - 1)
        return array[top : max(bottom, top + 1), left : max(right, left + 1)]

    def restore(self, array: np.ndarray) -> np.ndarray:
        """Brings a map over the target back to the picture's size: the inverse of fit_image.

        array: (h, w) or (h, w, C) float32, at the target's resolution or a coarser one (output stride).
        Returns: (H, W) or (H, W, C) float32 at source_hw, bilinear; values never leave the range of `array`,
            and the padding never leaks in.
        """
        array = np.asarray(array, np.float32)
        if not self.has_padding:
            return resize_bilinear(array, self.source_hw)
        rows = _axis_taps(array.shape[0], self.target_hw[0], self.top, self.inner_hw[0], self.source_hw[0])
        columns = _axis_taps(array.shape[1], self.target_hw[1], self.left, self.inner_hw[1], self.source_hw[1])
        return _interpolate(_interpolate(array, rows, axis=0), columns, axis=1)

    def restore_labels(self, labels: np.ndarray) -> np.ndarray:
        """As restore, for class indices: the nearest one is taken, dtype kept.

        labels: (h, w) integers. Returns: (H, W) at source_hw.
        """
        rows, columns = (
            np.where(fraction < 0.5, low, high)
            for low, high, fraction in (
                _axis_taps(labels.shape[0], self.target_hw[0], self.top, self.inner_hw[0], self.source_hw[0]),
                _axis_taps(labels.shape[1], self.target_hw[1], self.left, self.inner_hw[1], self.source_hw[1]),
            )
        )
        return labels[rows[:, None], columns[None, :]]


class PictureFitter:
    """Brings pictures to a model's input size, over memory it keeps: for one picture after the other.

    Args:
        size_hw: height and width of the model's input.
        fit, align: as Placement.plan's.
    """

    def __init__(self, size_hw: tuple[int, int], fit: Fit | str = "stretch", *, align: int = 1) -> None:
        self._size_hw, self._fit, self._align = size_hw, fit, align
        self._kept: dict[tuple[int, ...], np.ndarray] = {}
        self._canvas: np.ndarray | None = None

    def fit(self, image: np.ndarray) -> tuple[np.ndarray, Placement]:
        """As fit_image; the picture it gives is valid until the next call, or the image itself."""
        placement = Placement.plan((image.shape[0], image.shape[1]), self._size_hw, self._fit, align=self._align)
        inner = resize_image(image, placement.inner_hw, kept=self._kept)
        if not placement.has_padding:
            return inner, placement
        height, width = placement.inner_hw
        place = np.s_[placement.top : placement.top + height, placement.left : placement.left + width]
        shape = (*self._size_hw, *image.shape[2:])
        if self._canvas is None or self._canvas.shape != shape or self._canvas.dtype != image.dtype:
            self._canvas = np.empty(shape, image.dtype)
        self._canvas.fill(LETTERBOX_VALUE)
        self._canvas[place] = inner
        return self._canvas, placement


def fit_image(
    image: np.ndarray, size_hw: tuple[int, int], fit: Fit | str = "stretch", *, align: int = 1
) -> tuple[np.ndarray, Placement]:
    """Brings a picture to a model's input size.

    image: (H, W) or (H, W, C) uint8, any colour order. align: as Placement.plan's.
    Returns: the picture at size_hw, same dtype (the image itself where the size is right already),
        and the Placement that undoes it.
    """
    return PictureFitter(size_hw, fit, align=align).fit(image)


def resize_image(
    image: np.ndarray, size_hw: tuple[int, int], *, kept: dict[tuple[int, ...], np.ndarray] | None = None
) -> np.ndarray:
    """Resizes a picture without aliasing: bilinear steps that halve a side, then one of LAST_STEP at most.

    A bilinear step of exactly two is the mean of 2 x 2 pixels, so the steps together are close to the area mean of
    cv2.INTER_AREA at a fraction of its time (1280 x 720 to 256 x 256 on one Zen 4 core: 0.32 against 3.1 ms).

    image: (H, W) or (H, W, C) uint8 or float32. kept: memory for what the steps give, by shape; the result lies in it.
    Returns: the same dtype at size_hw; the image itself when it fits.
    """
    while True:
        height, width = image.shape[:2]
        if height <= LAST_STEP * size_hw[0] and width <= LAST_STEP * size_hw[1]:
            return resize_bilinear(image, size_hw, kept=kept)
        # A side that is within a factor of two waits for the last step: each bilinear step softens.
        step_hw = (
            (height + 1) // 2 if height >= 2 * size_hw[0] else height,
            (width + 1) // 2 if width >= 2 * size_hw[1] else width,
        )
        image = resize_bilinear(image, step_hw, kept=kept)


def resize_bilinear(
    array: np.ndarray, size_hw: tuple[int, int], *, kept: dict[tuple[int, ...], np.ndarray] | None = None
) -> np.ndarray:
    """Bilinear resize with half-pixel centres and replicated borders (cv2.INTER_LINEAR, PyTorch's align_corners=False).

    array: (h, w) or (h, w, C) uint8, uint16, int16, float32 or float64; one channel stays one channel.
    kept: arrays by the shape they are resized to; the result is one of them, made where it was missing.
    Returns: the same dtype and number of dimensions at size_hw; the array itself when it has that size.
    Raises: ValueError for another dtype (turn a bool mask into float32 or uint8 first).
    """
    if array.shape[:2] == tuple(size_hw):
        return array
    if array.dtype.char not in "BHhfd":
        raise ValueError(f"dtype {array.dtype} cannot be interpolated; allowed: uint8, uint16, int16, float32, float64")
    shape = (*size_hw, *array.shape[2:])
    memory = None if kept is None else kept.get(shape)
    if memory is not None and memory.dtype != array.dtype:
        memory = None
    resized = np.empty(shape, array.dtype) if memory is None else memory
    resize_into(array, resized)
    if kept is not None:
        kept[shape] = resized
    return resized


def resize_into(array: np.ndarray, resized: np.ndarray) -> None:
    """As resize_bilinear, into an array of the size asked for, of the same dtype and channels."""
    native, size_hw = kernels.native(), resized.shape[:2]
    if native is not None and _is_shrunk_picture(array, size_hw) and kernels.has_rows(array, resized):
        native.shrink(array, resized, cv2.getNumThreads())
        return
    done = cv2.resize(array, size_hw[::-1], dst=resized, interpolation=cv2.INTER_LINEAR)
    if done is not resized:
        resized[:] = done.reshape(resized.shape)  # cv2 drops a channel axis of 1, and makes an array of its own then


def _is_shrunk_picture(array: np.ndarray, size_hw: tuple[int, ...]) -> bool:
    """Whether it is a picture of three channels that gets no larger on either side: what the kernel is for."""
    is_picture = array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3
    return is_picture and array.shape[0] >= size_hw[0] and array.shape[1] >= size_hw[1]


def _axis_taps(
    map_size: int, target_size: int, start: int, inner_size: int, source_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each source pixel along one axis: the two map pixels to mix, and the share of the second.

    The pixels taken all touch the picture's part of the map (start, start + inner_size in target pixels).
    """
    ratio = map_size / target_size
    centres = (start + (np.arange(source_size) + 0.5) * (inner_size / source_size)) * ratio - 0.5
    first = min(int(np.floor(start * ratio + 1e-9)), map_size - 1)
    last = max(first, min(int(np.ceil((start + inner_size) * ratio - 1e-9)) - 1, map_size - 1))
    centres = np.clip(centres, first, last)
    low = np.floor(centres).astype(np.intp)
    return low, np.minimum(low + 1, last), (centres - low).astype(np.float32)


def _interpolate(array: np.ndarray, taps: tuple[np.ndarray, np.ndarray, np.ndarray], *, axis: int) -> np.ndarray:
    low, high, fraction = taps
    share = fraction.reshape([-1 if index == axis else 1 for index in range(array.ndim)])
    below = array.take(low, axis)
    return below + (array.take(high, axis) - below) * share
