"""The blend in C: its strips fit together, it writes where it should alone, and it refuses what does not fit."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab import kernels

PLAIN, CLEAN, WITHIN = 0, 1, 2


@pytest.fixture(scope="module")
def native() -> Any:
    if not kernels.compiled():
        pytest.skip("needs the compiled kernels: test_room.py says whether they should be here")
    return kernels.native()


@given(seed=st.integers(0, 9999), kind=st.sampled_from([PLAIN, CLEAN, WITHIN]))
@settings(max_examples=60, deadline=None)
def test_it_is_the_same_with_any_number_of_threads_and_writes_nothing_beside(native: Any, seed: int, kind: int) -> None:
    """Frames of more than one strip; alpha of any size, larger than the frame's too."""
    rng = np.random.default_rng(seed)

    def picture(height: int, width: int) -> np.ndarray:
        return rng.integers(0, 256, (height, width, 3), np.uint8)

    height, width = int(rng.integers(1, 200)), int(rng.integers(1, 60))
    frame, background, behind = (
        picture(height, width),
        picture(*rng.integers(1, 70, 2)),
        picture(*rng.integers(1, 70, 2)),
    )
    blots = cv2.GaussianBlur(rng.random(tuple(rng.integers(1, 90, 2))), (0, 0), 3)
    alpha = np.clip((blots - 0.5) * rng.choice([900, 9000]) + 128, 0, 255).astype(np.uint8).reshape(blots.shape)
    results = []
    for threads in (1, 2, 5):
        around = np.full((height + 2, width + 2, 3), 77, np.uint8)
        native.blend(frame, background, alpha, around[1:-1, 1:-1], behind, kind, threads)
        results.append(around[1:-1, 1:-1].copy())
        around[1:-1, 1:-1] = 77
        assert (around == 77).all()
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


@pytest.mark.parametrize("kind", [PLAIN, CLEAN, WITHIN])
def test_over_one_of_its_pictures_it_writes_the_same(native: Any, kind: int) -> None:
    rng = np.random.default_rng(5)
    frame, background, behind = (rng.integers(0, 256, (130, 90, 3), np.uint8) for _ in range(3))
    alpha = np.clip(rng.integers(-300, 500, (65, 45)), 0, 255).astype(np.uint8)
    apart = np.empty_like(frame)
    native.blend(frame, background, alpha, apart, behind, kind, 2)
    for over in (0, 1):
        pictures = [frame.copy(), background.copy()]
        native.blend(*pictures, alpha, pictures[over], behind, kind, 2)
        np.testing.assert_array_equal(pictures[over], apart)


@pytest.mark.parametrize("value", [0, 255])
def test_a_small_background_without_detail_stays_exactly_that(native: Any, value: int) -> None:
    """The sums of the enlargement lose nothing at either end of a byte."""
    out = np.full((97, 131, 3), 9, np.uint8)
    for colour in (value, 128):
        small = np.full((7, 5, 3), colour, np.uint8)
        native.blend(np.zeros_like(out), small, np.zeros((10, 10), np.uint8), out, None, WITHIN, 1)
        assert (out == colour).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": np.zeros((8, 12, 3), np.float32)}, "frame must hold 'B'; came 'f'"),
        ({"frame": np.zeros((8, 12, 4), np.uint8)}, "frame must have 3 dimensions, 3 channels"),
        (
            {"background": np.zeros((0, 12, 3), np.uint8)},
            "background must have 1 to 65536 rows and columns; came 0 x 12",
        ),
        ({"alpha": np.zeros((4, 12), np.uint8)[:, ::2]}, "alpha must have rows without gaps"),
        ({"out": np.zeros((8, 13, 3), np.uint8)}, "out must be 8 x 12; came 8 x 13"),
        ({"behind": None}, "bytes-like object is required"),
        ({"kind": 3}, "kind must be 0, 1 or 2; came 3"),
    ],
)
def test_what_does_not_fit_is_refused(native: Any, change: dict[str, Any], message: str) -> None:
    fitting: dict[str, Any] = {
        "frame": np.zeros((8, 12, 3), np.uint8), "background": np.zeros((2, 3, 3), np.uint8),
        "alpha": np.zeros((4, 6), np.uint8), "out": np.zeros((8, 12, 3), np.uint8),
        "behind": np.zeros((8, 12, 3), np.uint8), "kind": CLEAN,
    }  # fmt: skip
    native.blend(*fitting.values(), 1)
    with pytest.raises((TypeError, ValueError), match=message):
        native.blend(*(fitting | change).values(), 1)


def test_what_may_not_be_written_is_not(native: Any) -> None:
    frame = np.zeros((8, 12, 3), np.uint8)
    kept = frame.copy()
    kept.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        native.blend(frame, frame, np.zeros((8, 12), np.uint8), kept, None, PLAIN, 1)
