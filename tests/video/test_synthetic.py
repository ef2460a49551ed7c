"""Laws of the synthetic view: the same every time, always inside the picture, moving as it says."""

from __future__ import annotations

import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.errors import InputError, MissingExtraError, UsageError
from edge_deeplab.video.source import SourceOptions, open_source
from edge_deeplab.video.synthetic import Motion, SyntheticSource

RESAMPLING_LEVELS = 2.0  # out of 255, mean: two cubic resamplings of a smooth picture, measured 0.7


def smooth_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 30 + 2, width // 30 + 2, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def test_the_same_seed_gives_the_same_frames_and_another_one_others() -> None:
    picture = smooth_picture(120, 160)

    def frames(seed: int) -> np.ndarray:
        return np.stack(
            [f.bgr for f in SyntheticSource(picture, size_wh=(64, 48), frame_count=9, motion=Motion(seed=seed))]
        )

    assert np.array_equal(frames(0), frames(0))
    assert not np.array_equal(frames(0), frames(1))


@settings(deadline=None, max_examples=60)
@given(
    picture_hw=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    size_wh=st.tuples(st.integers(8, 96), st.integers(8, 96)),
    focus_xy=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    index=st.integers(0, 2000), zoom=st.floats(1, 3), pan=st.floats(0, 1), shake=st.floats(0, 0.1),
)  # fmt: skip
def test_the_view_never_leaves_the_picture(picture_hw, size_wh, index, focus_xy, zoom, pan, shake) -> None:
    motion = Motion(zoom=zoom, focus_xy=focus_xy, pan=pan, shake=shake)
    source = SyntheticSource(np.zeros((*picture_hw, 3), np.uint8), size_wh=size_wh, motion=motion)
    back = cv2.invertAffineTransform(source.view(index))
    width, height = size_wh
    left, top = back @ (-0.5, -0.5, 1)  # outer corners of the frame's first and last pixel
    right, bottom = back @ (width - 0.5, height - 0.5, 1)
    slack = 1e-6 * max(picture_hw)
    assert -0.5 - slack <= left < right <= picture_hw[1] - 0.5 + slack
    assert -0.5 - slack <= top < bottom <= picture_hw[0] - 0.5 + slack


@pytest.mark.parametrize("picture_hw", [(180, 240), (1080, 1440)])
def test_view_is_the_true_motion_between_frames(picture_hw) -> None:
    """Frame 0, moved by what view() says, is frame 40; also where the picture was averaged down first."""
    source = SyntheticSource(smooth_picture(*picture_hw), size_wh=(160, 120), motion=Motion(zoom=1.5))
    frames = [frame.bgr for frame in source][:41]
    motion = np.vstack([source.view(40), (0, 0, 1)]) @ np.linalg.inv(np.vstack([source.view(0), (0, 0, 1)]))
    moved = cv2.warpAffine(frames[0], motion[:2], (160, 120), flags=cv2.INTER_CUBIC)
    inside = cv2.warpAffine(np.full((120, 160), 255, np.uint8), motion[:2], (160, 120)) == 255
    assert inside.mean() > 0.5
    assert np.abs(moved.astype(int) - frames[40])[inside].mean() < RESAMPLING_LEVELS
    assert np.abs(frames[0].astype(int) - frames[40])[inside].mean() > 3 * RESAMPLING_LEVELS


def test_without_motion_it_is_the_picture_resized() -> None:
    picture = smooth_picture(120, 160)
    source = SyntheticSource(picture, size_wh=(160, 120), frame_count=30, motion=Motion(zoom=1, pan=0, shake=0))
    for frame in source:
        assert np.array_equal(frame.bgr, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def test_the_default_picture_is_the_astronaut() -> None:
    skimage_data = pytest.importorskip("skimage.data")
    source = open_source("synthetic", SourceOptions(synthetic_frames=3))
    assert source.size_wh == (640, 480) and source.frame_count == 3
    assert np.array_equal(source.picture_bgr[..., ::-1], skimage_data.astronaut())


def test_without_scikit_image_the_user_is_told_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(MissingExtraError, match=r"scikit-image.*pip install"):
        open_source("synthetic")


def test_a_named_picture_is_taken(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "me.png"), smooth_picture(60, 80))
    with open_source(f"synthetic:{tmp_path}/me.png", SourceOptions(size_wh=(40, 30))) as source:
        assert next(iter(source)).bgr.shape == (30, 40, 3)
    with pytest.raises(InputError, match=r"other\.png"):
        open_source(f"synthetic:{tmp_path}/other.png")


@pytest.mark.parametrize(
    "wrong", [{"size_wh": (1, 48)}, {"fps": Fraction(0)}, {"frame_count": 0}, {"picture": np.zeros((4, 4))}]
)
def test_what_is_out_of_range_is_a_usage_error(wrong) -> None:
    with pytest.raises(UsageError):
        SyntheticSource(**{"picture": smooth_picture(60, 60), **wrong})


@pytest.mark.parametrize("wrong", [{"zoom": 0.5}, {"pan": 2.0}, {"focus_xy": (0.5, 1.5)}, {"shake": -1.0}])
def test_motion_out_of_range_is_a_usage_error(wrong) -> None:
    with pytest.raises(UsageError, match="zoom 1"):
        Motion(**wrong)
