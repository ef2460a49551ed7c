from __future__ import annotations

import pytest

from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.stages import REST, profile_stages

OPTIONS = MeasureOptions(warmup=2, runs=20)


def test_stages_and_rest_add_up_to_the_frame() -> None:
    profile = profile_stages(lambda: {"prepare": 0.0, "invoke": 0.0}, options=OPTIONS)
    assert list(profile.stages) == ["prepare", "invoke", REST]
    assert sum(profile.shares.values()) == pytest.approx(1.0)
    assert profile.stages[REST].median_ms == pytest.approx(profile.total.median_ms)


def test_warm_up_frames_are_told_apart_in_every_stage() -> None:
    costs = iter([50.0] * 2 + [3.0] * 20)
    profile = profile_stages(lambda: {"invoke": next(costs)}, options=OPTIONS)
    assert profile.stages["invoke"].max_ms == 3.0
    assert profile.stages["invoke"].first_ms == 50.0


def test_a_stage_of_some_frames_counts_as_nothing_in_the_others() -> None:
    frames = iter(range(1000))
    profile = profile_stages(lambda: {"reload": 8.0} if next(frames) % 4 == 0 else {}, options=OPTIONS)
    assert profile.stages["reload"].median_ms == 0.0
    assert profile.stages["reload"].max_ms == 8.0


def test_a_frame_rate_is_one_over_the_median_frame() -> None:
    profile = profile_stages(lambda: {}, options=OPTIONS)
    assert profile.frames_per_second * profile.total.median_ms == pytest.approx(1000.0)
