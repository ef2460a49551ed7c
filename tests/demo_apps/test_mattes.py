"""Mattes in turn and beside: new when due, carried between, new at a cut, errors raised, nothing of another video."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.demo_apps.mattes import MattesBeside, MattesInTurn
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.governor import Quality

WAIT_S = 10.0
BEST = Quality(name="best", cost=1.0)
EVERY_3 = Quality(name="every third", cost=0.5, mask_every=3)
SMALL = Quality(name="small", cost=0.5, uses_small_model=True)


def view_of(picture_rgb: np.ndarray, shift_px: int) -> np.ndarray:
    """(180, 320, 3) uint8 BGR: the picture moved to the right, its own array."""
    return np.ascontiguousarray(np.roll(picture_rgb, shift_px, axis=1)[..., ::-1])


def iou(matte: np.ndarray, other: np.ndarray) -> float:
    person, truth = matte > 0.5, other > 0.5
    return float((person & truth).sum() / (person | truth).sum())


class Counted:
    """A segmenter whose inferences are counted, and held up or broken by `before` in the thread that infers."""

    def __init__(self, segmenter: Segmenter, before: Callable[[], None] = lambda: None) -> None:
        self._segmenter, self._before, self.count = segmenter, before, 0

    def __getattr__(self, name: str):
        return getattr(self._segmenter, name)

    def matte_bgr(self, frame: np.ndarray) -> np.ndarray:
        return self.matte_of(self._segmenter.prepare_bgr(frame))

    def matte_of(self, prepared) -> np.ndarray:
        self._before()
        self.count += 1
        return self._segmenter.matte_of(prepared)


@pytest.fixture
def segmenter(bright_model: Path):
    with Segmenter(bright_model) as segmenter:
        yield segmenter


def test_in_turn_every_nth_matte_is_new_and_the_others_follow_the_motion(segmenter, bright_person) -> None:
    counted = Counted(segmenter)
    mattes = MattesInTurn(counted)
    for index in range(9):
        frame = view_of(bright_person, 6 * index)
        matte = mattes.of(frame, EVERY_3)
        assert ("invoke" in mattes.stage_ms) == (index % 3 == 0) and ("motion" in mattes.stage_ms) == (index % 3 != 0)
        assert iou(matte, segmenter.matte_bgr(frame)) > 0.93
    assert counted.count == 3


@pytest.mark.parametrize("kind", [MattesInTurn, MattesBeside])
def test_every_frame_gets_its_own_exactly_where_quality_and_time_allow(segmenter, bright_person, kind) -> None:
    mattes = kind(segmenter)
    for index in range(5):
        frame = view_of(bright_person, 25 * index)
        wanted = segmenter.matte_bgr(frame)
        assert np.array_equal(mattes.of(frame, BEST, patience_s=WAIT_S), wanted)


@pytest.mark.parametrize("kind", [MattesInTurn, MattesBeside])
def test_a_cut_gets_a_new_matte_at_once(segmenter, bright_person, kind) -> None:
    counted = Counted(segmenter)
    mattes = kind(counted)
    mattes.of(view_of(bright_person, 0), EVERY_3)
    other = 255 - view_of(bright_person, 90)
    assert np.array_equal(mattes.of(other, EVERY_3), segmenter.matte_bgr(other))
    assert counted.count == 2


@pytest.mark.parametrize("kind", [MattesInTurn, MattesBeside])
def test_a_reset_forgets_the_past(segmenter, bright_person, kind) -> None:
    mattes = kind(segmenter)
    mattes.of(view_of(bright_person, 0), EVERY_3)
    mattes.reset()
    later = view_of(bright_person, 12)
    assert np.array_equal(mattes.of(later, EVERY_3), segmenter.matte_bgr(later))


@pytest.mark.parametrize("kind", [MattesInTurn, MattesBeside])
def test_another_frame_size_gets_a_new_matte(segmenter, bright_person, kind) -> None:
    mattes = kind(segmenter)
    mattes.of(view_of(bright_person, 0), EVERY_3)
    tall = np.ascontiguousarray(view_of(bright_person, 0).transpose(1, 0, 2))
    assert np.array_equal(mattes.of(tall, EVERY_3), segmenter.matte_bgr(tall))


@pytest.mark.parametrize("kind", [MattesInTurn, MattesBeside])
def test_the_small_model_is_used_when_asked_for_and_there(segmenter, bright_person, kind) -> None:
    big, small = Counted(segmenter), Counted(segmenter)
    frames = [view_of(bright_person, 0), view_of(bright_person, 2)]
    mattes = kind(big, small)
    mattes.of(frames[0], BEST, patience_s=WAIT_S)
    mattes.of(frames[1], SMALL, patience_s=WAIT_S)
    assert (big.count, small.count) == (1, 1)
    alone = kind(big)
    alone.of(frames[0], SMALL, patience_s=WAIT_S)
    assert big.count == 2


def test_beside_a_slow_model_does_not_hold_frames_up_and_its_matte_is_carried(segmenter, bright_person) -> None:
    first_done, go_on = threading.Event(), threading.Event()

    def before() -> None:
        if first_done.is_set():
            assert go_on.wait(WAIT_S)

    with MattesBeside(Counted(segmenter, before)) as mattes:
        mattes.of(view_of(bright_person, 0), BEST)
        first_done.set()
        for index in range(1, 5):  # the model is stuck on the first of them
            frame = view_of(bright_person, 5 * index)
            assert iou(mattes.of(frame, BEST), segmenter.matte_bgr(frame)) > 0.9
            assert "motion" in mattes.stage_ms
        go_on.set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("video-infer")]


def test_beside_the_frame_may_be_written_over_while_its_matte_is_made(segmenter, bright_person) -> None:
    written_over = threading.Event()
    first = view_of(bright_person, 0)
    wanted = segmenter.matte_bgr(first)
    begun = threading.Event()

    def before() -> None:
        if begun.is_set():
            assert written_over.wait(WAIT_S)

    with MattesBeside(Counted(segmenter, before)) as mattes:
        mattes.of(first, BEST)
        begun.set()
        again = view_of(bright_person, 0)
        mattes.of(again, BEST)
        again.fill(0)
        written_over.set()
        for _ in range(1000):
            matte = mattes.of(view_of(bright_person, 0), BEST, patience_s=0.01)
    assert iou(matte, wanted) > 0.999


def test_an_error_of_the_other_thread_reaches_the_caller(segmenter, bright_person) -> None:
    class BrokenError(Exception):
        pass

    def before() -> None:
        raise BrokenError

    with MattesBeside(Counted(segmenter, before)) as mattes, pytest.raises(BrokenError):
        mattes.of(view_of(bright_person, 0), BEST)


def test_closing_twice_is_harmless(segmenter) -> None:
    mattes = MattesBeside(segmenter)
    mattes.close()
    mattes.close()
