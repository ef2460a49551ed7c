"""Arrays kept from frame to frame."""

from __future__ import annotations

import numpy as np

from edge_deeplab.compositing.buffers import Buffers


def test_an_array_is_kept_while_its_shape_and_type_stay() -> None:
    buffers = Buffers()
    first = buffers.take("a", (4, 5))
    assert buffers.take("a", (4, 5)) is first
    assert buffers.take("b", (4, 5)) is not first
    assert buffers.take("a", (4, 6)).shape == (4, 6)
    assert buffers.take("a", (4, 6), np.float32).dtype == np.float32


def test_planes_are_separate_arrays() -> None:
    planes = Buffers().planes("p", 3, (2, 2))
    assert len({id(plane) for plane in planes}) == 3


def test_scratch_keeps_the_memory_it_once_needed() -> None:
    buffers = Buffers()
    large = buffers.scratch("a", (4, 5))
    small = buffers.scratch("a", (3, 2))
    assert small.shape == (3, 2) and np.shares_memory(small, large) and small.flags.c_contiguous
    assert np.shares_memory(buffers.scratch("a", (4, 5)), large)
    assert buffers.scratch("a", (6, 5)).shape == (6, 5)
    assert buffers.scratch("a", (2, 2), np.float32).dtype == np.float32
    assert len({id(plane.base) for plane in buffers.scratch_planes("p", 3, (2, 2))}) == 3
