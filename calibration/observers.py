"""What a tensor's values look like over all samples, in memory that does not grow with them: a histogram.

    low, high = extremes(arrays())                       # first pass
    histogram = Histogram.of(arrays(), low=low, high=high)   # second pass over the same arrays
    calibrators.choose_range(histogram, Calibrator("mse"))

The two passes are apart because the bins are only known when the extremes are. A network counts all its activations in
the same two passes (quantization.ranges) and keeps one small row of counts for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import numpy as np

BINS = 2048
"""Eight bins to one of 256 quantized steps; TensorRT's number (Migacz 2017, slide 26)."""


def extremes(arrays: Iterable[np.ndarray]) -> tuple[float, float]:
    """The least and the greatest value, and zero where all lie on one side of it. Returns: low <= 0 <= high."""
    low = high = 0.0
    for array in arrays:
        if array.size:
            low, high = min(low, float(array.min())), max(high, float(array.max()))
    return low, high


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of values in bins of one width between two extremes.

    Exact zeros stand apart: every quantized range holds zero exactly, so they cost nothing, and behind a ReLU they are
    most of a tensor.

    Attributes:
        low, high: the extremes, low <= 0 <= high.
        counts: (bins,) int64, zeros left out; a value outside of low..high counts in the bin at that end.
        zeros: how many values are exactly zero.
    """

    low: float
    high: float
    counts: np.ndarray = field(repr=False)
    zeros: int = 0

    def __post_init__(self) -> None:
        if not self.low <= 0.0 <= self.high:
            raise ValueError(f"a histogram's extremes must hold zero, came {self.low}..{self.high}")
        if self.counts.ndim != 1 or not self.counts.size:
            raise ValueError(f"counts must be (bins,), came {self.counts.shape}")

    @classmethod
    def of(cls, arrays: Iterable[np.ndarray], *, low: float, high: float, bins: int = BINS) -> Self:
        """Counts arrays of any shape, one at a time."""
        counts, zeros = np.zeros(bins, np.int64), 0
        for array in arrays:
            values = np.asarray(array, np.float64).ravel()
            values = values[values != 0.0]
            zeros += array.size - values.size
            if high > low:
                counts += np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))[0]
        return cls(low=low, high=high, counts=counts, zeros=zeros)

    @property
    def edges(self) -> np.ndarray:
        """The bins' borders: (bins + 1,) float64."""
        return np.linspace(self.low, self.high, self.counts.size + 1)

    @property
    def width(self) -> float:
        """Of one bin."""
        return (self.high - self.low) / self.counts.size

    @property
    def total(self) -> int:
        """How many values were counted, zeros too."""
        return int(self.counts.sum()) + self.zeros
