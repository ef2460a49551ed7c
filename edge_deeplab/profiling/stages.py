"""Where the time of a whole frame goes, stage by stage.

This room may not know the compositor (its sibling), so the caller hands over one callable that does a whole frame
and says what each stage of it took.

    def one_frame() -> dict[str, float]:
        composed = compositor.compose(frame, segmenter.matte_bgr(frame))
        return {**segmenter.stage_ms, **compositor.stage_ms}

    profile = profile_stages(one_frame)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_deeplab.profiling.latency import NS_PER_MS, LatencyStats, MeasureOptions, collect

REST = "rest"


@dataclass(frozen=True, kw_only=True)
class StageProfile:
    """A whole frame and its stages.

    Attributes:
        total: the whole frame, timed from outside.
        stages: each stage by name in the order it ran; the last, "rest", is what no stage claims.
        shares: each stage's part of the frames' summed time, 0..1; they add up to 1.
    """

    total: LatencyStats
    stages: dict[str, LatencyStats]
    shares: dict[str, float]

    @property
    def frames_per_second(self) -> float:
        """Frames a second when frames come one after the other: 1000 over the median frame."""
        return 1000.0 / self.total.median_ms if self.total.median_ms > 0 else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {
            "total": self.total.to_dict(),
            "frames_per_second": self.frames_per_second,
            "stages": {
                name: stats.to_dict() | {"share": self.shares[name]} for name, stats in self.stages.items()
            },
        }  # fmt: skip

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> StageProfile:
        """The profile that to_dict wrote. Raises KeyError or TypeError for anything else."""
        stages, shares = {}, {}
        for name, row in fields["stages"].items():
            shares[name] = row["share"]
            stages[name] = LatencyStats(**{key: value for key, value in row.items() if key != "share"})
        return cls(total=LatencyStats(**fields["total"]), stages=stages, shares=shares)


def profile_stages(
    one_frame: Callable[[], Mapping[str, float]], *, options: MeasureOptions | None = None
) -> StageProfile:
    """Measures a callable that does a whole frame and returns the milliseconds of each of its stages.

    A stage that only some frames have counts as 0 ms in the others, so that the medians stay those of a frame.
    """
    records: list[Mapping[str, float]] = []

    def sample() -> float:
        start = time.perf_counter_ns()
        stages = one_frame()
        elapsed_ms = (time.perf_counter_ns() - start) / NS_PER_MS
        records.append(dict(stages))
        return elapsed_ms

    chosen = options or MeasureOptions()
    warmup, counted = collect({"frame": sample}, options=chosen)
    totals_ms, warm_totals_ms = counted["frame"], warmup["frame"]
    names = list(dict.fromkeys(name for record in records for name in record))
    split = len(warm_totals_ms)
    rest = [total - sum(record.values()) for total, record in zip(warm_totals_ms + totals_ms, records)]
    series = {name: [record.get(name, 0.0) for record in records] for name in names} | {REST: rest}
    spent_ms = sum(totals_ms)
    return StageProfile(
        total=LatencyStats.from_samples(totals_ms, warm_totals_ms),
        stages={name: LatencyStats.from_samples(values[split:], values[:split]) for name, values in series.items()},
        shares={name: sum(values[split:]) / spent_ms for name, values in series.items()},
    )
