"""What is half seen: kept where it is joined to the person or within them, and nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.compositing.held_objects import KEPT, HeldObjectKeeper, held_regions

SIDE = 128


def scene(**regions: tuple[float, tuple[int, int, int, int]]) -> np.ndarray:
    """(SIDE, SIDE) float32: a person in the middle, and rectangles (value, (left, top, right, bottom)) over it."""
    matte = np.zeros((SIDE, SIDE), np.float32)
    cv2.rectangle(matte, (40, 30), (88, 127), 1.0, -1)
    for value, (left, top, right, bottom) in regions.values():
        matte[top:bottom, left:right] = value
    return matte


def test_an_object_half_seen_at_the_hand_is_kept():
    matte = scene(cup=(0.45, (89, 60, 110, 80)))
    kept = HeldObjectKeeper().keep(matte)
    assert kept[63:77, 92:107].min() == pytest.approx(KEPT)
    np.testing.assert_array_equal(kept[:, :80], matte[:, :80])


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("apart from the person", (0.45, (100, 60, 120, 80))),
        ("hardly seen", (0.3, (89, 60, 110, 80))),
        ("a soft rim", (0.45, (89, 40, 91, 120))),
    ],
)
def test_what_is_not_held_stays_as_it_is(name, region):
    matte = scene(other=region)
    assert HeldObjectKeeper().keep(matte) is matte


def test_a_hole_half_seen_is_filled_and_the_view_past_an_arm_is_not():
    half = scene(hole=(0.38, (55, 60, 75, 90)))
    assert HeldObjectKeeper().keep(half)[62:88, 57:73].min() == pytest.approx(KEPT)
    view = scene(hole=(0.02, (55, 60, 75, 90)))
    assert HeldObjectKeeper().keep(view) is view


def test_a_notch_in_the_border_is_no_hole():
    assert held_regions(scene(hole=(0.38, (55, 60, 75, 90)))) is not None
    assert held_regions(scene(notch=(0.38, (55, 100, 75, 128)))) is None


@given(seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_it_only_raises_and_leaves_what_is_decided(seed):
    rough = np.random.default_rng(seed).random((32, 48)).astype(np.float32)
    matte = cv2.normalize(cv2.GaussianBlur(rough, (0, 0), 3), None, 0.0, 1.0, cv2.NORM_MINMAX)
    matte = np.clip(matte, 0.0, 1.0)
    before = matte.copy()
    kept = HeldObjectKeeper().keep(matte)
    np.testing.assert_array_equal(matte, before)
    assert (kept >= matte).all() and kept.max() <= matte.max()
    np.testing.assert_array_equal(kept[matte >= KEPT], matte[matte >= KEPT])
    np.testing.assert_array_equal(kept[matte == 0], 0)


def test_what_is_half_seen_in_every_other_frame_does_not_come_and_go():
    keeper = HeldObjectKeeper()
    cup, less = scene(cup=(0.45, (89, 60, 110, 80))), scene(cup=(0.38, (89, 60, 110, 80)))
    seen = [float(keeper.keep(matte)[70, 100]) for matte in [cup, less] * 30]
    assert np.abs(np.diff(seen[20:])).max() < 0.2  # without memory 0.37: from 0.75 to 0.38
    assert min(seen[20:]) > 0.5


def test_what_is_put_away_leaves_no_ghost():
    keeper = HeldObjectKeeper()
    for _ in range(10):
        keeper.keep(scene(cup=(0.45, (89, 60, 110, 80))))
    away = scene()
    np.testing.assert_array_equal(keeper.keep(away), away)
    for _ in range(40):
        last = keeper.keep(away)
    assert last is away


def test_a_matte_of_another_size_starts_anew():
    keeper = HeldObjectKeeper()
    keeper.keep(scene(cup=(0.45, (89, 100, 127, 127))))
    small = cv2.resize(scene(cup=(0.45, (89, 60, 110, 80))), (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(keeper.keep(small), HeldObjectKeeper().keep(small))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 3)])
@pytest.mark.parametrize("value", [0.0, 0.45, 1.0])
def test_any_even_matte_stays(shape, value):
    matte = np.full(shape, value, np.float32)
    np.testing.assert_array_equal(HeldObjectKeeper().keep(matte), matte)
