"""What `edge-deeplab blur` gives up, and in which order, to hold a frame rate or a processor budget.

    control = QualityControl(QualityOptions(target_fps=30), has_small_model=True, is_live=True)
    matte = mattes.of(frame.bgr, control.quality)
    compositor.options = control.applied(compositing)
    ...
    control.frame_done(busy_ms=12.5)

The decisions are video.governor's; here are the ladder they go up and down, the measuring, and the words for people.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.demo_apps.options import QualityOptions
from edge_deeplab.video.cpu_meter import CpuMeter
from edge_deeplab.video.governor import Budget, Governor, Quality

# From the best to the cheapest, what saves most for what it loses first. The costs are shares of the time of a frame at
# the best, by benchmarks/quality_ladder.py, which also says what each rung loses. The smaller model comes late: alone
# it saves as much as a mask on every 3rd frame, and its edge is five times as far from the full one's.
LADDER: tuple[Quality, ...] = (
    Quality(name="full", cost=1.0),
    Quality(name="mask every 2nd frame", cost=0.84, mask_every=2),
    Quality(name="mask every 2nd frame, coarser blur", cost=0.72, mask_every=2, working_side=160),
    Quality(name="mask every 3rd frame, coarser blur", cost=0.66, mask_every=3, working_side=160),
    Quality(
        name="mask every 3rd frame by the smaller model, coarser blur", cost=0.58, mask_every=3, working_side=160,
        uses_small_model=True,
    ),
    Quality(
        name="mask every 4th frame by the smaller model, coarser blur, plain edge", cost=0.48, mask_every=4,
        working_side=160, uses_small_model=True, refines_edges=False,
    ),
)  # fmt: skip


class QualityControl:
    """The governor with its measuring: asked before every frame, told after it.

    Args:
        options: what is to be held, and what the user fixed.
        has_small_model: whether a quicker model is at hand.
        is_live: frames come at the world's pace. Of a file, max_cpu costs time and no quality.
        meter: of the whole program.
        rungs: in place of the ladder.
    """

    def __init__(
        self, options: QualityOptions, *, has_small_model: bool = False, is_live: bool, meter: CpuMeter | None = None,
        rungs: Sequence[Quality] | None = None,
    ) -> None:  # fmt: skip
        is_governed = options.target_fps is not None or options.max_cpu is not None
        rungs = (rungs or ladder(has_small_model=has_small_model)) if is_governed else LADDER[:1]
        max_cpu = None if options.max_cpu is None else options.max_cpu / 100
        self._governor = Governor(
            Budget(target_fps=options.target_fps, max_cpu=max_cpu),
            [dataclasses.replace(rung, mask_every=max(rung.mask_every, options.mask_every)) for rung in rungs],
            rests_first=not is_live,
        )
        self._is_governed = is_governed
        self._meter = meter or CpuMeter()
        self.quality = self._governor.quality
        self._asked: CompositingOptions | None = None
        self._applied = CompositingOptions()

    def applied(self, asked: CompositingOptions) -> CompositingOptions:
        """What compositing is to do at this quality: what was asked for, or less. The same object while both stay."""
        if asked is not self._asked:
            self._asked = asked
            self._applied = dataclasses.replace(
                asked,
                working_side=min(asked.working_side, self.quality.working_side),
                refines_edges=asked.refines_edges and self.quality.refines_edges,
            )
        return self._applied

    def frame_done(self, busy_ms: float, index: int | None = None) -> None:
        """Takes in a frame and decides about the next one.

        Args:
            busy_ms: time the busiest thread worked at it.
            index: of the frame among all that came; a gap is a dropped one.
        """
        if not self._is_governed:
            return
        self._meter.tick(index)
        before, meter = self.quality, self._meter
        self.quality = self._governor.after(
            frame_ms=busy_ms, fps=meter.rate(), offered_fps=meter.offered_rate(), cpu_share=meter.share()
        )
        if self.quality != before:
            self._meter.restart()
            self._asked = None

    @property
    def status(self) -> str:
        """The quality in words; empty where nothing is governed."""
        if not self._is_governed:
            return ""
        if self.quality.least_interval_s:
            return f"{self.quality.name}, at most {1 / self.quality.least_interval_s:.1f} fps"
        return self.quality.name

    @property
    def shares(self) -> dict[str, float]:
        """The share of the frames by quality; empty where nothing is governed."""
        return self._governor.shares() if self._is_governed else {}


def ladder(*, has_small_model: bool) -> Sequence[Quality]:
    """The ladder, or where there is no quicker model what is left of it."""
    if has_small_model:
        return LADDER
    rungs = [
        dataclasses.replace(rung, uses_small_model=False, name=rung.name.replace(" by the smaller model", ""))
        for rung in LADDER
    ]
    return [rung for rung, before in zip(rungs, (None, *rungs)) if before is None or rung.name != before.name]
