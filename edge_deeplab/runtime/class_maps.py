"""What a model's raw output says: class probabilities, the person's matte, the class of each pixel.

    reader = make_reader(manifest, engine.outputs[0])
    matte = reader.matte(raw)          # (h, w) float32

Every path gives dequantize -> activation to float rounding; the quick ones look it up in a table of all raw values.
Nothing here runs a model. What is returned belongs to the caller and shares no memory with `raw`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from edge_deeplab import kernels
from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.interpreter import TensorInfo
from edge_deeplab.runtime.quantized_values import dequantize, real_table

_PLANE_LIMIT = 64  # above it, np.argmax over the contiguous last axis is as fast as going plane by plane
_SCALAR_PIXELS = 4  # OpenCV's binding takes an array of up to 4 numbers for a scalar


class OutputReader(Protocol):
    """Reads a raw output (h, w, C), or (h, w) for a label map."""

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Returns: (h, w, classes) float32."""

    def matte(self, raw: np.ndarray) -> np.ndarray:
        """Returns: (h, w) float32 in 0..1, 1 is person. The manifest must know the person."""

    def classes(self, raw: np.ndarray) -> np.ndarray:
        """Returns: (h, w) uint8, int32 above 256 classes; the first of equals wins."""


def make_reader(manifest: Manifest, output: TensorInfo) -> OutputReader:
    """The reader that fits a manifest and an output tensor.

    Raises: ModelError when the two contradict each other, saying what the output would have to be.
    """
    shape, classes = output.shape, len(manifest.labels)
    if manifest.activation == "argmax":
        if len(shape) == 3 or (len(shape) == 4 and shape[3] == 1):
            return LabelMapReader(manifest)
        raise ModelError(f"the output is no label map: {output}", allowed="1 x h x w for the activation argmax")
    if len(shape) != 4:
        raise ModelError(f"the output is no map of classes: {output}", allowed="1 x h x w x classes")
    if output.dtype.name not in ("float32", "uint8", "int8", "int16"):
        raise ModelError(f"the output has an unknown type: {output}", allowed="float32, uint8, int8, int16")
    if output.dtype != np.float32 and (output.quantization is None or output.quantization.axis is not None):
        raise ModelError(
            f"the output has no single scale and zero point: {output}", next_step="convert the model again"
        )
    if shape[3] == 1 and classes == 2 and manifest.activation != "softmax":
        return ForegroundReader(manifest, output)
    if shape[3] != classes or (shape[3] == 1 and manifest.activation == "softmax"):
        raise ModelError(
            f"the labels do not fit the output: {output}", came=f"{classes} labels, activation {manifest.activation}",
            allowed="as many labels as channels, or 2 labels for one channel of sigmoid or none",
        )  # fmt: skip
    return ChannelsReader(manifest, output)


class LabelMapReader:
    """An output that is a label map already (the model ends in ARG_MAX)."""

    def __init__(self, manifest: Manifest) -> None:
        self._count, self._person = len(manifest.labels), manifest.person_class
        self._dtype = _label_dtype(self._count)

    def classes(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.classes."""
        return raw.reshape(raw.shape[:2]).astype(self._dtype)

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.probabilities: 1 for the label, 0 for the rest; all 0 where the label is no class (void)."""
        return (self.classes(raw)[..., np.newaxis] == np.arange(self._count)).astype(np.float32)

    def matte(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.matte: 0 or 1."""
        return (raw.reshape(raw.shape[:2]) == self._person).astype(np.float32)


class ForegroundReader:
    """One channel that speaks of labels[1]; labels[0] is its complement (MediaPipe's selfie model)."""

    def __init__(self, manifest: Manifest, output: TensorInfo) -> None:
        self._lookup = _Lookup(output, manifest.activation)
        self._is_person = manifest.person_class == 1

    def _foreground(self, raw: np.ndarray) -> np.ndarray:
        return self._lookup.activated(raw.reshape(raw.shape[:2]))

    def classes(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.classes."""
        return (self._foreground(raw) > 0.5).astype(np.uint8)

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.probabilities."""
        foreground = self._foreground(raw)
        return np.stack([1 - foreground, foreground], axis=-1)

    def matte(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.matte."""
        foreground = self._foreground(raw)
        return foreground if self._is_person else 1 - foreground


class ChannelsReader:
    """One channel per class: logits (softmax, sigmoid) or probabilities (none)."""

    def __init__(self, manifest: Manifest, output: TensorInfo) -> None:
        self._lookup = _Lookup(output, manifest.activation)
        self._is_softmax = manifest.activation == "softmax"
        self._count = len(manifest.labels)
        self._person = manifest.person_class
        self._pairs: np.ndarray | None = None
        if self._is_softmax and self._count == 2 and self._person is not None and self._lookup.table is not None:
            self._pairs = _pair_table(self._lookup.table, self._person)

    def classes(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.classes. Raw values are compared: scale and activation keep their order."""
        pixels = raw.shape[0] * raw.shape[1]
        if self._count > _PLANE_LIMIT or raw.dtype == np.int16 or pixels <= _SCALAR_PIXELS:
            return raw.argmax(axis=-1).astype(_label_dtype(self._count))
        planes = cv2.split(raw)
        best, labels = planes[0], np.zeros(raw.shape[:2], np.uint8)
        for index, plane in enumerate(planes[1:], start=1):
            is_better = cv2.compare(plane, best, cv2.CMP_GT)  # 255 where true
            labels = cv2.max(labels, cv2.bitwise_and(is_better, index))  # indices only grow, so max is assignment
            best = cv2.max(best, plane)
        return labels

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.probabilities."""
        if not self._is_softmax:
            return self._lookup.activated(raw)
        real = self._lookup.real(raw)
        powers = np.exp(real - real.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def matte(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.matte."""
        person = self._person
        assert person is not None  # Segmenter asks the manifest first
        if self._pairs is not None:
            return self._pairs.take(np.ascontiguousarray(raw).view("<u2")[..., 0], mode="clip")  # clip: no bounds pass
        if not self._is_softmax:
            return self._lookup.activated(raw[..., person])
        # softmax of one class is 1 / sum of exp(other - it); an overflow means a probability under 1e-38: 0.
        real = self._lookup.real(raw)
        with np.errstate(over="ignore"):
            if self._count == 2:
                powers = np.exp(real[..., 1 - person] - real[..., person])
                powers += 1
            else:
                difference = real - real[..., person, np.newaxis]
                powers = np.exp(difference, out=difference) @ np.ones(self._count, np.float32)
        return np.reciprocal(powers, out=powers)


class EnlargingReader:
    """An output that ends before its enlargement (trimming.trim_ends): enlarged here, then read as the others are.

    The model's own end enlarges rounded values and rounds again; here it is done in float32.

    Args:
        size_hw: of the maps, at least that of the output.
    """

    def __init__(self, manifest: Manifest, output: TensorInfo, size_hw: tuple[int, int]) -> None:
        self._lookup = _Lookup(output, manifest.activation)
        self._size_wh = size_hw[::-1]
        shape, dtype = (1, *size_hw, output.shape[3]), np.dtype(np.float32)
        self._reader = make_reader(manifest, replace(output, shape=shape, dtype=dtype, quantization=None))
        is_pair = manifest.activation == "softmax" and output.shape[3] == 2
        self._person = manifest.person_class if is_pair else None
        self._sixteenths: np.ndarray | None = None
        is_doubled = size_hw == (2 * output.shape[1], 2 * output.shape[2])
        if self._person is not None and is_doubled and self._lookup.table is not None and output.quantization:
            self._sixteenths = _sixteenths_table(float(output.quantization.scale[0]))

    def classes(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.classes."""
        return self._reader.classes(self._enlarged(raw))

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.probabilities."""
        return self._reader.probabilities(self._enlarged(raw))

    def matte(self, raw: np.ndarray) -> np.ndarray:
        """As OutputReader.matte."""
        if self._person is None:
            return self._reader.matte(self._enlarged(raw))
        native = kernels.native()
        if native is not None and self._sixteenths is not None and kernels.has_rows(raw):
            matte, is_signed = np.empty(self._size_wh[::-1], np.float32), raw.dtype == np.int8
            native.decode_twice_as_large(raw.view(np.uint8), self._sixteenths, matte, self._person, is_signed)
            return matte
        real = self._lookup.real(raw)
        other_minus_person = real[..., 1 - self._person] - real[..., self._person]
        powers = cv2.resize(other_minus_person, self._size_wh, interpolation=cv2.INTER_LINEAR)
        with np.errstate(over="ignore"):
            np.exp(powers, out=powers)
        powers += 1
        return np.reciprocal(powers, out=powers)

    def _enlarged(self, raw: np.ndarray) -> np.ndarray:
        enlarged = cv2.resize(self._lookup.real(raw), self._size_wh, interpolation=cv2.INTER_LINEAR)
        return enlarged.reshape(*self._size_wh[::-1], raw.shape[2])


class _Lookup:
    """Raw values to real ones and to probabilities, by a table of 256 where the raw values have 8 bits."""

    def __init__(self, output: TensorInfo, activation: str) -> None:
        self._activation = activation
        self._quantization = output.quantization if output.dtype != np.float32 else None
        self.table: np.ndarray | None = None
        self._activated_table: np.ndarray | None = None
        if self._quantization is not None and output.dtype.itemsize == 1:
            self.table = real_table(output.dtype, self._quantization)
            if activation in ("sigmoid", "none"):
                self._activated_table = _activate(self.table, activation)

    def real(self, raw: np.ndarray) -> np.ndarray:
        """Returns: float32 of the same shape; `raw` itself when it is float32."""
        if self._quantization is None:
            return raw
        if self.table is None:
            return dequantize(raw, self._quantization)
        return _look_up(raw, self.table)

    def activated(self, raw: np.ndarray) -> np.ndarray:
        """Returns: float32 in 0..1 of the same shape, each value on its own (sigmoid or none)."""
        if self._activated_table is not None:
            return _look_up(raw, self._activated_table)
        return _activate(self.real(raw), self._activation)


def _look_up(raw: np.ndarray, table: np.ndarray) -> np.ndarray:
    flat = np.ascontiguousarray(raw).view(np.uint8).reshape(raw.shape[0], -1)  # cv2 counts channels; a table has none
    return cv2.LUT(flat, table).reshape(raw.shape)


def _activate(real: np.ndarray, activation: str) -> np.ndarray:
    if activation == "none":
        return np.clip(real, 0, 1)  # a quantized probability may lie a step outside
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-real))


def _pair_table(table: np.ndarray, person: int) -> np.ndarray:
    """The person's probability of every two 8-bit logits.

    table: (256,) float32, the real value of a raw one.
    Returns: (65536,) float32; the index is the two raw bytes read as one little-endian number.
    """
    first, second = table[np.newaxis, :], table[:, np.newaxis]  # the low byte is channel 0
    other_minus_person = (first - second) if person == 1 else (second - first)
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(other_minus_person))).reshape(-1)


def _sixteenths_table(scale: float) -> np.ndarray:
    """The person's probability of every difference of two 8-bit logits, the person's less the other, in sixteenths.

    Enlarging by two mixes four differences by weights that are sixteenths, so these are all there can be.

    Returns: (1, 8161) float32, from -255 to 255.
    """
    differences = np.arange(-255 * 16, 255 * 16 + 1) * (scale / 16)
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-differences))).astype(np.float32)[np.newaxis]


def _label_dtype(count: int) -> type:
    return np.uint8 if count <= 256 else np.int32
