"""Measuring how long something takes: warm-up told apart, medians and tails, and fair pairs.

Nothing here knows a model or a frame: what is measured is a callable.

    stats = measure(lambda: engine.run(image), options=MeasureOptions(runs=200))
    pair = measure_pair(ours, theirs)
    print(stats.median_ms, pair.ratio, pair.ratio_low, pair.ratio_high)
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_deeplab.errors import UsageError

NS_PER_MS = 1e6
# Two-sided 95 % interval of a median from order statistics: the normal quantile in units of sqrt(n) / 2.
CONFIDENCE_Z = 1.96


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """How often a callable is called.

    Attributes:
        warmup: calls that are timed but kept out of the statistics (caches, lazy packing of weights, clock speed).
        runs: calls that count; 100 is the least for which a p99 is not simply the slowest call.
        max_duration_s: stops early after this many seconds of counted calls, never before `min_runs` of them.
        min_runs: the fewest counted calls.
    """

    warmup: int = 10
    runs: int = 100
    max_duration_s: float = 20.0
    min_runs: int = 10

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise UsageError("warm-up calls", came=self.warmup, allowed="0 or more")
        if self.runs < 1:
            raise UsageError("counted calls", came=self.runs, allowed="1 or more")
        if not self.max_duration_s > 0:
            raise UsageError("seconds of measuring", came=self.max_duration_s, allowed="more than 0")
        if self.min_runs < 1:
            raise UsageError("fewest counted calls", came=self.min_runs, allowed="1 or more")


@dataclass(frozen=True, kw_only=True)
class LatencyStats:
    """What a series of calls took, in milliseconds.

    Attributes:
        median_ms, p90_ms, p99_ms, min_ms, max_ms: of the counted calls; percentiles interpolate linearly.
        spread: (p75 - p25) / median, without unit. Above about 0.2 the machine was busy with something else.
        count: counted calls. Below 100 the p99 says no more than the slowest call.
        warmup_count: calls before the counted ones.
        first_ms: the very first call, warm-up or not.
        warmup_median_ms: median of the warm-up calls, None without any.
    """

    median_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    max_ms: float
    spread: float
    count: int
    warmup_count: int
    first_ms: float
    warmup_median_ms: float | None

    @classmethod
    def from_samples(cls, samples_ms: Sequence[float], warmup_ms: Sequence[float] = ()) -> LatencyStats:
        """Statistics of the counted calls `samples_ms`, with the calls before them. Raises ValueError when empty."""
        if not samples_ms:
            raise ValueError("a latency needs at least one counted call")
        p25, median, p75, p90, p99 = (float(value) for value in np.percentile(samples_ms, (25, 50, 75, 90, 99)))
        return cls(
            median_ms=median,
            p90_ms=p90,
            p99_ms=p99,
            min_ms=float(min(samples_ms)),
            max_ms=float(max(samples_ms)),
            spread=(p75 - p25) / median if median > 0 else 0.0,
            count=len(samples_ms),
            warmup_count=len(warmup_ms),
            first_ms=float((list(warmup_ms) or list(samples_ms))[0]),
            warmup_median_ms=float(np.median(warmup_ms)) if warmup_ms else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class PairStats:
    """Two things measured in turns.

    Attributes:
        first, second: each one's own statistics.
        ratio: median of first over median of second; below 1 the first is faster.
        ratio_low, ratio_high: 95 % interval of the median of the ratios of neighbouring calls. Neighbours share
            the machine's mood, so this stays narrow where the medians themselves drift.
    """

    first: LatencyStats
    second: LatencyStats
    ratio: float
    ratio_low: float
    ratio_high: float

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return dataclasses.asdict(self)


Sampler = Callable[[], float]  # does the work once, returns the milliseconds it took


def timed(call: Callable[[], object]) -> Sampler:
    """A sampler that times `call` on the monotonic clock of highest resolution."""

    def sample() -> float:
        start = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - start) / NS_PER_MS

    return sample


def measure(call: Callable[[], object], *, options: MeasureOptions | None = None) -> LatencyStats:
    """Measures one callable. The garbage collector stays on, as it does in the program that will run this."""
    chosen = options or MeasureOptions()
    warmup, counted = collect({"only": timed(call)}, options=chosen)
    return LatencyStats.from_samples(counted["only"], warmup["only"])


def measure_pair(
    first: Callable[[], object], second: Callable[[], object], *, options: MeasureOptions | None = None
) -> PairStats:
    """Measures two callables in turns (first, second, second, first, ...), so that drift hits both alike."""
    return sample_pair(timed(first), timed(second), options=options)


def sample_pair(first: Sampler, second: Sampler, *, options: MeasureOptions | None = None) -> PairStats:
    """As measure_pair, for things that time themselves (a worker in another process, say)."""
    chosen = options or MeasureOptions()
    warmup, counted = collect({"first": first, "second": second}, options=chosen)
    low, high = median_interval([ours / max(theirs, 1e-9) for ours, theirs in zip(counted["first"], counted["second"])])
    stats = {name: LatencyStats.from_samples(counted[name], warmup[name]) for name in counted}
    return PairStats(
        first=stats["first"],
        second=stats["second"],
        ratio=stats["first"].median_ms / max(stats["second"].median_ms, 1e-9),
        ratio_low=low,
        ratio_high=high,
    )


def collect(
    samplers: Mapping[str, Sampler], *, options: MeasureOptions
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Calls samplers in turns, reversing the order every round.

    Returns: milliseconds by sampler, of the warm-up calls and of the counted calls; all lists of one length.
    """
    names = list(samplers)
    warmup: dict[str, list[float]] = {name: [] for name in names}
    counted: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(options.warmup):
        for name in names if turn % 2 == 0 else reversed(names):
            warmup[name].append(samplers[name]())
    start = time.perf_counter_ns()
    for turn in range(options.runs):
        for name in names if turn % 2 == 0 else reversed(names):
            counted[name].append(samplers[name]())
        if turn + 1 >= options.min_runs and time.perf_counter_ns() - start > options.max_duration_s * 1e9:
            break
    return warmup, counted


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % confidence interval of the median that assumes no distribution.

    The bounds are the order statistics at ranks n/2 -+ z sqrt(n)/2 (the normal approximation of the binomial);
    with fewer than about six values they are the smallest and the largest.

    Returns: (low, high). Raises ValueError when empty.
    """
    if not values:
        raise ValueError("an interval needs at least one value")
    ordered = sorted(values)
    count = len(ordered)
    reach = CONFIDENCE_Z * count**0.5 / 2
    low = max(int(np.floor(count / 2 - reach)), 0)
    high = min(int(np.ceil(count / 2 + reach)), count - 1)
    return float(ordered[low]), float(ordered[high])
