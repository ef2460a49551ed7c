"""Rectangles of work: everything that is not plain lies in them, and what is left between two is of one value."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.compositing.regions import Rect, bounds, busy_rects, edge_rects, whole


def some_levels(seed: int) -> np.ndarray:
    """(h, w) uint8 of blots with hard and soft edges."""
    rng = np.random.default_rng(seed)
    size_hw = (int(rng.integers(1, 60)), int(rng.integers(1, 90)))
    levels = (cv2.GaussianBlur(rng.random(size_hw), (0, 0), 4).reshape(size_hw) > 0.5).astype(np.uint8) * 255
    soft = cv2.GaussianBlur(levels, (0, 0), 1.5).reshape(size_hw)
    return np.where(rng.random() < 0.5, levels, soft).astype(np.uint8)


def covered(rects: list[Rect], size_hw: tuple[int, ...]) -> np.ndarray:
    times = np.zeros(size_hw, int)
    for rect in rects:
        rect.of(times)[...] += 1
    assert times.max(initial=0) <= 1, "two rectangles overlap"
    return times == 1


@given(seed=st.integers(0, 999), rows=st.integers(1, 20), gap=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_every_busy_element_is_in_a_rectangle(seed: int, rows: int, gap: int) -> None:
    busy = some_levels(seed)
    inside = covered(busy_rects(busy, rows=rows, gap=gap), busy.shape)
    assert inside[busy > 0].all()
    box = bounds(busy)
    assert (box is None) == (not busy.any())
    if box is not None:
        assert box.of(busy).any(axis=0)[[0, -1]].all() and box.of(busy).any(axis=1)[[0, -1]].all()
        assert np.count_nonzero(box.of(busy)) == np.count_nonzero(busy)


@given(seed=st.integers(0, 999), rows=st.integers(1, 20), gap=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_what_edge_rects_leave_out_is_0_or_255_and_like_its_neighbours(seed: int, rows: int, gap: int) -> None:
    levels = some_levels(seed)
    rects = edge_rects(levels, rows=rows, gap=gap)
    left_out = ~covered(rects, levels.shape)
    square = np.ones((3, 3), np.uint8)
    largest, smallest = cv2.dilate(levels, square), cv2.erode(levels, square)
    plain = (largest == smallest) & ((levels == 0) | (levels == 255))
    assert plain[left_out].all()
    for top in range(0, levels.shape[0], rows):  # a part of a strip between two rectangles has its corner's value
        edges = [0, *(side for rect in rects if rect.top == top for side in (rect.left, rect.right)), levels.shape[1]]
        for left, right in zip(edges[::2], edges[1::2]):
            part = levels[top : top + rows, left:right]
            assert part.size == 0 or (part == part[0, 0]).all()


def test_near_runs_become_one_and_far_ones_stay_two() -> None:
    busy = np.zeros((4, 40), np.uint8)
    busy[:, [3, 8, 30]] = 1
    assert busy_rects(busy, rows=4, gap=6) == [Rect(0, 4, 3, 9), Rect(0, 4, 30, 31)]
    assert busy_rects(np.zeros((4, 40), np.uint8), rows=3, gap=6) == []


def test_rectangles_grow_and_scale() -> None:
    assert Rect(0, 4, 3, 9).grown(2, (5, 40)) == Rect(0, 5, 1, 11)
    assert Rect(1, 2, 3, 4).times(3) == Rect(3, 6, 9, 12)
    assert whole((2, 3)).of(np.arange(6).reshape(2, 3)).size == 6
