"""One person of several: who it is, and that it stays the same one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing.people import CLEARLY_LARGER, PATIENCE, PersonFollower

SIDE = 128
LEFT, RIGHT = (32, 70), (96, 70)


def people(*discs: tuple[tuple[int, int], float]) -> np.ndarray:
    """(SIDE, SIDE) float32: soft discs, each (centre x and y, radius)."""
    matte = np.zeros((SIDE, SIDE), np.float32)
    for (x, y), radius in discs:
        alone = np.zeros_like(matte)
        cv2.circle(alone, (round(x * 16), round(y * 16)), round(radius * 16), 1.0, -1, cv2.LINE_8, 4)
        matte = np.maximum(matte, alone)
    return cv2.GaussianBlur(matte, (0, 0), 1.0)


def shows(matte: np.ndarray, centre: tuple[int, int]) -> bool:
    return bool(matte[centre[1], centre[0]] > 0.5)


def test_the_largest_stays_and_the_others_go_with_their_soft_rims():
    large = people((LEFT, 22))
    only = PersonFollower().only(people((LEFT, 22), (RIGHT, 16), ((64, 15), 8)))
    np.testing.assert_allclose(only, large, atol=1e-3)


def test_one_person_alone_comes_back_as_they_are():
    alone = people((LEFT, 22))
    follower = PersonFollower()
    assert all(follower.only(alone) is alone for _ in range(3))


def test_the_choice_does_not_jump_between_two_of_similar_size():
    follower = PersonFollower()
    rng = np.random.default_rng(0)
    follower.only(people((LEFT, 20), (RIGHT, 19)))
    for _ in range(60):
        left, right = 20 + rng.normal(0, 1.2), 20 + rng.normal(0, 1.2)
        only = follower.only(people((LEFT, left), (RIGHT, right)))
        assert shows(only, LEFT) and not shows(only, RIGHT)


def test_a_clearly_larger_one_is_taken_after_a_while_and_not_for_a_moment():
    follower = PersonFollower()
    follower.only(people((LEFT, 18), (RIGHT, 16)))
    larger = people((LEFT, 18), (RIGHT, 18 * 1.1 * CLEARLY_LARGER**0.5))
    for _ in range(PATIENCE):
        assert shows(follower.only(larger), LEFT)
    follower.only(people((LEFT, 18), (RIGHT, 16)))  # the larger one leans back: the count starts anew
    seen = [shows(follower.only(larger), RIGHT) for _ in range(PATIENCE + 2)]
    assert not any(seen[:PATIENCE]) and seen[-1]
    only = follower.only(larger)
    assert shows(only, RIGHT) and not shows(only, LEFT)


def test_the_person_is_followed_where_they_go_and_passes_others():
    follower = PersonFollower()
    for x in range(24, 105, 4):
        followed, other = (x, 90), (64, 20)
        only = follower.only(people((followed, 18), (other, 16)))
        assert shows(only, followed) and not shows(only, other)


def test_two_who_touch_stay_two():
    follower = PersonFollower()
    for gap in [*range(30, 14, -2), *[14] * 20]:
        left, right = (64 - gap, 70), (64 + gap, 70)
        both = people((left, 18), (right, 17))
        only = follower.only(both)
        assert shows(only, left) and not shows(only, right)
    apart = follower.only(people((LEFT, 18), (RIGHT, 17)))
    assert shows(apart, LEFT) and not shows(apart, RIGHT)


def test_a_smaller_one_stays_alone_however_long_a_larger_one_touches_them():
    follower = PersonFollower()
    follower.only(people((LEFT, 18), (RIGHT, 17)))
    for gap in [*range(30, 16, -2), *[16] * 3 * PATIENCE]:
        left, right = (64 - gap, 70), (64 + gap, 70)
        only = follower.only(people((left, 18), (right, 20)))
        assert shows(only, left) and not shows(only, right)


def test_who_hides_behind_the_followed_person_takes_nothing_of_them():
    follower = PersonFollower()
    for x in range(30, 97, 3):  # a slighter person walks from the left to behind the followed one
        followed, other = (RIGHT, 26), ((x, 75), 15)
        only = follower.only(people(followed, other))
    np.testing.assert_allclose(only, people((RIGHT, 26)), atol=1e-3)


def test_who_jumps_is_found_again_at_once():
    """At a low frame rate a person may overlap with nothing of the frame before."""
    follower = PersonFollower()
    follower.only(people((LEFT, 12)))
    assert shows(follower.only(people((RIGHT, 12))), RIGHT)
    follower.reset()
    follower.only(people((LEFT, 12), ((64, 15), 9)))
    only = follower.only(people((RIGHT, 12), ((64, 15), 9)))
    assert shows(only, RIGHT) and not shows(only, (64, 15))


def test_while_the_person_is_away_for_a_moment_nobody_else_is_shown_then_the_next_largest():
    follower = PersonFollower()
    follower.only(people((LEFT, 20), (RIGHT, 16)))
    for _ in range(PATIENCE):
        assert not (follower.only(people((RIGHT, 16))) > 0.5).any()
    assert shows(follower.only(people((RIGHT, 16))), RIGHT)
    follower.reset()
    follower.only(people((LEFT, 20), (RIGHT, 16)))
    follower.only(people((RIGHT, 16)))
    back = follower.only(people((LEFT, 14), (RIGHT, 16)))
    assert shows(back, LEFT) and not shows(back, RIGHT)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 8)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_any_matte_passes_and_is_not_written_into(shape, value):
    follower = PersonFollower()
    matte = np.full(shape, value, np.float32)
    for _ in range(PATIENCE + 3):
        np.testing.assert_array_equal(follower.only(matte), np.full(shape, value, np.float32))
    follower.only(np.ones((5, 7), np.float32))  # another size starts anew


def test_nobody_then_somebody():
    follower = PersonFollower()
    follower.only(people())
    assert shows(follower.only(people((LEFT, 12))), LEFT)
