"""How much of the processor the whole program takes, and how many frames a second it makes, over the last moments.

meter = CpuMeter()
meter.tick()                    # after every frame
meter.share(), meter.rate()     # 0.43 of one core, 29.8 frames a second; None before there is enough to say
meter.tick(frame.index)         # where frames may have been dropped between: meter.offered_rate() counts them
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

LEAST_SPAN_S = 1.0
MOST_SPAN_S = 2.0


class _Moment(NamedTuple):
    wall_s: float
    cpu_s: float
    frame_index: int | None


class CpuMeter:
    """Holds the moments of the last frames.

    Args:
        clock: seconds that pass.
        cpu_clock: seconds of processor time of the whole program, all threads.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, cpu_clock: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._cpu_clock = clock, cpu_clock
        self._moments: deque[_Moment] = deque()

    def tick(self, index: int | None = None) -> None:
        """Takes in that a frame is done; its index among all that came, those dropped included."""
        self._moments.append(_Moment(self._clock(), self._cpu_clock(), index))
        while len(self._moments) > 2 and self._span_s(1) >= MOST_SPAN_S:
            self._moments.popleft()

    def restart(self) -> None:
        """Forgets what was: the program is about to work otherwise."""
        self._moments.clear()

    def share(self) -> float | None:
        """Processor seconds per second; None when fewer than LEAST_SPAN_S seconds are known."""
        if len(self._moments) < 2 or self._span_s() < LEAST_SPAN_S:
            return None
        return (self._moments[-1].cpu_s - self._moments[0].cpu_s) / self._span_s()

    def rate(self) -> float | None:
        """Frames per second, over the intervals between them; None before the second one."""
        if len(self._moments) < 2 or self._span_s() <= 0.0:
            return None
        return (len(self._moments) - 1) / self._span_s()

    def offered_rate(self) -> float | None:
        """Frames that came per second, made or dropped; None where their indices are not known, as rate."""
        rate = self.rate()
        if rate is None:
            return None
        first, last = self._moments[0].frame_index, self._moments[-1].frame_index
        return None if first is None or last is None else (last - first) / self._span_s()

    def _span_s(self, first: int = 0) -> float:
        return self._moments[-1].wall_s - self._moments[first].wall_s
