"""A model small enough to know by heart: what is bright is the person. Written by hand, run by the real engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest, append_manifest


@pytest.fixture(scope="session")
def bright_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .tflite with its manifest."""
    path = tmp_path_factory.mktemp("bright") / "bright.tflite"
    path.write_bytes(bright_segmenter((64, 64), io="uint8").to_bytes())
    append_manifest(path, Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(64, 64)))
    return path


@pytest.fixture(scope="session")
def bright_person() -> np.ndarray:
    """(180, 320, 3) uint8 RGB: a white person before dark green and dark blue stripes."""
    y, x = np.mgrid[:180, :320]
    picture = np.where((x // 8 % 2 == 0)[..., None], (0, 70, 0), (0, 0, 70)).astype(np.uint8)
    picture[np.hypot(y - 100, x - 160) < 60] = 255
    return picture
