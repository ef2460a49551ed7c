"""Which quality a frame rate or a processor budget allows: a pure object that is told what frames cost and decides.

No thread, clock or option of a program is known here; the caller measures and applies what comes back.

    governor = Governor(Budget(target_fps=30, max_cpu=0.5), ladder)
    quality = governor.quality
    ...                                                             # one frame at that quality
    quality = governor.after(frame_ms=12.5, fps=29.8, cpu_share=0.43)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

# A decision stands on the mean over so many frames or a few more: as many as make whole rounds of `mask_every`, because
# a frame whose matte is carried costs less than one whose matte is new.
WINDOW_FRAMES = 12
WINDOW_S = 1.0  # or over so much time, where frames are rare
# Load is the share of the budget in use. Above OVER in two windows running, or above FAR_OVER in one, quality goes down
# to the first rung that promises GOAL; where the next better rung promises BELOW for long enough, it goes up by one.
OVER, FAR_OVER, GOAL, BELOW = 1.0, 1.3, 0.93, 0.85
WINDOWS_OVER = 2
# So many windows must promise air before a step up (at 30 frames a second 2 s). A step up that had to be taken back
# doubles the wait, up to the last figure; one that held for as long as the wait was halves it.
WINDOWS_BELOW = 5
MOST_WINDOWS_BELOW = 160
# Below this load a step up is tried whatever is promised: the promise may rest on one bad moment.
PLENTY = 0.5
# Fewer frames made than this share of those that came and were wanted are too few: single slow frames lose some that
# the mean over a window would not.
MISSING = 0.95
MOST_INTERVAL_S = 0.75  # the pipeline takes a whole second without a picture for a fault
# Of the programs measured the whole cost between 0.2 and 1.5 times as much per rung, in logarithms, as the ladder says.
ELASTICITY_RANGE = (0.2, 1.5)


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How a frame is made, and what that costs.

    Attributes:
        name: in words a person reads.
        cost: of the time of a frame at the best quality, a share; falls from rung to rung.
        mask_every: a new matte on every so many frames, carried along the motion on those between.
        uses_small_model: whether the quicker of two models makes it.
        working_side: most pixels of the longer side of compositing's low-resolution work.
        refines_edges: whether the edge may be drawn to the picture's own edges.
        least_interval_s: seconds that shall lie between two frames; 0: as fast as they come.
    """

    name: str
    cost: float
    mask_every: int = 1
    uses_small_model: bool = False
    working_side: int = 10_000
    refines_edges: bool = True
    least_interval_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is to be held; None is unbounded.

    Attributes:
        target_fps: frames per second that the slowest thread of the program must be able to make.
        max_cpu: processor seconds per second of the whole program, all threads: 0.5 is half of one core.
    """

    target_fps: float | None = None
    max_cpu: float | None = None


@dataclass(kw_only=True)
class _Window:
    """What the frames since the last decision cost."""

    frames: int = 0
    frame_ms: float = 0.0
    cpu_share: float | None = None
    fps: float | None = None
    offered_fps: float | None = None

    def add(self, frame_ms: float, fps: float | None, offered_fps: float | None, cpu_share: float | None) -> None:
        self.frames += 1
        self.frame_ms += frame_ms
        self.cpu_share, self.fps, self.offered_fps = cpu_share, fps, offered_fps


@dataclass
class Governor:
    """Goes down a ladder of qualities when the budget is overrun and up again when there is air.

    What a rung saves is guessed from the ladder and corrected by what each step really changed (`elasticity`): a
    program that spends most of its time elsewhere gains little from a rung. Where the last rung is too much for
    max_cpu, frames are made further apart.

    Args:
        budget: what is to be held.
        ladder: from the best quality to the cheapest.
        rests_first: whether frames are made further apart before any quality is given up: right for a file, which is
            made as fast as it goes, so that its share of the processor is the same at every quality.

    Attributes:
        frames_by_rung: how many frames were made at each rung of the ladder.
        elasticity: how much of what the ladder says of costs was seen, in logarithms.
    """

    budget: Budget
    ladder: Sequence[Quality]
    rests_first: bool = False
    frames_by_rung: list[int] = field(init=False)
    elasticity: float = field(init=False, default=1.0)

    def __post_init__(self) -> None:
        if not self.ladder or any(later.cost > one.cost for one, later in zip(self.ladder, self.ladder[1:])):
            raise ValueError("the ladder must hold rungs whose cost falls")
        self.frames_by_rung = [0] * len(self.ladder)
        self._rung, self._interval_s = 0, 0.0
        self._window = _Window()
        self._over = self._below = 0
        self._wait, self._since_up = WINDOWS_BELOW, MOST_WINDOWS_BELOW
        self._before_step: tuple[int, float] | None = None  # rung and load before the last change of rung

    @property
    def quality(self) -> Quality:
        """How the next frame is to be made."""
        rung = self.ladder[self._rung]
        return dataclasses.replace(rung, least_interval_s=self._interval_s) if self._interval_s else rung

    def shares(self) -> dict[str, float]:
        """The share of the frames so far by the name of the rung they were made at, those without a frame left out."""
        total = sum(self.frames_by_rung)
        return {rung.name: count / total for rung, count in zip(self.ladder, self.frames_by_rung) if count}

    def after(
        self, *, frame_ms: float, fps: float | None = None, offered_fps: float | None = None,
        cpu_share: float | None = None,
    ) -> Quality:  # fmt: skip
        """Takes in what one more frame cost and says how the next one is to be made.

        Args:
            frame_ms: time the slowest thread of the program was busy with the frame.
            fps: frames per second lately, made.
            offered_fps: frames per second lately, made or dropped for newer ones.
            cpu_share: processor seconds per second lately, measured since the last change of quality; None as long as
                that is too short to say, and nothing is then decided about max_cpu.
        """
        self.frames_by_rung[self._rung] += 1
        self._window.add(frame_ms, fps, offered_fps, cpu_share)
        frames, every = self._window.frames, self.ladder[self._rung].mask_every
        if frames % every == 0 and (frames >= WINDOW_FRAMES or (fps and frames >= WINDOW_S * fps)):
            window, self._window = self._window, _Window()
            self._decide(window)
        return self.quality

    def _decide(self, window: _Window) -> None:
        load = self._load(window)
        if load is None:
            return
        self._learn(load)
        self._since_up += 1
        self._over = self._over + 1 if load > OVER else 0
        if self._over >= WINDOWS_OVER or load > FAR_OVER:
            self._go_down(load, window)
        elif self._has_air(load):
            self._below += 1
            if self._below >= self._wait:
                self._go_up(load, window)
        else:
            self._below = 0

    def _load(self, window: _Window) -> float | None:
        """The share of the budget in use; None when it cannot be told yet."""
        loads = []
        if self.budget.target_fps is not None:
            loads.append(window.frame_ms / window.frames * self.budget.target_fps / 1e3)
            if window.fps and window.offered_fps and not self._interval_s:
                wanted_fps = min(window.offered_fps, self.budget.target_fps)
                if window.fps < MISSING * wanted_fps:
                    loads[0] = max(loads[0], wanted_fps / window.fps)
        if self.budget.max_cpu is not None:
            if window.cpu_share is None:
                return loads[0] if loads and loads[0] > OVER else None
            loads.append(self._cpu_load(window))
        return max(loads, default=0.0)

    def _promised(self, load: float, rung: int) -> float:
        """The load to expect at another rung."""
        ratio = self.ladder[rung].cost / self.ladder[self._rung].cost
        return load * float(ratio**self.elasticity)

    def _has_air(self, load: float) -> bool:
        if self._interval_s:
            return load < BELOW
        return self._rung > 0 and (self._promised(load, self._rung - 1) < BELOW or load < PLENTY)

    def _go_down(self, load: float, window: _Window) -> None:
        self._over = self._below = 0
        last = len(self.ladder) - 1
        is_cpu = self._cpu_load(window) > OVER
        if is_cpu and (self._rung == last or self.rests_first):
            longer_s = max(self._interval_s, self._seen_interval_s(window)) * min(2.0, load / GOAL)
            self._interval_s = min(MOST_INTERVAL_S, longer_s)
        elif self._rung < last:
            if self._since_up <= self._wait:  # the last step up did not hold
                self._wait = min(MOST_WINDOWS_BELOW, 2 * self._wait)
            enough = (rung for rung in range(self._rung + 1, last) if self._promised(load, rung) <= GOAL)
            self._step_to(next(enough, last), load)

    def _go_up(self, load: float, window: _Window) -> None:
        self._below = 0
        if self._interval_s:
            is_idle = self._seen_interval_s(window) > 1.15 * self._interval_s  # frames come no faster than that anyway
            self._interval_s = 0.0 if is_idle else self._interval_s * max(0.5, load / GOAL)
            return
        if self._since_up > 2 * self._wait:  # the last step up held
            self._wait = max(WINDOWS_BELOW, self._wait // 2)
        self._since_up = 0
        self._step_to(self._rung - 1, load)

    def _seen_interval_s(self, window: _Window) -> float:
        """Seconds from frame to frame, as measured; not more than asked for by much, or a pause would be kept up."""
        seen_s = 1.0 / window.fps if window.fps else window.frame_ms / window.frames / 1e3
        return min(seen_s, 1.25 * self._interval_s) if self._interval_s else seen_s

    def _cpu_load(self, window: _Window) -> float:
        """The share of max_cpu in use; 0 where it is not asked for or not known."""
        if self.budget.max_cpu is None or window.cpu_share is None:
            return 0.0
        return window.cpu_share / self.budget.max_cpu

    def _step_to(self, rung: int, load: float) -> None:
        self._before_step = (self._rung, load)
        self._rung = rung

    def _learn(self, load: float) -> None:
        """Takes from the first window after a step what the step changed."""
        if self._before_step is None:
            return
        rung, before = self._before_step
        self._before_step = None
        said = math.log(self.ladder[self._rung].cost / self.ladder[rung].cost)
        if said and before > 0.0 and load > 0.0:
            low, high = ELASTICITY_RANGE
            seen = min(high, max(low, math.log(load / before) / said))
            self.elasticity = 0.5 * (self.elasticity + seen)
