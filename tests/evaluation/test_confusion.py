from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.errors import DataError
from edge_deeplab.evaluation.confusion import ConfusionMatrix, binary_iou, person_and_mean_iou


def test_binary_iou_counts_by_hand() -> None:
    predicted = np.array([[1, 1, 0, 0]], bool)
    truth = np.array([[0, 1, 1, 0]], bool)
    assert binary_iou(predicted, truth) == 1 / 3
    assert person_and_mean_iou(predicted, truth) == (1 / 3, 1 / 3)
    assert binary_iou(predicted, truth, where=np.array([[0, 1, 0, 1]], bool)) == 1.0


def test_two_empty_masks_agree() -> None:
    nothing = np.zeros((4, 5), bool)
    assert binary_iou(nothing, nothing) == 1.0
    assert person_and_mean_iou(nothing, nothing) == (1.0, 1.0)


def test_confusion_matrix_small_answer_by_hand() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 1], [1, 0]]), np.array([[0, 1], [0, 255]], np.uint8))
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(matrix.iou(), [0.5, 0.5, np.nan])
    assert matrix.mean_iou() == 0.5  # the class nobody saw is no zero
    assert matrix.pixel_accuracy() == 2 / 3


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 6))
def test_matrix_of_two_classes_agrees_with_binary_iou_and_order_does_not_matter(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, truth = rng.integers(0, classes, (2, 3, 7, 9))
    forward, backward = ConfusionMatrix(classes), ConfusionMatrix(classes)
    for index in range(3):
        forward.update(predicted[index], truth[index])
        backward.update(predicted[2 - index], truth[2 - index])
    np.testing.assert_array_equal(forward.counts, backward.counts)
    assert forward.counts.sum() == truth.size
    for label in range(classes):
        expected = binary_iou((predicted == label).reshape(-1, 9), (truth == label).reshape(-1, 9))
        if np.isnan(forward.iou()[label]):
            assert label not in predicted and label not in truth
        else:
            assert forward.iou()[label] == pytest.approx(expected)


def test_label_out_of_range_is_named() -> None:
    with pytest.raises(DataError, match=r"cat: label out of range; came 7; allowed: 0\.\.2 or 255 \(void\)"):
        ConfusionMatrix(3).update(np.zeros((1, 2), int), np.array([[0, 7]]), name="cat")
    with pytest.raises(DataError, match="predicted class out of range"):
        ConfusionMatrix(3).update(np.array([[-1]]), np.array([[0]]))
    with pytest.raises(DataError, match="differ in size"):
        ConfusionMatrix(3).update(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_nothing_counted_is_an_error_not_a_nan() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.zeros((2, 2), int), np.full((2, 2), 255))
    with pytest.raises(DataError, match="no labelled pixel"):
        matrix.mean_iou()
