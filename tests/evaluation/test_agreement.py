"""How far two sides lie apart: small answers worked out by hand, and laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from edge_deeplab.errors import DataError
from edge_deeplab.evaluation.agreement import compare_classes, compare_outputs


def test_steps_are_counted_value_by_value() -> None:
    here = np.array([[0, 10, 20, 30], [100, 100, 100, 255]], np.uint8)
    there = np.array([[0, 11, 17, 30], [100, 100, 100, 0]], np.uint8)
    agreement = compare_outputs(here, there)
    assert (agreement.max_steps, agreement.mean_steps) == (255, (1 + 3 + 255) / 8)
    assert agreement.sample_max_steps == (3, 255)
    assert agreement.sample_mean_steps == (1.0, 255 / 4)
    shares = {name: share for name, share in agreement.bins if share}
    assert shares == {"0": 5 / 8, "1": 1 / 8, "3..4": 1 / 8, "above 32": 1 / 8}
    assert not agreement.is_identical


@given(arrays.arrays(np.int8, (2, 3, 4, 2)), arrays.arrays(np.int8, (2, 3, 4, 2)))
def test_the_sides_may_change_places_and_shares_add_up(one: np.ndarray, other: np.ndarray) -> None:
    forth, back = compare_outputs(one, other), compare_outputs(other, one)
    assert forth == back
    assert sum(forth.shares) == pytest.approx(1)
    assert forth.is_identical == (forth.max_steps == 0) == np.array_equal(one, other)
    assert forth.mean_steps <= forth.max_steps == np.abs(one.astype(int) - other.astype(int)).max()


def test_a_step_of_a_float_output_is_a_255th_of_its_range() -> None:
    here = np.array([[-1.0, 4.1, 0.0]], np.float32)  # a range of 5.1, so a step of 0.02
    there = here + np.array([[0.0, 0.05, -0.01]], np.float32)
    agreement = compare_outputs(here, there)
    assert agreement.step == pytest.approx(0.02)
    assert agreement.max_steps == pytest.approx(2.5, abs=1e-3)
    assert agreement.mean_steps == pytest.approx(1.0, abs=1e-3)
    assert dict(agreement.bins)["2 to 4"] == pytest.approx(1 / 3)


def test_what_one_side_cannot_compute_is_infinitely_far() -> None:
    here = np.array([[0.0, 1.0, np.nan, np.inf]], np.float32)
    assert compare_outputs(here, here).max_steps == 0
    assert compare_outputs(here, np.array([[0.0, np.nan, np.nan, np.inf]], np.float32)).max_steps == np.inf


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (np.zeros((1, 4), np.uint8), np.zeros((1, 5), np.uint8)),
        (np.zeros((1, 4), np.uint8), np.zeros((1, 4), np.int8)),
        (np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8)),
    ],
)
def test_what_cannot_be_compared_is_refused(here: np.ndarray, there: np.ndarray) -> None:
    with pytest.raises(DataError):
        compare_outputs(here, there)


def test_the_person_is_compared_over_all_samples_and_in_each() -> None:
    here = [np.array([[1, 1, 1, 1]]), np.array([[0, 0, 1, 1]])]
    there = [np.array([[1, 1, 1, 1]]), np.array([[0, 0, 1, 0]])]
    agreement = compare_classes(here, there, classes=2, person=1)
    assert agreement.person_iou == agreement.iou == 5 / 6
    assert agreement.sample_iou == (1.0, 0.5)
    assert agreement.same_share == 7 / 8
    assert agreement.mean_iou == pytest.approx((5 / 6 + 2 / 3) / 2)


def test_without_a_person_the_classes_count() -> None:
    here, there = [np.array([[0, 1, 2, 2]])], [np.array([[0, 1, 2, 1]])]
    agreement = compare_classes(here, there, classes=5, person=None)
    assert agreement.person_iou is None
    assert agreement.iou == agreement.mean_iou == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)


def test_nobody_on_both_sides_is_agreement() -> None:
    empty = [np.zeros((2, 2), np.uint8)]
    assert compare_classes(empty, empty, classes=2, person=1).iou == 1.0
