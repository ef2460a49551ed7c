"""The ladder is one, and the control applies it, tells of it and, against real load, moves on it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.demo_apps.options import QualityOptions
from edge_deeplab.demo_apps.portrait_effect import PortraitEffect
from edge_deeplab.demo_apps.quality import LADDER, QualityControl, ladder
from edge_deeplab.errors import RecipeError
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.cpu_meter import CpuMeter
from edge_deeplab.video.frames import Frame

FRAMES_UNTIL_LAST = 400
WAIT_S = 60.0


def fixed_meter(cpu_share: float, interval_s: float = 1 / 30) -> CpuMeter:
    """A meter on which every frame takes as long and costs as much."""
    ticks = iter(range(10**9))
    seconds: list[float] = []

    def clock() -> float:
        seconds.append(next(ticks) * interval_s)
        return seconds[-1]

    return CpuMeter(clock, lambda: seconds[-1] * cpu_share)


def control(is_live: bool = True, has_small_model: bool = True, cpu_share: float = 0.4, **asked) -> QualityControl:
    return QualityControl(
        QualityOptions(**asked), has_small_model=has_small_model, is_live=is_live, meter=fixed_meter(cpu_share)
    )


@pytest.mark.parametrize("has_small_model", [False, True])
def test_every_rung_costs_less_and_none_gives_back_what_one_before_gave_up(has_small_model) -> None:
    rungs = ladder(has_small_model=has_small_model)
    assert rungs[0] == LADDER[0] and rungs[0].mask_every == 1
    assert len({rung.name for rung in rungs}) == len(rungs)
    for rung, later in itertools.pairwise(rungs):
        assert later.cost < rung.cost and later.mask_every >= rung.mask_every
        assert later.working_side <= rung.working_side and later.uses_small_model >= rung.uses_small_model
        assert later.refines_edges <= rung.refines_edges
        assert 12 % later.mask_every == 0, "the governor's window holds whole rounds"
    assert has_small_model or not any(rung.uses_small_model for rung in rungs)


def test_without_anything_to_hold_nothing_is_given_up_or_told() -> None:
    free = control(mask_every=3)
    for _ in range(100):
        free.frame_done(1e4)
    asked = CompositingOptions()
    assert free.applied(asked) == asked and free.quality.mask_every == 3
    assert (free.status, free.shares) == ("", {})


def test_what_was_asked_for_is_lowered_by_quality_and_never_raised() -> None:
    slow = control(target_fps=30.0)
    for _ in range(FRAMES_UNTIL_LAST):
        slow.frame_done(500.0)
    last = LADDER[-1]
    coarse = CompositingOptions(working_side=96, refines_edges=False)
    assert slow.applied(CompositingOptions()).working_side == last.working_side
    assert not slow.applied(CompositingOptions()).refines_edges
    assert slow.applied(coarse) == coarse
    assert slow.status == last.name and set(slow.shares) >= {"full", last.name}
    patient = control(target_fps=30.0, mask_every=6)
    for _ in range(FRAMES_UNTIL_LAST):
        patient.frame_done(500.0)
    assert patient.quality.mask_every == 6


def test_compositing_options_are_made_anew_only_when_something_changes() -> None:
    held, asked = control(target_fps=30.0), CompositingOptions()
    first = held.applied(asked)
    held.frame_done(5.0)
    assert held.applied(asked) is first
    assert held.applied(CompositingOptions(strength=0.9)).strength == 0.9
    for _ in range(FRAMES_UNTIL_LAST):
        held.frame_done(500.0)
    assert held.applied(asked) is not first


def test_percent_of_a_core_is_what_is_held() -> None:
    under, over = control(max_cpu=50.0, cpu_share=0.4), control(max_cpu=30.0, cpu_share=0.4)
    for _ in range(2000):
        under.frame_done(10.0)
        over.frame_done(10.0)
    assert under.quality == LADDER[0]
    assert over.quality.name == LADDER[-1].name and over.quality.least_interval_s > 0
    assert "fps" in over.status


def test_of_a_file_time_is_given_and_no_quality() -> None:
    file = control(is_live=False, max_cpu=30.0, cpu_share=1.2)
    for _ in range(2000):
        file.frame_done(10.0)
    assert set(file.shares) == {"full"} and file.quality.least_interval_s > 0


@pytest.mark.parametrize("asked", [{"target_fps": 0.5}, {"max_cpu": 0.0}, {"mask_every": 0}, {"mask_every": 9}])
def test_what_cannot_be_is_refused(asked) -> None:
    with pytest.raises(RecipeError, match="out of range"):
        QualityOptions(**asked)


# Real frames, a real model, real load: each waits for what must come, none bounds how long a thing takes.


class OtherPrograms:
    """Programs that do nothing but count; a context manager that ends them."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Two more for every processor."""
        for _ in range(2 * (os.cpu_count() or 1)):
            self._running.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))

    def __enter__(self) -> OtherPrograms:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._running:
            one.kill()
            one.wait()


class Player:
    """A portrait effect fed with one picture again and again."""

    def __init__(self, segmenter: Segmenter, picture_rgb: np.ndarray, quality: QualityOptions) -> None:
        self.effect = PortraitEffect(segmenter, PortraitCompositor(), quality=quality)
        self._picture = cv2.resize(np.ascontiguousarray(picture_rgb[..., ::-1]), (960, 540))
        self._index = 0

    def play(self) -> float:
        """Makes one frame. Returns: milliseconds."""
        began = time.perf_counter()
        self.effect.apply(Frame(self._index, self._index / 30, self._picture.copy()))
        self._index += 1
        return 1e3 * (time.perf_counter() - began)

    def play_until(self, reached, *, every_s: float = WAIT_S, push=lambda: None) -> None:
        """Plays until `reached`; as long as it is not, `push` is called from time to time."""
        deadline = time.monotonic() + WAIT_S
        pushed_s = float("-inf")
        while not reached():
            assert time.monotonic() < deadline, f"still {self.effect.status}"
            if time.monotonic() - pushed_s > every_s:
                push()
                pushed_s = time.monotonic()
            self.play()


@pytest.fixture
def segmenter(bright_model: Path) -> Iterator[Segmenter]:
    with Segmenter(bright_model) as segmenter:
        yield segmenter


def test_real_load_is_met_and_given_back(segmenter, bright_person) -> None:
    free = Player(segmenter, bright_person, QualityOptions())
    usual_ms = float(np.median([free.play() for _ in range(60)]))
    player = Player(segmenter, bright_person, QualityOptions(target_fps=min(240.0, 1e3 / (2.2 * usual_ms))))
    with OtherPrograms() as others:  # more of them until it hurts: how busy the machine is already is not known
        player.play_until(lambda: player.effect.status != "full", every_s=2.0, push=others.start)
    given_up = player.effect.status
    rungs = [rung.name for rung in ladder(has_small_model=False)]
    player.play_until(lambda: rungs.index(player.effect.status) < rungs.index(given_up))


def test_an_impossible_rate_ends_at_the_last_rung_and_an_easy_one_changes_nothing(segmenter, bright_person) -> None:
    easy = Player(segmenter, bright_person, QualityOptions(target_fps=1.0))
    impossible = Player(segmenter, cv2.resize(bright_person, (1920, 1080)), QualityOptions(target_fps=240.0))
    impossible._picture = cv2.resize(impossible._picture, (3840, 2160))
    last = ladder(has_small_model=False)[-1].name
    impossible.play_until(lambda: impossible.effect.status == last)
    for _ in range(60):
        easy.play()
    assert set(easy.effect.quality_shares) == {"full"}


def test_a_processor_budget_is_held_for_real(segmenter, bright_person) -> None:
    """The share of the processor over 1.5 s comes under the budget, by pauses."""
    player = Player(segmenter, bright_person, QualityOptions(max_cpu=5.0))
    moments: list[tuple[float, float]] = []

    def is_held() -> bool:
        time.sleep(player.effect.least_interval_s())
        moments.append((time.perf_counter(), time.process_time()))
        before = [moment for moment in moments if moments[-1][0] - moment[0] >= 1.5]
        is_paused = player.effect.least_interval_s() > 0
        return is_paused and bool(before) and moments[-1][1] - before[-1][1] <= 0.05 * (moments[-1][0] - before[-1][0])

    player.play_until(is_held)
    assert set(player.effect.quality_shares) == {"full"}, "what is no live source loses no quality by it"
