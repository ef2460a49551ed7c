"""Laws of the measuring itself; no test here knows how fast the machine is."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from edge_deeplab.errors import UsageError
from edge_deeplab.profiling.latency import (
    LatencyStats,
    MeasureOptions,
    collect,
    measure,
    measure_pair,
    median_interval,
    sample_pair,
)

# A call of the order of an inference; 1 % of it is far above the cost of reading a clock on any machine.
WORK_NS = 2_000_000
LARGEST_OVERHEAD = 0.01


def spin() -> None:
    """Works until its own clock says that WORK_NS have passed."""
    end = time.perf_counter_ns() + WORK_NS
    while time.perf_counter_ns() < end:
        pass


def test_statistics_are_those_worked_out_by_hand() -> None:
    stats = LatencyStats.from_samples([float(value) for value in range(1, 102)], [9.0, 5.0, 7.0])
    assert (stats.median_ms, stats.p90_ms, stats.p99_ms) == (51.0, 91.0, 100.0)
    assert (stats.min_ms, stats.max_ms, stats.count) == (1.0, 101.0, 101)
    assert stats.spread == pytest.approx((76 - 26) / 51)
    assert (stats.warmup_count, stats.first_ms, stats.warmup_median_ms) == (3, 9.0, 7.0)


def test_warm_up_calls_are_told_apart() -> None:
    slow_then_fast = iter([100.0] * 3 + [1.0] * 20)
    options = MeasureOptions(warmup=3, runs=20)
    warmup, counted = collect({"only": lambda: next(slow_then_fast)}, options=options)
    stats = LatencyStats.from_samples(counted["only"], warmup["only"])
    assert stats.max_ms == 1.0
    assert stats.first_ms == stats.warmup_median_ms == 100.0


def test_measuring_costs_less_than_a_percent_of_what_is_measured() -> None:
    """Both ways a clock can lie: time it adds to a call, and time it spends between calls."""
    empty = measure(lambda: None, options=MeasureOptions(warmup=100, runs=2000))
    busy = measure(spin, options=MeasureOptions(warmup=0, runs=100))
    assert empty.median_ms < LARGEST_OVERHEAD * busy.median_ms
    between_ms = [_time_between_calls_ms() for _ in range(5)]  # the least of five: other programs may cut in
    assert min(between_ms) < LARGEST_OVERHEAD * busy.median_ms


def _time_between_calls_ms() -> float:
    """Median time from the end of one measured call to the start of the next."""
    edges_ns: list[tuple[int, int]] = []

    def call() -> None:
        edges_ns.append((time.perf_counter_ns(), time.perf_counter_ns()))

    measure(call, options=MeasureOptions(warmup=0, runs=500))
    return float(np.median([after[0] - before[1] for before, after in itertools.pairwise(edges_ns)])) / 1e6


def test_a_pair_runs_in_turns_and_swaps_the_order() -> None:
    order: list[str] = []
    measure_pair(lambda: order.append("a"), lambda: order.append("b"), options=MeasureOptions(warmup=0, runs=4))
    assert "".join(order) == "abbaabba"


def test_equal_things_get_an_interval_around_one_on_a_machine_with_hiccups() -> None:
    """Every tenth call is preempted, as on a shared machine: medians of neighbours do not mind."""
    generator = np.random.default_rng(1)

    def sample() -> float:
        return float(2.0 + generator.exponential(0.05) + 20.0 * (generator.random() < 0.1))

    pair = sample_pair(sample, sample, options=MeasureOptions(warmup=2, runs=200))
    assert pair.ratio_low <= 1.0 <= pair.ratio_high
    assert pair.ratio_high - pair.ratio_low < 0.02
    assert pair.ratio == pytest.approx(1.0, abs=0.02)


def test_a_pair_sees_through_a_machine_that_slows_down() -> None:
    """Twice the work stays twice the work while the clock falls to a tenth: neighbours share it."""
    speed = iter(np.repeat(np.linspace(1.0, 10.0, 60), 2))
    pair = sample_pair(lambda: 2.0 * next(speed), lambda: 1.0 * next(speed), options=MeasureOptions(warmup=0, runs=60))
    assert pair.ratio == pytest.approx(2.0)
    assert pair.ratio_low == pytest.approx(2.0) == pair.ratio_high


def test_the_interval_of_a_median_holds_it_95_times_in_100() -> None:
    generator = np.random.default_rng(3)
    draws = generator.exponential(size=(400, 41))  # skewed as latencies are; its median is ln 2
    hits = [low <= np.log(2) <= high for low, high in map(median_interval, draws.tolist())]
    assert np.mean(hits) >= 0.93  # 95 % less two standard errors of 400 draws


def test_it_stops_after_the_time_given_but_not_before_the_fewest_calls() -> None:
    options = MeasureOptions(warmup=0, runs=100_000, max_duration_s=0.02, min_runs=15)
    stats = measure(spin, options=options)
    assert 15 <= stats.count < 1000


@pytest.mark.parametrize(
    "wrong", [{"warmup": -1}, {"runs": 0}, {"max_duration_s": 0.0}, {"max_duration_s": float("nan")}, {"min_runs": 0}]
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        MeasureOptions(**wrong)  # type: ignore[arg-type]
