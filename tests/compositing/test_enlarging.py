"""Maps enlarged in parts: what all parts together hold is what enlarging the whole map would give."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.compositing.enlarging import busy_parts, enlarged


@given(seed=st.integers(0, 999), factor=st.integers(1, 5), rows=st.integers(1, 40), extra=st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_parts_put_together_are_the_whole_enlarged(seed, factor, rows, extra):
    rng = np.random.default_rng(seed)
    small = np.zeros((30, 50), np.float32)
    for _ in range(3):
        y, x = rng.integers(0, 30), rng.integers(0, 50)
        small[y : y + 5, x : x + 7] = rng.random()
    size_hw = (30 * factor + extra, 50 * factor)
    whole = cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    built = np.zeros(size_hw, np.float32)
    for cells, place in busy_parts(small > 0, size_hw, rows=rows):
        assert not place.of(built).any(), "two parts overlap"
        place.of(built)[:] = enlarged(small, cells, place)
    np.testing.assert_allclose(built, whole, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_several_channels_and_whole_numbers_pass(dtype):
    small = np.zeros((10, 10, 3), dtype)
    small[4:6, 4:6] = (10, 20, 30)
    [(cells, place)] = busy_parts(small.any(axis=2), (40, 40), rows=10)
    part = enlarged(small, cells, place)
    assert part.dtype == dtype and part.max(axis=(0, 1)).tolist() == [10, 20, 30]
    np.testing.assert_array_equal(part, place.of(cv2.resize(small, (40, 40))))


def test_a_plain_map_has_no_parts():
    assert busy_parts(np.zeros((4, 4), bool), (16, 16), rows=2) == []
