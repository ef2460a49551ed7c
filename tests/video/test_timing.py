"""Small answers worked out by hand for latencies and rates."""

from __future__ import annotations

import itertools
from array import array
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_deeplab.video import timing
from edge_deeplab.video.frames import fine_time_base, rate_from_float
from edge_deeplab.video.timing import RecentMedian, StageClock, SteadyRate, rate_over, warmup_count


def test_a_rate_over_n_stamps_uses_n_minus_1_intervals() -> None:
    assert rate_over(array("d", [0.0, 0.5, 1.0])) == 2.0
    assert rate_over(array("d", [9.0, 10.0, 10.5, 11.0]), warmup_frames=1) == 2.0
    assert rate_over(array("d", [1.0])) is None and rate_over(array("d")) is None


def test_percentiles_are_of_what_follows_the_warm_up() -> None:
    clock = StageClock(warmup_frames=2)
    for duration_ms in (100.0, 300.0, *range(1, 102)):
        clock.add("process", duration_ms)
    timing = clock.summary()["process"]
    assert (timing.median_ms, timing.p90_ms, timing.p99_ms) == (51.0, 91.0, 100.0)
    assert (timing.count, timing.warmup_count, timing.warmup_ms) == (101, 2, 200.0)


def test_two_measurements_always_remain() -> None:
    assert [warmup_count(count, 5) for count in (0, 1, 2, 3, 7, 8, 100)] == [0, 0, 0, 1, 5, 5, 5]


def test_a_block_left_by_an_error_is_not_counted() -> None:
    clock = StageClock(warmup_frames=0)
    with pytest.raises(KeyError), clock.measure("process"):
        raise KeyError
    assert clock.summary() == {}


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        (29.97002997002997, Fraction(30000, 1001)),
        (23.976023976, Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (30.0, Fraction(30)),
        (25.0, Fraction(25)),
        (7.5, Fraction(15, 2)),
        (12.34, Fraction(617, 50)),
    ],
)
def test_a_rate_told_as_a_float_is_what_was_meant(told, meant) -> None:
    assert rate_from_float(told) == meant


@pytest.mark.parametrize("nothing", [0.0, -1.0, float("nan"), float("inf"), 90000.0])
def test_a_rate_that_says_nothing_is_none(nothing) -> None:
    assert rate_from_float(nothing) is None


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(617, 50)])
def test_every_steady_frame_begins_on_a_whole_tick(fps) -> None:
    tick_s = fine_time_base(fps)
    assert tick_s <= Fraction(1, 90000)
    assert all((index / fps / tick_s).denominator == 1 for index in range(100))


def test_a_stage_of_a_long_run_keeps_a_bounded_sample_with_the_same_percentiles() -> None:
    clock, count = StageClock(warmup_frames=3), 12 * timing.KEPT_VALUES
    for index in range(count):
        clock.add("process", float(index))
    told = clock.summary()["process"]
    assert (told.count, told.warmup_count, told.warmup_ms) == (count - 3, 3, 1.0)
    # Five standard errors of a percentile's rank in a sample of KEPT_VALUES.
    for percentile, value in ((0.5, told.median_ms), (0.9, told.p90_ms), (0.99, told.p99_ms)):
        allowed = 5 * (percentile * (1 - percentile) / timing.KEPT_VALUES) ** 0.5
        assert value / count == pytest.approx(percentile, abs=allowed)
    assert sum(len(kept) for sample in clock._stages.values() for kept in (sample._first, sample._later)) <= (
        timing.KEPT_VALUES + 5
    )


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=40), st.integers(0, 6))
def test_a_steady_rate_is_the_rate_over_all_stamps(gaps_s, warmup) -> None:
    stamps = array("d", itertools.accumulate(gaps_s))
    rate = SteadyRate(warmup)
    for stamp in stamps:
        rate.tick(stamp)
    assert rate.count == len(stamps)
    assert rate.per_second() == rate_over(stamps, warmup_frames=warmup)


def test_a_recent_median_forgets_what_is_old() -> None:
    recent = RecentMedian(values=3)
    assert recent.median() is None
    for value in (100.0, 1.0, 2.0, 3.0):
        recent.add(value)
    assert recent.median() == 2.0
