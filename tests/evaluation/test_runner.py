from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from edge_deeplab.errors import DataError, ModelError
from edge_deeplab.evaluation.runner import evaluate_classes, evaluate_pairs, threshold


def pairs(count: int = 3) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(5)
    for index in range(count):
        mask = np.zeros((40, 60), bool)
        row, column = rng.integers(5, 15, 2)
        mask[row:, column : column + 25] = True
        yield f"picture{index}", np.repeat(mask[..., None] * np.uint8(200), 3, axis=2), mask


def from_colour(image: np.ndarray) -> np.ndarray:
    return (image[..., 0] > 100).astype(np.float32)


def test_the_truth_as_a_prediction_scores_one() -> None:
    seen: list[int] = []
    report = evaluate_pairs(pairs(), from_colour, on_progress=seen.append)
    assert report.summary() == {
        "pictures": 3, "person_iou": 1.0, "mean_iou": 1.0, "trimap_iou": 1.0, "boundary_f": 1.0
    }  # fmt: skip
    assert seen == [1, 2, 3]


def test_each_figure_is_the_mean_over_pictures() -> None:
    report = evaluate_pairs(pairs(), lambda image: np.roll(from_colour(image), 4, axis=0))
    for figure in ("person_iou", "mean_iou", "trimap_iou", "boundary_f"):
        assert getattr(report, figure) == pytest.approx(np.mean([getattr(one, figure) for one in report.pictures]))
        assert 0 < getattr(report, figure) < 1
    assert json.loads(json.dumps(report.to_dict()))["per_picture"][2]["name"] == "picture2"


def test_small_probability_is_resized_bilinearly_with_half_pixel_centres() -> None:
    # centres at 1 and 3 of 4: 0, .25, .75, 1; the same as sampling the line between the centres
    assert threshold(np.array([[0.0, 1.0]]), (1, 4)).tolist() == [[False, False, True, True]]
    assert not threshold(np.full((2, 2), 0.5), (4, 4)).any()  # exactly one half is not above it


def test_a_set_without_any_edge_has_no_trimap() -> None:
    empty = ("empty", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), bool))
    report = evaluate_pairs([empty], from_colour)
    assert report.trimap_iou is None
    assert report.person_iou == report.boundary_f == 1.0


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ModelError, match=r"picture0: the model's output is no probability; came values -3\.\.-3"):
        evaluate_pairs(pairs(), lambda image: np.full((4, 4), -3.0))
    with pytest.raises(ModelError, match="no probability"):
        evaluate_pairs(pairs(), lambda image: np.full((4, 4), np.nan))
    with pytest.raises(ModelError, match=r"must be \(h, w\)"):
        evaluate_pairs(pairs(), lambda image: np.zeros((4, 4, 2)))


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="odd: its mask is of another size"):
        evaluate_pairs([("odd", np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), bool))], from_colour)
    with pytest.raises(DataError, match="no pair"):
        evaluate_pairs([], from_colour)


def test_classes_are_resized_as_scores_and_void_is_left_out() -> None:
    labels = tuple(f"class{index}" for index in range(21))
    truth = np.repeat(np.repeat(np.arange(4, dtype=np.uint8).reshape(2, 2), 8, 0), 8, 1)
    truth[0, 0] = 255
    scores = np.eye(21, dtype=np.float32)[[[0, 1], [2, 3]]]
    report = evaluate_classes([("four", np.zeros((16, 16, 3), np.uint8), truth)], lambda image: scores, labels)
    assert report.mean_iou == report.pixel_accuracy == 1.0
    assert report.iou[:5] == (1.0, 1.0, 1.0, 1.0, None)
    assert report.confusion.sum() == 255
    assert json.loads(json.dumps(report.to_dict()))["iou"]["class20"] is None


def test_an_output_of_other_classes_is_refused() -> None:
    pair = ("one", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    with pytest.raises(ModelError, match=r"came shape \(4, 4, 5\); allowed: \(h, w, 2\)"):
        evaluate_classes([pair], lambda image: np.zeros((4, 4, 5)), ("background", "person"))
