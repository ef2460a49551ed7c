"""Where the time of each frame went: per-stage latencies with the warm-up told apart, rates over n-1 intervals.

Nothing here knows what is timed.

    stages = StageClock(warmup_frames=5)
    with stages.measure("process"):
        ...
    stages.summary()["process"].median_ms
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class StageTiming:
    """One stage's latency, in milliseconds, over `count` frames after `warmup_count` frames told apart.

    Attributes:
        warmup_ms: the median of the warm-up frames; None when there were none.
    """

    median_ms: float
    p90_ms: float
    p99_ms: float
    count: int
    warmup_count: int
    warmup_ms: float | None


class StageClock:
    """Collects stage latencies from several threads.

    Args:
        warmup_frames: how many of a stage's first measurements are told apart (fewer when fewer than two would
            remain).
    """

    def __init__(self, warmup_frames: int) -> None:
        self._warmup_frames = warmup_frames
        self._lock = threading.Lock()
        self._stages: dict[str, array[float]] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Times the block; a block left by an exception is not counted."""
        started_ns = time.perf_counter_ns()
        yield
        self.add(stage, (time.perf_counter_ns() - started_ns) / 1e6)

    def add(self, stage: str, duration_ms: float) -> None:
        """Adds one measurement of a stage, in milliseconds."""
        with self._lock:
            self._stages.setdefault(stage, array("d")).append(duration_ms)

    def summary(self) -> dict[str, StageTiming]:
        """The stages in the order in which they first reported."""
        with self._lock:
            return {stage: _summarise(values, self._warmup_frames) for stage, values in self._stages.items()}


def warmup_count(count: int, warmup_frames: int) -> int:
    """How many of `count` measurements are warm-up: as asked, but two are left to measure where there are two."""
    return max(0, min(warmup_frames, count - 2))


def rate_over(times_s: array[float], *, warmup_frames: int = 0) -> float | None:
    """Events per second over the n-1 intervals of n time stamps in seconds; None for fewer than two."""
    steady = times_s[warmup_count(len(times_s), warmup_frames) :]
    if len(steady) < 2 or steady[-1] <= steady[0]:
        return None
    return (len(steady) - 1) / (steady[-1] - steady[0])


class RecentRate:
    """The rate of the last so many events, to be shown while they happen.

    Args:
        events: how many of the last ones count.
    """

    def __init__(self, events: int = 60) -> None:
        self._times_s: deque[float] = deque(maxlen=events)

    def tick(self) -> float | None:
        """Counts an event that happens now. Returns: events per second, None for the first one."""
        self._times_s.append(time.perf_counter())
        return self.per_second()

    def per_second(self) -> float | None:
        """Events per second over the intervals between the last ones, None before the second one."""
        return rate_over(array("d", self._times_s))


def _summarise(values: array[float], warmup_frames: int) -> StageTiming:
    skipped = warmup_count(len(values), warmup_frames)
    steady = np.asarray(values[skipped:])
    median, p90, p99 = np.percentile(steady, (50, 90, 99))
    return StageTiming(
        median_ms=float(median), p90_ms=float(p90), p99_ms=float(p99), count=len(steady), warmup_count=skipped,
        warmup_ms=float(np.median(values[:skipped])) if skipped else None,
    )  # fmt: skip
