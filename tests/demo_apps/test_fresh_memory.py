"""No frame pays for fresh memory: what grows with the frame is kept from frame to frame.

tracemalloc sees every array of numpy's and of OpenCV's results; OpenCV's own working memory inside a call it does not.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing.background import ColourBackground
from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.demo_apps.portrait_effect import PortraitEffect
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.frames import Frame

HD, ODD_HD = (1920, 1080), (1923, 1081)
# Mattes, and a few planes at the model's size: what does not grow with the frame, and is a sixth of one at 1920 x 1080.
SMALL_BYTES = 1_000_000


def moving_person(size_wh: tuple[int, int], count: int = 4) -> list[np.ndarray]:
    """Frames of a disc with a texture that moves before another texture."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 256, (9, 16, 3), np.uint8), size_wh, interpolation=cv2.INTER_CUBIC)
    frames = []
    for step in range(count):
        frame = scene.copy()
        cv2.circle(frame, (size_wh[0] * (10 + step) // 24, size_wh[1] // 2), size_wh[1] // 3, (90, 120, 200), -1)
        frames.append(frame)
    return frames


def discs(count: int = 4, side: int = 128) -> list[np.ndarray]:
    """Mattes that belong to moving_person."""
    mattes = []
    for step in range(count):
        matte = np.zeros((side, side), np.float32)
        cv2.ellipse(matte, (side * (10 + step) // 24, side // 2), (side * 3 // 16, side // 3), 0, 0, 360, 1.0, -1)
        mattes.append(cv2.GaussianBlur(matte, (0, 0), 2))
    return mattes


def most_allocated(work: Callable[[], object]) -> int:
    """The most bytes held at once beyond those held before, once memory has grown to what is needed."""
    for _ in range(3):
        work()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size_wh", [HD, ODD_HD])
@pytest.mark.parametrize(
    "options",
    [
        CompositingOptions(),
        CompositingOptions(strength=0.2, refines_edges=False),
        CompositingOptions(background=ColourBackground((10, 20, 30))),
        CompositingOptions(background=ColourBackground((10, 20, 30)), cleans_edges=False),
    ],
    ids=["blur", "weak blur, plain edge", "colour", "colour, plain edge"],
)
def test_composing_takes_no_memory_that_grows_with_the_frame(
    size_wh: tuple[int, int], options: CompositingOptions
) -> None:
    frames, mattes = moving_person(size_wh), discs()
    compositor = PortraitCompositor(options)
    assert frames[0].nbytes > 6 * SMALL_BYTES

    def compose_all() -> None:
        for frame, matte in zip(frames, mattes, strict=True):
            edge_bgr = compositor.shrink(frame)
            compositor.compose(frame, matte, out=frame, edge_bgr=edge_bgr)

    assert most_allocated(compose_all) < SMALL_BYTES


@pytest.mark.parametrize("size_wh", [HD, ODD_HD])
@pytest.mark.parametrize("trims_ends", [True, False])
def test_segmenting_takes_no_memory_that_grows_with_the_frame(size_wh: tuple[int, int], trims_ends: bool) -> None:
    frames = moving_person(size_wh)
    with Segmenter("portrait", precision="int8", trims_ends=trims_ends) as segmenter:
        assert most_allocated(lambda: [segmenter.matte_bgr(frame).max() for frame in frames]) < SMALL_BYTES


def test_the_whole_effect_takes_no_memory_that_grows_with_the_frame() -> None:
    frames = [Frame(index, index / 30, bgr) for index, bgr in enumerate(moving_person(HD))]
    with (
        Segmenter("portrait", precision="int8", trims_ends=True) as segmenter,
        PortraitEffect(segmenter, PortraitCompositor()) as effect,
    ):
        assert most_allocated(lambda: [effect.apply(frame) is frame.bgr for frame in frames]) < SMALL_BYTES


def test_a_fresh_frame_would_be_seen() -> None:
    """The measure itself: one copy of a frame, made by numpy or by OpenCV, is far above what is allowed."""
    (frame,) = moving_person(HD, count=1)
    assert most_allocated(lambda: frame.copy()) > 6 * SMALL_BYTES
    assert most_allocated(lambda: cv2.bitwise_not(frame)) > 6 * SMALL_BYTES
