"""What is held back, what is believed after a while, and when a still picture is doubted. Time is given, not waited."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_deeplab.video.frame_checks import FLAT, FROZEN, GREY, CheckOptions, FrameCheck, Judgement

OPTIONS = CheckOptions(patience_s=3.0, frozen_after_s=15.0, look_every_s=0.5)
SHAPE = (90, 160, 3)


def a_picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, SHAPE, np.uint8)


def grey_from(row: int) -> np.ndarray:
    frame = a_picture()
    frame[row:] = 130
    return frame


def flat(bgr: tuple[int, int, int]) -> np.ndarray:
    return np.full(SHAPE, bgr, np.uint8)


def begun() -> FrameCheck:
    check = FrameCheck(OPTIONS)
    check.begin(0.0)
    return check


@pytest.mark.parametrize("bgr", [(0, 0, 0), (0, 135, 0), (128, 128, 128), (16, 17, 16)])
def test_a_cameras_flat_start_is_held_back_without_a_word(bgr) -> None:
    check = begun()
    assert check.judge(flat(bgr), 0.0) == Judgement(is_shown=False, trouble="")
    assert check.judge(flat(bgr), 1.0) == Judgement(is_shown=False, trouble="")
    assert check.judge(a_picture(), 1.1) == Judgement()


def test_a_covered_lens_is_believed_after_a_while_and_a_picture_at_once() -> None:
    check = begun()
    check.judge(a_picture(), 0.0)
    assert check.judge(flat((0, 0, 0)), 1.0) == Judgement(is_shown=False, trouble=FLAT)
    assert not check.judge(flat((0, 0, 0)), 3.9).is_shown
    assert check.judge(flat((0, 0, 0)), 4.1) == Judgement()
    assert check.judge(a_picture(), 4.2) == Judgement()
    assert not check.judge(flat((0, 0, 0)), 5.0).is_shown  # patience begins anew


def test_grey_after_packet_loss_is_held_back_until_a_whole_picture_comes() -> None:
    check = begun()
    check.judge(a_picture(), 0.0)
    assert check.judge(grey_from(40), 1.0) == Judgement(is_shown=False, trouble=GREY)
    assert check.judge(grey_from(0), 1.1).is_shown is False
    assert check.judge(a_picture(), 1.2) == Judgement()


def test_a_room_that_is_grey_is_no_damage() -> None:
    check = begun()
    check.judge(a_picture(), 0.0)
    for second in range(1, 5):
        judgement = check.judge(grey_from(40), float(second))
    assert judgement == Judgement()
    assert check.judge(grey_from(30), 5.0) == Judgement()  # not much more than the last one


def test_a_still_picture_is_doubted_and_opened_again_once() -> None:
    check, still = begun(), a_picture()
    judgements = [check.judge(still, second) for second in range(17)]
    assert judgements[:15] == [Judgement()] * 15
    assert judgements[15] == Judgement(trouble=FROZEN, reopens=True)
    assert judgements[16] == Judgement(trouble=FROZEN)
    check.begin(20.0)
    assert check.judge(still, 20.0) == Judgement()
    assert check.judge(a_picture(1), 100.0) == Judgement()
    assert check.judge(a_picture(1), 200.0) == Judgement()  # a source of still pictures: never again


def test_a_frozen_picture_that_opening_again_cured_may_freeze_again() -> None:
    check = begun()
    for second in range(16):
        frozen = check.judge(a_picture(), second)
    assert frozen.reopens
    check.begin(20.0)
    for second in range(20, 36):
        again = check.judge(a_picture(1), second)
    assert again == Judgement(trouble=FROZEN, reopens=True)


def test_a_small_clock_in_a_still_picture_is_life() -> None:
    check = begun()
    for second in range(40):
        frame = a_picture()
        frame[50:58, 20:26] = second
        assert check.judge(frame, second) == Judgement()


@given(st.lists(st.tuples(st.sampled_from(["good", "flat", "grey", "same"]), st.floats(0, 2)), max_size=60))
def test_no_doubt_outlasts_its_time(steps) -> None:
    """Whatever comes: something is shown at least every patience_s, as long as frames come."""
    check, now_s, shown_s = begun(), 0.0, 0.0
    makers = {"flat": lambda: flat((0, 0, 0)), "grey": lambda: grey_from(0), "same": a_picture}
    for index, (kind, gap_s) in enumerate(steps):
        now_s += gap_s
        frame = makers[kind]() if kind in makers else a_picture(index + 2)
        if check.judge(frame, now_s).is_shown:
            shown_s = now_s
        assert now_s - shown_s <= OPTIONS.patience_s + 2  # and one gap between frames
