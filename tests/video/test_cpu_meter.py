"""The meter on made clocks, and once on the real ones."""

from __future__ import annotations

import pytest

from edge_deeplab.video.cpu_meter import LEAST_SPAN_S, MOST_SPAN_S, CpuMeter


class Clocks:
    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 100.0

    def meter(self) -> CpuMeter:
        return CpuMeter(lambda: self.wall_s, lambda: self.cpu_s)

    def pass_(self, wall_s: float, cpu_s: float) -> None:
        self.wall_s, self.cpu_s = self.wall_s + wall_s, self.cpu_s + cpu_s


def test_share_and_rate_are_those_of_the_last_moments() -> None:
    clocks = Clocks()
    meter = clocks.meter()
    for cpu_s in [0.1] * 100 + [0.02] * 100:
        clocks.pass_(0.04, cpu_s)
        meter.tick()
    assert meter.share() == pytest.approx(0.5) and meter.rate() == pytest.approx(25.0)


def test_nothing_is_said_before_there_is_enough_and_after_a_restart() -> None:
    clocks = Clocks()
    meter = clocks.meter()
    assert meter.share() is None and meter.rate() is None
    for _ in range(int(LEAST_SPAN_S / 0.1)):
        meter.tick()
        assert meter.share() is None
        clocks.pass_(0.1, 0.05)
    clocks.pass_(0.1, 0.05)
    meter.tick()
    assert meter.share() == pytest.approx(0.5)
    meter.restart()
    assert meter.share() is None and meter.rate() is None


def test_frames_dropped_between_count_as_offered() -> None:
    clocks = Clocks()
    meter = clocks.meter()
    for index in range(0, 120, 3):
        clocks.pass_(0.1, 0.05)
        meter.tick(index)
    assert meter.rate() == pytest.approx(10.0) and meter.offered_rate() == pytest.approx(30.0)
    meter.tick()
    assert meter.offered_rate() is None


def test_frames_further_apart_than_the_span_are_still_measured() -> None:
    clocks = Clocks()
    meter = clocks.meter()
    for _ in range(5):
        clocks.pass_(3 * MOST_SPAN_S, 1.5)
        meter.tick()
    assert meter.share() == pytest.approx(1.5 / (3 * MOST_SPAN_S)) and meter.rate() == pytest.approx(1 / 6)


def test_the_real_clocks_see_work() -> None:
    meter = CpuMeter()
    meter.tick()
    total = 0
    while meter.share() is None:
        total += sum(range(1000))
        meter.tick()
    share = meter.share()
    assert share is not None and share > 0.01, "a loop without a pause takes a good part of a core on any machine"
