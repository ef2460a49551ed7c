"""What a server's model does around its network, as TensorFlow operators: fit, classify, bring back, decode, encode.

    probabilities = class_probabilities(network(to_network(fitted, manifest)), manifest)

It is imaging.resize and serving.answers once more, for a program that has neither numpy nor OpenCV. Fitting is theirs
to within one of 255 levels a shrinking step (OpenCV interpolates bytes with 11-bit weights); bringing back is theirs to
float rounding. tests/converters/test_saved_model.py holds the two equal. Nothing here knows a file or a model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from edge_deeplab.errors import ConversionError
from edge_deeplab.imaging.resize import LAST_STEP, LETTERBOX_VALUE
from edge_deeplab.manifest import Manifest

MOST_BYTE_LABELS = 256


class Place(NamedTuple):
    """Where a picture lies inside the model's input; as imaging.resize.Placement, int32 scalars."""

    top: Any
    left: Any
    height: Any
    width: Any


def plan(picture_hw: Any, target_hw: tuple[int, int], fit: str, *, align: int) -> Place:
    """As Placement.plan. picture_hw: (2,) int32."""
    if fit == "stretch":
        return Place(*(tf.constant(number, tf.int32) for number in (0, 0, *target_hw)))
    sides = tf.cast(picture_hw, tf.float64)
    scale = tf.reduce_min(tf.constant(target_hw, tf.float64) / sides)
    whole = tf.constant([side // align * align for side in target_hw], tf.int32)
    wanted = tf.cast(tf.round(sides * scale / align), tf.int32) * align  # halves to even, as Python's round
    inner = tf.maximum(align, tf.minimum(whole, wanted))
    start = (tf.constant(target_hw, tf.int32) - inner) // (2 * align) * align
    return Place(start[0], start[1], inner[0], inner[1])


def fit_pictures(pixels: Any, target_hw: tuple[int, int], fit: str, *, align: int) -> tuple[Any, Place]:
    """As fit_image, for pictures of one size. pixels: (N, H, W, 3) uint8. Returns: (N, h, w, 3) float32 of 0..255."""
    place = plan(tf.shape(pixels)[1:3], target_hw, fit, align=align)
    inner = _shrunk(tf.cast(pixels, tf.float32), tf.stack([place.height, place.width]))
    if fit == "stretch":
        return tf.ensure_shape(inner, (None, *target_hw, 3)), place
    below = target_hw[0] - place.top - place.height
    beside = target_hw[1] - place.left - place.width
    around = [[0, 0], [place.top, below], [place.left, beside], [0, 0]]
    padded = tf.pad(inner, around, constant_values=float(LETTERBOX_VALUE))
    return tf.ensure_shape(padded, (None, *target_hw, 3)), place


def _shrunk(pictures: Any, target_hw: Any) -> Any:
    """As resize_image: bilinear steps that halve a side, then one of LAST_STEP at most, each rounded to a byte."""

    def sides(pictures: Any) -> Any:
        return tf.shape(pictures)[1:3]

    def is_far(pictures: Any) -> Any:
        return tf.reduce_any(tf.cast(sides(pictures), tf.float32) > LAST_STEP * tf.cast(target_hw, tf.float32))

    def step(pictures: Any) -> list[Any]:
        now = sides(pictures)
        return [_resized(pictures, tf.where(now >= 2 * target_hw, (now + 1) // 2, now))]

    (pictures,) = tf.while_loop(is_far, step, [pictures], shape_invariants=[tf.TensorShape((None, None, None, 3))])
    return _resized(pictures, target_hw)


def _resized(pictures: Any, size_hw: Any) -> Any:
    return tf.floor(tf.image.resize(pictures, size_hw, method="bilinear") + 0.5)


def to_network(fitted: Any, manifest: Manifest) -> Any:
    """Pixels 0..255 as the network's real input, by the manifest's formula. Returns: float32, same shape."""
    low, high = manifest.input_range
    slope = np.float32((high - low) / 255 / np.array(manifest.std))
    start = np.float32((low - np.array(manifest.mean)) / np.array(manifest.std))
    return tf.cast(fitted, tf.float32) * slope + start


def class_probabilities(output: Any, manifest: Manifest) -> Any:
    """A network's output as the probability of every class, (N, h, w, classes) float32.

    Raises: ConversionError where output and labels do not fit, or it holds no probabilities.
    """
    output = tf.cast(output, tf.float32)
    classes, channels = len(manifest.labels), output.shape[-1]
    if manifest.activation == "argmax" or output.shape.rank != 4:
        raise ConversionError(
            "the network's output holds no probabilities", came=f"{output.shape}, activation {manifest.activation}",
            allowed="N x h x w x classes with softmax, sigmoid or none",
        )  # fmt: skip
    if manifest.activation == "sigmoid":
        output = tf.sigmoid(output)
    elif manifest.activation == "softmax":
        output = tf.nn.softmax(output)
    if channels == 1 and classes == 2 and manifest.activation != "softmax":
        return tf.concat([1.0 - output, output], -1)
    if channels != classes:
        raise ConversionError("the labels do not fit the output", came=f"{classes} labels, {channels} channels")
    return output


def most_probable(probabilities: Any) -> Any:
    """The most probable class of each pixel, the first of equals. Returns: (N, h, w) uint8, int32 above 256 classes."""
    dtype = tf.uint8 if probabilities.shape[-1] <= MOST_BYTE_LABELS else tf.int32
    return tf.cast(tf.argmax(probabilities, -1, output_type=tf.int32), dtype)


def box_in_map(place: Place, map_hw: tuple[int, int], target_hw: tuple[int, int]) -> Any:
    """The part of a map that covers the picture, cut at whole map pixels as Placement.crop does.

    Returns: (4,) int32: first row, first column, rows, columns.
    """
    starts, sizes = [], []
    for start, inner, side, target in zip(place[:2], place[2:], map_hw, target_hw, strict=True):
        ratio = side / target
        first = tf.minimum(_rounded(start, ratio), side - 1)
        starts.append(first)
        sizes.append(tf.maximum(_rounded(start + inner, ratio), first + 1) - first)
    return tf.stack([*starts, *sizes])


def _rounded(pixels: Any, ratio: float) -> Any:
    return tf.cast(tf.round(tf.cast(pixels, tf.float64) * ratio), tf.int32)


def restore(maps: Any, place: Place, target_hw: tuple[int, int], picture_hw: Any) -> Any:
    """As Placement.restore. maps: (N, h, w, C) float32. Returns: (N, H, W, C) float32 at picture_hw."""
    for axis, side in enumerate(target_hw):
        start, inner = place[axis], place[2 + axis]
        low, high, share = _taps(maps.shape[axis + 1], side, start, inner, picture_hw[axis])
        share = tf.reshape(share, (-1, 1, 1) if axis == 0 else (-1, 1))
        below = tf.gather(maps, low, axis=axis + 1)
        maps = below + (tf.gather(maps, high, axis=axis + 1) - below) * share
    return maps


def _taps(map_side: int, target_side: int, start: Any, inner: Any, picture_side: Any) -> tuple[Any, Any, Any]:
    """For each picture pixel along one axis: the two map pixels to mix, and the share of the second."""
    ratio = map_side / target_side
    start, inner = tf.cast(start, tf.float64), tf.cast(inner, tf.float64)
    places = tf.cast(tf.range(picture_side), tf.float64)
    centres = (start + (places + 0.5) * (inner / tf.cast(picture_side, tf.float64))) * ratio - 0.5
    first = tf.minimum(tf.floor(start * ratio + 1e-9), map_side - 1)
    last = tf.maximum(first, tf.minimum(tf.math.ceil((start + inner) * ratio - 1e-9) - 1, map_side - 1))
    centres = tf.clip_by_value(centres, first, last)
    low = tf.floor(centres)
    high = tf.minimum(low + 1, last)
    return tf.cast(low, tf.int32), tf.cast(high, tf.int32), tf.cast(centres - low, tf.float32)


def decode(data: Any) -> Any:
    """The picture of a JPEG or PNG file, (H, W, 3) uint8, upright. data: scalar string.

    The decoder's settings are OpenCV's: an accurate inverse transform, smooth colour upsampling.
    """
    pixels = tf.io.decode_jpeg(data, channels=3, fancy_upscaling=True, dct_method="INTEGER_ACCURATE")
    return tf.ensure_shape(pixels, (None, None, 3))


def grey_png(levels: Any) -> Any:
    """(H, W) uint8 as the bytes of a PNG file, a scalar string."""
    return tf.io.encode_png(levels[..., tf.newaxis], compression=1)
