"""More looks at one picture: sliding windows, several scales, mirrored; each averages probabilities.

    look = Look(scales=(0.75, 1.0, 1.5), flip=True)
    predict = look.over(segmenter.probabilities, crop_hw=segmenter.size_hw, fit=segmenter.manifest.fit)
    report = evaluate_classes(pairs, predict, labels)

A predictor is any callable picture -> map: picture (H, W, 3), uint8 or float32 of 0..255; map (h, w) or (h, w, classes)
float of probabilities over the whole picture, at any resolution. Nothing here knows a framework or a file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.imaging.resize import Placement, resize_bilinear, resize_image

Predict = Callable[[np.ndarray], np.ndarray]

PADDING_COLOUR = 127.5
"""The zero of a network whose input is -1..1, with which the official code fills a picture up to its crop."""
OVERLAP = 1 / 3
SMALLEST_SCALE, LARGEST_SCALE = 0.1, 8.0
LARGEST_OVERLAP = 0.9


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a picture is looked at.

    Attributes:
        scales: the picture's sizes, as factors; each is predicted and all are averaged.
        flip: whether each is predicted mirrored, too.
        window: whether factor 1 is the picture's own size, taken in windows of the model's size. Otherwise factor 1
            is the whole picture at the model's size, as the model takes it alone, and larger factors are taken in
            windows.
        overlap: of neighbouring windows, as a share of a window's side; the last ones of a row or column are moved
            back to end with the picture and overlap more.

    Raises: UsageError for an empty or repeated scale, or a value out of range.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: bool = False
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        in_range = all(SMALLEST_SCALE <= scale <= LARGEST_SCALE for scale in self.scales)
        if not self.scales or not in_range or len(set(self.scales)) < len(self.scales):
            raise UsageError(
                "scales", came=", ".join(f"{scale:g}" for scale in self.scales) or "none",
                allowed=f"one or more different factors in {SMALLEST_SCALE:g}..{LARGEST_SCALE:g}",
            )  # fmt: skip
        _check_overlap(self.overlap)

    @property
    def is_plain(self) -> bool:
        """Whether it is the one look the model takes by itself."""
        return self.scales == (1.0,) and not self.flip and not self.window

    def __str__(self) -> str:
        parts = ["windows"] if self.window else []
        parts += [f"scales {', '.join(f'{scale:g}' for scale in self.scales)}"] if self.scales != (1.0,) else []
        return ", ".join([*parts, *(["mirrored"] if self.flip else [])]) or "one look"

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {"scales": list(self.scales), "flip": self.flip, "window": self.window, "overlap": self.overlap}

    def over(self, predict: Predict, *, crop_hw: tuple[int, int], fit: str = "stretch") -> Predict:
        """A predictor that looks this way through another one.

        Args:
            predict: as the module says; it may resize what it is given to its own size.
            crop_hw: the size at which it sees a picture pixel by pixel, the model's input size.
            fit: how it brings a whole picture to that size, for factors without `window`: as Placement.plan's.
        Returns: `predict` itself where this is the plain look; else a predictor whose maps have the picture's size.
        """
        if self.is_plain:
            return predict

        def in_windows(picture: np.ndarray) -> np.ndarray:
            return sliding_windows(predict, picture, crop_hw, overlap=self.overlap)

        def look(picture: np.ndarray) -> np.ndarray:
            size_hw = (picture.shape[0], picture.shape[1])
            base_hw = size_hw if self.window else Placement.plan(size_hw, crop_hw, fit).inner_hw
            maps = []
            for scale in self.scales:
                # the whole picture goes in as it is: the model's own resize, letterbox and all, is what it was made for
                is_whole = scale == 1.0 and not self.window
                once = picture if is_whole else resize_image(picture, scaled_size(base_hw, scale))
                maps.append(mirrored(predict if is_whole else in_windows, once, flip=self.flip))
            return _mean_at(maps, size_hw)

        return look


def scaled_size(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """A size times a factor, rounded, at least one pixel."""
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def multi_scale(predict: Predict, picture: np.ndarray, scales: Sequence[float], *, flip: bool = False) -> np.ndarray:
    """The mean of a predictor's probabilities over several sizes of a picture, each mirrored, too, where asked.

    predict: one that takes every size (a network of open size, or sliding_windows around one of fixed size).
    scales: factors of the picture's size.
    Returns: (H, W, ...) float32 at the picture's size; where the maps sum to one over classes, so does this.
    Raises: UsageError without a scale; ModelError for maps of another shape.
    """
    if not scales:
        raise UsageError("scales", came="none", allowed="one or more factors")
    size_hw = (picture.shape[0], picture.shape[1])
    maps = [
        mirrored(predict, resize_image(picture, scaled_size(size_hw, scale)), flip=flip) for scale in scales
    ]  # fmt: skip
    return _mean_at(maps, size_hw)


def mirrored(predict: Predict, picture: np.ndarray, *, flip: bool = True) -> np.ndarray:
    """The mean of what a predictor says of a picture and of its mirror image (left and right swapped), mirrored back.

    flip: without it, the prediction alone.
    Returns: (h, w, ...) float32 at the predictor's resolution.
    """
    seen = _checked(predict(picture))
    if not flip:
        return seen
    swapped = _checked(predict(np.ascontiguousarray(picture[:, ::-1])))
    return (seen + swapped[:, ::-1]) / 2


def sliding_windows(
    predict: Predict, picture: np.ndarray, crop_hw: tuple[int, int], *, overlap: float = OVERLAP,
    padding: float | Sequence[float] = PADDING_COLOUR,
) -> np.ndarray:  # fmt: skip
    """Predicts a picture of any size in windows of one size, averaging probabilities where windows overlap.

    A picture smaller than a window on a side is filled up below and to the right, as the official export does it, and
    the map is cut again. Every window lies inside the (filled up) picture: those at its right and lower border end
    with it.

    Args:
        predict: sees pictures of crop_hw alone; its maps may be coarser and are brought to crop_hw, bilinearly with
            half-pixel centres.
        picture: (H, W, 3).
        crop_hw: of a window, pixels.
        overlap: of neighbours, 0..0.9 of a window's side.
        padding: the colour to fill up with, one number or one per channel; rounded for a uint8 picture.
    Returns: (H, W) or (H, W, classes) float32 at the picture's size.
    Raises: UsageError for a size or overlap out of range; ModelError for maps of another shape.
    """
    if min(crop_hw) < 1:
        raise UsageError("window size", came=crop_hw, allowed="1 or more pixels on each side")
    _check_overlap(overlap)
    height, width = picture.shape[:2]
    filled = fill_up(picture, crop_hw, padding)
    rows, columns = (
        window_starts(length, crop, overlap) for length, crop in zip(filled.shape[:2], crop_hw, strict=True)
    )
    total: np.ndarray | None = None
    for top, left in itertools.product(rows, columns):
        window = (slice(top, top + crop_hw[0]), slice(left, left + crop_hw[1]))
        seen = resize_bilinear(_checked(predict(np.ascontiguousarray(filled[window]))), crop_hw)
        if total is None:
            total = np.zeros((*filled.shape[:2], *seen.shape[2:]), np.float32)
        if seen.shape[2:] != total.shape[2:]:
            raise ModelError("maps of one picture differ", came=seen.shape, allowed=(*crop_hw, *total.shape[2:]))
        total[window] += seen
    assert total is not None  # there is at least one window
    counts = np.outer(_counts(rows, crop_hw[0], total.shape[0]), _counts(columns, crop_hw[1], total.shape[1]))
    total /= counts.astype(np.float32).reshape(*counts.shape, *[1] * (total.ndim - 2))
    return total[:height, :width]


def window_starts(length: int, crop: int, overlap: float = OVERLAP) -> list[int]:
    """Where windows begin along one side so that they cover it; the last one ends with it.

    length: of the side, at least crop. Returns: ascending starts, 0 first; [0] where one window is all.
    """
    step = max(1, round(crop * (1 - overlap)))
    count = math.ceil(max(length - crop, 0) / step) + 1
    return [min(number * step, max(length - crop, 0)) for number in range(count)]


def fill_up(
    picture: np.ndarray, size_hw: tuple[int, int], padding: float | Sequence[float] = PADDING_COLOUR
) -> np.ndarray:
    """A picture made at least size_hw by rows below and columns to the right of one colour.

    Returns: (H', W', C) of the same dtype; the picture itself where it is large enough.
    """
    height, width = (max(side, least) for side, least in zip(picture.shape[:2], size_hw, strict=True))
    if (height, width) == picture.shape[:2]:
        return picture
    colour = np.asarray(padding, np.float64)
    if picture.dtype.kind in "iu":
        colour = np.floor(colour + 0.5)
    filled = np.empty((height, width, *picture.shape[2:]), picture.dtype)
    filled[:] = colour.astype(picture.dtype)
    filled[: picture.shape[0], : picture.shape[1]] = picture
    return filled


def _counts(starts: Sequence[int], crop: int, length: int) -> np.ndarray:
    """How many windows cover each pixel along one side, (length,) int."""
    counts = np.zeros(length, np.intp)
    for start in starts:
        counts[start : start + crop] += 1
    return counts


def _mean_at(maps: Sequence[np.ndarray], size_hw: tuple[int, int]) -> np.ndarray:
    resized = [resize_bilinear(one, size_hw) for one in maps]
    total = resized[0].astype(np.float32, copy=True)
    for one in resized[1:]:
        if one.shape != total.shape:
            raise ModelError("maps of one picture differ", came=one.shape, allowed=total.shape)
        total += one
    return total / np.float32(len(resized))


def _checked(seen: np.ndarray) -> np.ndarray:
    if seen.ndim not in (2, 3) or 0 in seen.shape:
        raise ModelError("a map must be (h, w) or (h, w, classes)", came=f"shape {seen.shape}")
    return np.asarray(seen, np.float32)


def _check_overlap(overlap: float) -> None:
    if not 0 <= overlap <= LARGEST_OVERLAP:
        limits = f"0..{LARGEST_OVERLAP:g} of a window's side"
        raise UsageError("overlap of windows", came=f"{overlap:g}", allowed=limits)
