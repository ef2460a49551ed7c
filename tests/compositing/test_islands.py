"""Islands: small ones go with their rim, the person and a second one of size stay untouched."""

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing.islands import IslandDropper


def drop_islands(matte, share):
    return IslandDropper(share).drop(matte)


def matte_of(*discs):
    matte = np.zeros((128, 128), np.float32)
    for x, y, radius in discs:
        cv2.circle(matte, (x, y), radius, 1.0, -1)
    return cv2.GaussianBlur(matte, (0, 0), 1.5)


def test_a_small_island_goes_with_its_soft_rim():
    person = matte_of((50, 80, 30))
    both = matte_of((50, 80, 30), (110, 15, 8))
    # a hundredth of the tail of the rim may stay
    np.testing.assert_allclose(drop_islands(both, 0.25), person, atol=1e-2)


def test_the_input_is_not_written_into_and_comes_back_where_nothing_goes():
    both = matte_of((50, 80, 30), (110, 15, 8))
    kept = both.copy()
    drop_islands(both, 0.25)
    np.testing.assert_array_equal(both, kept)
    person = matte_of((50, 80, 30))
    assert drop_islands(person, 0.25) is person
    assert drop_islands(both, 0.0) is both


def test_a_second_person_of_size_stays():
    two = matte_of((35, 80, 30), (100, 80, 22))
    assert drop_islands(two, 0.25) is two


def test_an_island_beside_the_person_takes_nothing_of_the_person():
    person = matte_of((50, 64, 30))
    close = np.maximum(person, matte_of((90, 64, 6)))
    dropped = drop_islands(close, 0.25)
    np.testing.assert_allclose(dropped[person > 0.5], person[person > 0.5])


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3])
def test_a_constant_matte_stays(value):
    matte = np.full((16, 24), value, np.float32)
    np.testing.assert_array_equal(drop_islands(matte, 0.25), matte)


def test_an_island_that_touches_the_person_in_every_other_frame_does_not_flicker():
    apart = matte_of((50, 80, 30), (110, 15, 8))
    joined = apart.copy()
    cv2.line(joined, (50, 80), (110, 15), 1.0, 8)
    dropper = IslandDropper(0.25)
    seen = [float(dropper.drop(matte)[15, 110]) for matte in [apart, joined] * 30]
    changes = np.abs(np.diff(seen[20:]))
    assert changes.max() < 0.25  # without memory every change is 1
    assert 0.2 < np.mean(seen[20:]) < 0.8


def test_an_island_that_joins_the_person_comes_back_and_leaves_nothing_behind():
    dropper = IslandDropper(0.25)
    dropper.drop(matte_of((50, 80, 30), (110, 15, 8)))
    person = matte_of((50, 80, 30))
    for _ in range(40):
        last = dropper.drop(person)
    assert last is person
