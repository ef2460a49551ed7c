"""Quantized values and the real numbers they stand for: real = scale * (raw - zero_point).

    quantization = Quantization.per_tensor(1 / 255, -128)
    real = dequantize(raw, quantization)

Needs numpy alone: the interpreter stands on it, and goes to devices without OpenCV. Source of the arithmetic: the
LiteRT 8-bit quantization specification.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Quantization:
    """Scale and zero point of a tensor, always together.

    Attributes:
        scale: (1,) or (C,) float32, positive.
        zero_point: as many int32.
        axis: the axis the C values run along; None when one pair holds for the whole tensor.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None = None

    @classmethod
    def per_tensor(cls, scale: float, zero_point: int) -> Quantization:
        """One pair for the whole tensor."""
        return cls(np.array([scale], np.float32), np.array([zero_point], np.int32))

    def _along(self, values: np.ndarray, dimensions: int) -> np.ndarray:
        if self.axis is None:
            return values.reshape(())
        return values.reshape([-1 if axis == self.axis else 1 for axis in range(dimensions)])


def quantize(real: np.ndarray, quantization: Quantization, dtype: np.dtype | type) -> np.ndarray:
    """Real numbers to raw integers, as LiteRT's reference QUANTIZE does it.

    real: any shape, float. dtype: an integer type; its whole range is used, what lies outside saturates.
    Returns: the same shape in `dtype`; ties are rounded away from zero, in float32.
    """
    limits = np.iinfo(dtype)
    steps = np.asarray(real, np.float32) / quantization._along(quantization.scale, np.ndim(real))
    rounded = np.trunc(steps + np.copysign(np.float32(0.5), steps))
    raw = rounded + quantization._along(quantization.zero_point, np.ndim(real))
    return np.clip(raw, limits.min, limits.max).astype(dtype)


def dequantize(raw: np.ndarray, quantization: Quantization) -> np.ndarray:
    """Raw integers to the real numbers they stand for. Returns: the same shape, float32."""
    offset = raw.astype(np.int32) - quantization._along(quantization.zero_point, raw.ndim)
    return offset.astype(np.float32) * quantization._along(quantization.scale, raw.ndim)


def real_table(raw_dtype: np.dtype, quantization: Quantization) -> np.ndarray:
    """The real number of every 8-bit raw value, in the order of its bits seen as uint8.

    Returns: (256,) float32, so that `cv2.LUT(raw.view(np.uint8), table)` is dequantize.
    """
    return dequantize(np.arange(256, dtype=np.uint8).view(raw_dtype), quantization)
