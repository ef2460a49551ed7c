"""Where the time of each frame went: per-stage latencies with the warm-up told apart, rates over n-1 intervals.

Nothing here knows what is timed, and nothing grows with the number of frames: a program may run for weeks.

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

KEPT_VALUES = 4096  # 32 kB a stage; the standard error of a p99 from as many is 0.16 % in rank


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

    Up to KEPT_VALUES of a stage are kept as they are; of more, a uniform sample of as many.

    Args:
        warmup_frames: how many of a stage's first measurements are told apart (fewer when fewer than two would
            remain).
    """

    def __init__(self, warmup_frames: int) -> None:
        self._warmup_frames = warmup_frames
        self._lock = threading.Lock()
        self._stages: dict[str, _Sample] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Times the block; a block left by an exception is not counted."""
        started_ns = time.perf_counter_ns()
        yield
        self.add(stage, (time.perf_counter_ns() - started_ns) / 1e6)

    def add(self, stage: str, duration_ms: float) -> None:
        """Adds one measurement of a stage, in milliseconds."""
        with self._lock:
            sample = self._stages.get(stage)
            if sample is None:
                sample = self._stages[stage] = _Sample(self._warmup_frames)
            sample.add(duration_ms)

    def summary(self) -> dict[str, StageTiming]:
        """The stages in the order in which they first reported."""
        with self._lock:
            return {stage: sample.summary() for stage, sample in self._stages.items()}


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


class RecentMedian:
    """The median of the last so many values, to be shown while they come.

    Args:
        values: how many of the last ones count.
    """

    def __init__(self, values: int = 60) -> None:
        self._values: deque[float] = deque(maxlen=values)

    def add(self, value: float) -> None:
        """Adds a value; the oldest one is forgotten."""
        self._values.append(value)

    def median(self) -> float | None:
        """None before the first value."""
        return float(np.median(self._values)) if self._values else None


class SteadyRate:
    """The rate over a whole run, of which only the warm-up's time stamps and the last one are kept.

    Args:
        warmup_events: how many first events are told apart, as rate_over does.
    """

    def __init__(self, warmup_events: int = 0) -> None:
        self.count = 0
        self.last_s: float | None = None
        self._first_s = array("d")
        self._kept = warmup_events + 1

    def tick(self, now_s: float) -> None:
        """Counts an event at now_s, seconds on the caller's clock."""
        self.count += 1
        self.last_s = now_s
        if len(self._first_s) < self._kept:
            self._first_s.append(now_s)

    def per_second(self) -> float | None:
        """Events per second after the warm-up, over n-1 intervals; None for fewer than two."""
        skipped = warmup_count(self.count, self._kept - 1)
        if self.last_s is None or self.count - skipped < 2 or self.last_s <= self._first_s[skipped]:
            return None
        return (self.count - skipped - 1) / (self.last_s - self._first_s[skipped])


class _Sample:
    """The first values of a stage, and a uniform sample of those that follow (Vitter's algorithm R)."""

    def __init__(self, warmup_frames: int) -> None:
        self._warmup_frames = warmup_frames
        self._first = array("d")  # the warm-up and two more, which may count as measured where there are no others
        self._later = array("d")
        self._later_count = 0
        self._random_below: Callable[[int], int] | None = None

    def add(self, value: float) -> None:
        if len(self._first) < self._warmup_frames + 2:
            self._first.append(value)
            return
        self._later_count += 1
        if len(self._later) < KEPT_VALUES:
            self._later.append(value)
            return
        if self._random_below is None:
            import random  # here: a program that starts has no need of it

            self._random_below = random.Random(0).randrange
        place = self._random_below(self._later_count)
        if place < KEPT_VALUES:
            self._later[place] = value

    def summary(self) -> StageTiming:
        count = len(self._first) + self._later_count
        skipped = warmup_count(count, self._warmup_frames)
        steady = np.asarray(self._first[skipped:] + self._later)
        median, p90, p99 = np.percentile(steady, (50, 90, 99))
        return StageTiming(
            median_ms=float(median), p90_ms=float(p90), p99_ms=float(p99), count=count - skipped, warmup_count=skipped,
            warmup_ms=float(np.median(self._first[:skipped])) if skipped else None,
        )  # fmt: skip
