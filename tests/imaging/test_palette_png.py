from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.imaging.decode import decode_image, read_mask
from edge_deeplab.imaging.palette_png import palette_png
from edge_deeplab.labels import colour_map


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 256), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_indices_are_read_back_and_viewers_see_the_colours(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, classes: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, (height, width), dtype=np.uint8)
    data = palette_png(labels, colour_map(classes))
    path = Path(tmp_path_factory.getbasetemp()) / "labels.png"
    path.write_bytes(data)
    assert np.array_equal(read_mask(path), labels)
    assert np.array_equal(decode_image(data, name="labels"), colour_map(classes)[labels])  # check sums, too
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (height, width, 3)
