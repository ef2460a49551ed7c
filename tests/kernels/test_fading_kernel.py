"""What is dropped and raised of a matte, frame after frame: in C as in numpy."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab import kernels
from edge_deeplab.compositing.held_objects import HeldObjectKeeper
from edge_deeplab.compositing.islands import IslandDropper

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="no compiler was there at installation")

ROUNDINGS = 8 * np.finfo(np.float32).eps  # the same few steps in float32, over FRAMES frames
FRAMES = 8


def shot(seed: int, size_hw: tuple[int, int]) -> list[np.ndarray]:
    """Ragged mattes that stay for some frames, and nothing at all for others, so that what was there fades."""
    rng = np.random.default_rng(seed)
    mattes = []
    for _ in range(FRAMES):
        if not mattes or rng.random() < 0.4:
            patches = rng.random((size_hw[0] // 7 + 1, size_hw[1] // 7 + 1), dtype=np.float32)
            large = cv2.resize(patches, size_hw[::-1], interpolation=cv2.INTER_LINEAR).reshape(size_hw)
            level = np.float32(rng.choice([-1.0, 0.4, 0.5]))
            mattes.append(np.clip((large - 0.5) * 2 + level, 0, 1))
        else:
            mattes.append(mattes[-1])
    return mattes


sizes = st.one_of(st.tuples(st.integers(1, 6), st.integers(1, 6)), st.tuples(st.integers(1, 130), st.integers(1, 130)))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**16), size_hw=sizes)
def test_islands_fade_the_same_way(seed: int, size_hw: tuple[int, int]) -> None:
    compiled, opencv = IslandDropper(0.4), IslandDropper(0.4)
    for matte in shot(seed, size_hw):
        kept = compiled.drop(matte)
        with kernels.opencv_only():
            expected = opencv.drop(matte)
        assert (kept is matte) == (expected is matte)
        assert np.abs(kept - expected).max() <= ROUNDINGS


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**16), size_hw=sizes)
def test_what_is_held_is_raised_the_same_way(seed: int, size_hw: tuple[int, int]) -> None:
    compiled, opencv = HeldObjectKeeper(), HeldObjectKeeper()
    for matte in shot(seed, size_hw):
        kept = compiled.keep(matte)
        with kernels.opencv_only():
            expected = opencv.keep(matte)
        assert (kept is matte) == (expected is matte)
        assert np.abs(kept - expected).max() <= ROUNDINGS


def test_what_is_gone_fades_out_and_leaves_the_matte_itself() -> None:
    matte = np.zeros((64, 64), np.float32)
    matte[20:, 20:50] = 1
    with_flag = matte.copy()
    with_flag[2:8, 2:8] = 1
    dropper = IslandDropper(0.25)
    assert dropper.drop(with_flag)[4, 4] == 0
    shares = [float(1 - dropper.drop(with_flag * 0 + 1)[4, 4]) for _ in range(40)]  # one person, all over the frame
    assert 0.7 < shares[0] < 0.9 and shares == sorted(shares, reverse=True) and shares[-1] == 0
    assert dropper.drop(matte) is matte


def test_another_size_starts_anew() -> None:
    with_flag = np.zeros((60, 60), np.float32)
    with_flag[20:, 20:50] = with_flag[2:8, 2:8] = 1
    dropper = IslandDropper(0.4)
    assert dropper.drop(with_flag)[4, 4] == 0
    one_person = np.ones((30, 40), np.float32)
    assert dropper.drop(one_person) is one_person


def test_what_does_not_fit_is_refused() -> None:
    native = kernels.native()
    assert native is not None
    matte, other = np.zeros((8, 9), np.float32), np.zeros((9, 8), np.float32)
    mask, numbers = np.zeros((8, 9), np.uint8), (0.2, 0.75, 0.1)
    assert native.fade_out(matte, None, matte.copy(), matte.copy(), 0.8) == 0
    assert native.lift(matte, mask, matte.copy(), matte.copy(), (0, 0, 9, 8), *numbers) == 0
    for arrays in ((matte, mask.T.copy(), matte, matte), (matte, mask, other, matte), (matte, mask, matte, other)):
        with pytest.raises(ValueError, match="8 x 9"):
            native.fade_out(*arrays, 0.8)
        with pytest.raises(ValueError, match="8 x 9"):
            native.lift(*arrays, (0, 0, 9, 8), *numbers)
    for box in ((0, 0, 10, 8), (0, 1, 9, 8), (-1, 0, 5, 5), (0, 0, 0, 5), (5, 5, 2**31 - 1, 1)):
        with pytest.raises(ValueError, match="box"):
            native.lift(matte, mask, matte.copy(), matte.copy(), box, *numbers)
