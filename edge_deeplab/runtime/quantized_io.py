"""From a picture's pixels to what a model's input tensor holds.

    encoder = PixelEncoder(manifest, np.dtype(np.int8), quantization)
    raw = encoder.encode(rgb)         # (H, W, 3) uint8 -> what the model's input tensor holds

Nothing here runs a model.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.quantized_values import Quantization, quantize

INPUT_DTYPES = ("uint8", "int8", "float32")


class PixelEncoder:
    """Turns a picture into what a model's input tensor holds, through one table of 256 entries.

    A table is exact (every value is quantize of the real input the manifest asks for) and costs the same for every
    mean, scale and type. Where the table says raw = pixel the picture is handed on untouched.

    Args:
        manifest: how a pixel becomes a real number (input_range, mean, std).
        dtype: of the input tensor: uint8, int8 or float32.
        quantization: of the input tensor; None for float32.

    Attributes:
        table: (256, 3) in the input's dtype: the raw value of every pixel value, per RGB channel.
        is_identity: whether raw = pixel.

    Raises: ModelError for another dtype, or an input quantized per axis or without a scale.
    """

    def __init__(self, manifest: Manifest, dtype: np.dtype, quantization: Quantization | None) -> None:
        if dtype.name not in INPUT_DTYPES:
            raise ModelError("the model's input has an unknown type", came=dtype, allowed=", ".join(INPUT_DTYPES))
        low, high = manifest.input_range
        pixels = np.arange(256, dtype=np.float64)[:, None]
        real = (low + pixels / 255 * (high - low) - np.array(manifest.mean)) / np.array(manifest.std)
        if dtype == np.float32:
            self.table = real.astype(np.float32)
        elif quantization is None or quantization.axis is not None:
            raise ModelError(
                f"the model's {dtype} input has no single scale and zero point", next_step="convert the model again"
            )
        else:
            self.table = quantize(real, quantization, dtype)
        is_grey = bool((self.table == self.table[:, :1]).all())
        self._lookup = np.ascontiguousarray(self.table[:, 0]) if is_grey else self.table.reshape(1, 256, 3)
        flips_sign_bit = dtype != np.float32 and is_grey
        as_bytes = self.table[:, 0].view(np.uint8) if flips_sign_bit else None
        self.is_identity = as_bytes is not None and bool((as_bytes == np.arange(256)).all())
        self._is_offset_128 = as_bytes is not None and bool((as_bytes == np.arange(256) ^ 0x80).all())
        self._dtype = dtype
        self._out: np.ndarray | None = None

    def encode(self, rgb: np.ndarray) -> np.ndarray:
        """The raw input of a picture that has the model's size.

        rgb: (H, W, 3) uint8.
        Returns: (H, W, 3) in the input's dtype. It is `rgb` itself or a buffer the next call writes over.
        """
        if self.is_identity:
            return rgb.view(self._dtype)
        if self._out is None or self._out.shape != rgb.shape:
            self._out = np.empty(rgb.shape, self._dtype)
        if self._is_offset_128:  # pixel - 128 is the pixel with its top bit flipped
            np.bitwise_xor(rgb, np.uint8(0x80), out=self._out.view(np.uint8))
        else:
            self._out = cv2.LUT(rgb, self._lookup, dst=self._out)
        return self._out
