"""How an activation's int8 range is chosen from what its values look like: four methods, one table.

    calibrator = Calibrator.parse("percentile:99.9")
    low, high = choose_range(histogram, calibrator)

| name | the range | source |
|---|---|---|
| min-max | everything seen | Jacob et al. 2018 (arXiv 1712.05877), section 3 |
| percentile | all but a share of the values at each end | McKinstry et al. 2018 (arXiv 1809.04191), section 3 |
| mse | least mean square of rounding and clipping together | Banner et al. 2019 (arXiv 1810.05723), section 3 |
| entropy | least Kullback-Leibler divergence of the rounded from the true distribution | Migacz 2017, 8-bit Inference |

A range always holds zero, as TFLite wants it, and never exceeds what was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from edge_deeplab.calibration.observers import Histogram
from edge_deeplab.errors import UsageError, nearest

LEVELS = 256
DEFAULT_PERCENTILE = 99.99
_SHRINKS = np.linspace(1.0, 0.02, 99)
"""Shares of an end's extreme that the MSE search tries: steps of 1 %."""

_ROUNDS = 8
_ENTROPY_STRIDE = 8
"""Bins between two thresholds that the entropy search tries: one quantized step of the full range."""

_SMOOTH = 1e-4
"""What an empty bin is given before a divergence is taken, as ONNX Runtime's and MXNet's entropy calibrators do."""

MIN_MAX = "min-max"
NAMES = (MIN_MAX, "percentile", "mse", "entropy")
METAVAR = "min-max|percentile[:P]|mse|entropy"


@dataclass(frozen=True)
class Calibrator:
    """A method and its one number.

    Attributes:
        name: one of NAMES.
        percentile: for "percentile": P % of all values lie below the upper end, and P % above the lower one.
    Raises: UsageError for an unknown name or a percentile outside of 50..100.
    """

    name: str = MIN_MAX
    percentile: float = DEFAULT_PERCENTILE

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UsageError("unknown calibrator", came=self.name, allowed=nearest(self.name, NAMES))
        if not 50.0 < self.percentile <= 100.0:
            raise UsageError("percentile: out of range", came=self.percentile, allowed="above 50, at most 100")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads "mse", or "percentile:99.9". Raises UsageError for anything else."""
        name, colon, number = text.strip().partition(":")
        if not colon:
            return cls(name)
        if name != "percentile":
            raise UsageError(f"calibrator {name}: takes no number", came=text, allowed=METAVAR)
        try:
            return cls(name, float(number))
        except ValueError as error:
            raise UsageError("percentile: is no number", came=number, allowed=METAVAR) from error

    @property
    def needs_histogram(self) -> bool:
        """Whether the extremes alone do not tell the range."""
        return self.name != MIN_MAX

    def __str__(self) -> str:
        return f"percentile:{self.percentile:g}" if self.name == "percentile" else self.name


def choose_range(histogram: Histogram, calibrator: Calibrator) -> tuple[float, float]:
    """The range of an activation. Returns: low <= 0 <= high, within the histogram's extremes."""
    if histogram.high <= histogram.low or not histogram.counts.any():
        return histogram.low, histogram.high
    low, high = _METHODS[calibrator.name](histogram, calibrator)
    return max(min(low, 0.0), histogram.low), min(max(high, 0.0), histogram.high)


def _min_max(histogram: Histogram, calibrator: Calibrator) -> tuple[float, float]:
    return histogram.low, histogram.high


def _percentile(histogram: Histogram, calibrator: Calibrator) -> tuple[float, float]:
    """Cuts the same share of all values, zeros included, from each end."""
    edges = histogram.edges
    below = np.concatenate([[0], np.cumsum(histogram.counts)]).astype(np.float64)
    below[edges >= 0.0] += histogram.zeros  # a share that ends among the zeros ends at zero all the same
    cut = histogram.total * (1.0 - calibrator.percentile / 100.0)
    low, high = np.interp([cut, histogram.total - cut], below, edges)
    return float(low), float(high)


def squared_error(histogram: Histogram, low: float, high: float, *, levels: int = LEVELS) -> float:
    """The sum over all values of (value - its nearest level)^2, values spread evenly within a bin.

    The levels are those TFLite uses: the zero point is rounded to a level, which moves the range by up to half a step.
    With n the level nearest to x, s the step and l the lowest level, the error's integral from l to x is
    n s^3 / 12 + (x - l - n s)^3 / 3, inside the range and outside.
    """
    step = (high - low) / (levels - 1)
    lowest = -round(-low / step) * step
    edges = histogram.edges
    level = np.clip(np.rint((edges - lowest) / step), 0, levels - 1)
    integral = level * step**3 / 12 + (edges - lowest - level * step) ** 3 / 3
    return float(np.dot(histogram.counts, np.diff(integral))) / histogram.width


def _mse(histogram: Histogram, calibrator: Calibrator) -> tuple[float, float]:
    """First both ends drawn in together, then one after the other until neither gains."""
    extremes = np.array([histogram.low, histogram.high])

    def error(shares: np.ndarray) -> float:
        low, high = extremes * shares
        return squared_error(histogram, float(low), float(high))

    best = min((np.array([share, share]) for share in _SHRINKS), key=error)
    least = error(best)
    for _ in range(_ROUNDS):
        before = least
        for end in np.flatnonzero(extremes):
            for share in _SHRINKS:
                tried = best.copy()
                tried[end] = share
                if (found := error(tried)) < least:
                    best, least = tried, found
        if least == before:
            break
    low, high = extremes * best
    return float(low), float(high)


def divergence(histogram: Histogram, start: int, stop: int, *, levels: int = LEVELS) -> float:
    """The Kullback-Leibler divergence that clipping to the bins start..stop and rounding them to `levels` costs.

    After Migacz 2017: the reference P is the window with what lies outside added to its end bins; the candidate Q is
    the window without it, merged into `levels` groups, each spread evenly over its bins that are not empty.
    """
    window = histogram.counts[start:stop].astype(np.float64)
    reference = window.copy()
    reference[0] += histogram.counts[:start].sum()
    reference[-1] += histogram.counts[stop:].sum()
    group = np.arange(window.size) * levels // window.size
    filled = window > 0
    sums = np.bincount(group, window, minlength=levels)
    shares = np.bincount(group, filled, minlength=levels)
    candidate = np.where(filled, sums[group] / np.maximum(shares[group], 1), 0.0)
    if not filled.any():
        return np.inf
    p, q = _smoothed(reference), _smoothed(candidate)
    return float(np.sum(p * np.log(p / q)))


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """A distribution without empty bins: what they are given is taken from the others alike."""
    share = counts / counts.sum()
    empty = share <= 0.0
    taken = _SMOOTH * empty.sum() / max(1, (~empty).sum())
    smoothed = np.where(empty, _SMOOTH, np.maximum(share - taken, _SMOOTH * 1e-3))
    return smoothed / smoothed.sum()


def _entropy(histogram: Histogram, calibrator: Calibrator) -> tuple[float, float]:
    """Tries windows of one reach to both sides of zero, cut off at the extremes."""
    bins, edges = histogram.counts.size, histogram.edges
    zero = -histogram.low / histogram.width
    furthest = int(np.ceil(max(zero, bins - zero)))
    best, chosen = np.inf, (0, bins)
    for reach in range(furthest, 0, -_ENTROPY_STRIDE):
        start, stop = max(0, int(np.floor(zero - reach))), min(bins, int(np.ceil(zero + reach)))
        if stop - start < LEVELS:
            break
        found = divergence(histogram, start, stop)
        if found < best:
            best, chosen = found, (start, stop)
    return float(edges[chosen[0]]), float(edges[chosen[1]])


_METHODS: dict[str, Callable[[Histogram, Calibrator], tuple[float, float]]] = {
    MIN_MAX: _min_max,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
