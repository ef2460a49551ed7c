from __future__ import annotations

import numpy as np
import pytest

from edge_deeplab.calibration.observers import Histogram, extremes


def some_arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.maximum(rng.normal(0.3, 1.0, (3, 7, 5)), -0.8).astype(np.float32) for _ in range(4)]


def test_extremes_hold_zero() -> None:
    assert extremes([np.array([2.0, 3.0]), np.array([5.0])]) == (0.0, 5.0)
    assert extremes([np.array([-4.0, -1.0])]) == (-4.0, 0.0)
    assert extremes([np.empty(0)]) == (0.0, 0.0)


def test_counting_in_parts_is_counting_at_once() -> None:
    arrays = some_arrays()
    low, high = extremes(arrays)
    parts = Histogram.of(arrays, low=low, high=high, bins=64)
    whole = Histogram.of([np.stack(arrays)], low=low, high=high, bins=64)
    assert np.array_equal(parts.counts, whole.counts)
    assert parts.total == whole.total == 4 * 105


def test_zeros_stand_apart() -> None:
    values = np.maximum(some_arrays()[0], 0.0)
    histogram = Histogram.of([values], low=0.0, high=float(values.max()), bins=32)
    assert histogram.zeros == int((values == 0).sum()) > 0
    assert histogram.counts.sum() == int((values > 0).sum())


def test_a_constant_zero_tensor_is_all_zeros() -> None:
    histogram = Histogram.of([np.zeros((4, 4))], low=0.0, high=0.0)
    assert (histogram.total, histogram.zeros, int(histogram.counts.sum())) == (16, 16, 0)


def test_extremes_that_leave_out_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold zero"):
        Histogram(low=1.0, high=2.0, counts=np.ones(4, np.int64))
