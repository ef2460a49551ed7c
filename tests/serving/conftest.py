"""One server for all tests of this room, with bounds small enough to be reached."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from serving_process import ServingProcess, serving

SMALL_BOUNDS = (
    "--max-body-mb", "2", "--max-buffer-mb", "8", "--max-megapixels", "2", "--max-pictures", "4",
    "--header-timeout-s", "2", "--body-timeout-s", "2", "--max-connections", "64", "--max-video-mb", "4",
    "--max-store-mb", "8", "--threads", "1", "--max-queue", "4",
)  # fmt: skip


@pytest.fixture(scope="session")
def server() -> Iterator[ServingProcess]:
    """The bundled model behind HTTP."""
    with serving("portrait", *SMALL_BOUNDS) as process:
        yield process


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8 RGB: a person, in the public domain."""
    import skimage.data

    return np.asarray(skimage.data.astronaut())


@pytest.fixture(scope="session")
def photo(astronaut: np.ndarray) -> bytes:
    """The astronaut as a JPEG."""
    return cv2.imencode(".jpg", astronaut[..., ::-1])[1].tobytes()
