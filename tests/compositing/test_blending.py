"""The blend and the curve before it; every law of the blend both in C and in OpenCV."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab import kernels
from edge_deeplab.compositing.blending import Blender, alpha_curve


@pytest.fixture(scope="module", autouse=True, params=["as installed", "OpenCV"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "OpenCV":
        with kernels.opencv_only():
            yield
    else:
        yield


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_blend_is_within_one_level_of_the_formula_and_exact_at_the_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame, background = (rng.integers(0, 256, (9, 14, 3), np.uint8) for _ in range(2))
    alpha = rng.choice(np.array([0, 1, 77, 128, 200, 254, 255], np.uint8), (9, 14))
    result = Blender().blend(frame, background, alpha, np.empty_like(frame))
    share = alpha[..., None] / 255.0
    expected = share * frame + (1 - share) * background
    assert np.abs(result - expected).max() <= 1.0
    np.testing.assert_array_equal(result[alpha == 255], frame[alpha == 255])
    np.testing.assert_array_equal(result[alpha == 0], background[alpha == 0])


@pytest.mark.parametrize("softness", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("level", [0.05, 0.45, 0.95])
def test_the_curve_rises_from_0_to_255(softness: float, level: float) -> None:
    curve = alpha_curve(softness, level).astype(int)
    assert curve[0] == 0 and curve[-1] == 255
    assert (np.diff(curve) >= 0).all()


def test_a_lower_level_keeps_more_and_more_softness_widens() -> None:
    assert (alpha_curve(0.4, 0.3) >= alpha_curve(0.4, 0.6)).all()

    def undecided(softness: float) -> int:
        curve = alpha_curve(softness, 0.5)
        return int(((curve > 0) & (curve < 255)).sum())

    assert undecided(0.0) < undecided(0.5) < undecided(1.0)


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_clean_blend_finds_the_person_in_a_mixed_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    person, behind, background = (rng.integers(0, 256, (9, 14, 3), np.uint8) for _ in range(3))
    alpha = rng.integers(0, 256, (9, 14)).astype(np.uint8)
    share = alpha[..., None] / 255.0
    frame = np.rint(share * person + (1 - share) * behind).astype(np.uint8)
    result = Blender().blend_clean(frame, behind, background, alpha, np.empty_like(frame))
    # Half a level for the frame's own rounding, half for each of the two products, which the sum then adds up.
    assert np.abs(result - (share * person + (1 - share) * background)).max() <= 1.5


def test_the_clean_blend_is_exact_where_alpha_is_decided() -> None:
    rng = np.random.default_rng(0)
    frame, behind, background = (rng.integers(0, 256, (9, 14, 3), np.uint8) for _ in range(3))
    alpha = rng.choice(np.array([0, 255], np.uint8), (9, 14))
    result = Blender().blend_clean(frame, behind, background, alpha, frame)
    np.testing.assert_array_equal(result[alpha == 0], background[alpha == 0])


@given(seed=st.integers(0, 999), factor=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_small_alpha_blends_as_one_enlarged_over_the_whole_frame(seed: int, factor: int) -> None:
    rng = np.random.default_rng(seed)
    size_hw = (int(rng.integers(1, 90)), int(rng.integers(1, 120)))
    blots = cv2.GaussianBlur(rng.random(size_hw), (0, 0), 6).reshape(size_hw)
    small = np.clip((blots - 0.5) * rng.choice([300, 3000, 1e6]) + 128, 0, 255).astype(np.uint8)
    frame_hw = (size_hw[0] * factor + int(rng.integers(0, 2)), size_hw[1] * factor)  # at times no whole multiple
    frame, behind, background = (rng.integers(0, 256, (*frame_hw, 3), np.uint8) for _ in range(3))
    large = cv2.resize(small, frame_hw[::-1], interpolation=cv2.INTER_LINEAR).reshape(frame_hw)

    def both(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        blender = Blender()
        blended = blender.blend(frame, background, alpha, np.empty_like(frame))
        return blended, blender.blend_clean(frame, behind, background, alpha, frame.copy())

    share = large[..., None] / 255.0
    person, empty = (
        cv2.resize((small == level).astype(np.float32), frame_hw[::-1]).reshape(frame_hw) == 1.0 for level in (255, 0)
    )
    for alpha in (small, large):
        blended, clean = both(alpha)
        # A level for the blend; the small alpha may be enlarged to one level more or less than OpenCV's.
        assert np.abs(blended - (share * frame + (1 - share) * background)).max() <= (1.0 if alpha is large else 2.0)
        np.testing.assert_array_equal(clean[person], frame[person])
        np.testing.assert_array_equal(clean[empty], background[empty])
    assert np.abs(both(small)[1].astype(int) - both(large)[1]).max() <= 2


@given(seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_small_backgrounds_blend_as_ones_enlarged_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame_hw = (int(rng.integers(1, 90)), int(rng.integers(1, 120)))
    frame = rng.integers(0, 256, (*frame_hw, 3), np.uint8)
    alpha = np.clip(rng.integers(-200, 456, frame_hw), 0, 255).astype(np.uint8)
    small = [
        rng.integers(
            0, 256, (int(rng.integers(1, frame_hw[0] + 1)), int(rng.integers(1, frame_hw[1] + 1)), 3), np.uint8
        )
        for _ in range(2)
    ]
    large = [cv2.resize(one, frame_hw[::-1], interpolation=cv2.INTER_LINEAR).reshape(frame.shape) for one in small]

    def all_three(behind: np.ndarray, background: np.ndarray) -> np.ndarray:
        blender, out = Blender(), np.empty_like(frame)
        return np.stack(
            [
                blender.blend(frame, background, alpha, out).astype(int),
                blender.blend_within(frame, background, alpha, out),
                blender.blend_clean(frame, behind, background, alpha, out),
            ]
        )

    # A level for each picture's enlargement, whose share of the sum is a rounding away from the other's.
    assert np.abs(all_three(*small) - all_three(*large)).max() <= 2


def test_a_picture_with_gaps_in_its_rows_blends_like_any_other() -> None:
    rng = np.random.default_rng(3)
    wide, background = rng.integers(0, 256, (20, 30, 3), np.uint8), rng.integers(0, 256, (20, 15, 3), np.uint8)
    alpha = rng.integers(0, 256, (20, 15)).astype(np.uint8)
    for frame in (wide[:, ::2], wide[:, 14::-1], wide[::-1, :15], wide[:, 5:20]):
        result = Blender().blend(frame, background, alpha, np.empty((20, 15, 3), np.uint8))
        share = alpha[..., None] / 255.0
        assert np.abs(result - (share * frame + (1 - share) * background)).max() <= 1.0


def test_the_blend_may_be_written_over_either_of_its_pictures() -> None:
    rng = np.random.default_rng(4)
    frame, background = (rng.integers(0, 256, (180, 320, 3), np.uint8) for _ in range(2))
    alpha = np.zeros((90, 160), np.uint8)
    cv2.circle(alpha, (80, 50), 30, 255, -1)
    expected = Blender().blend(frame, background, alpha, np.empty_like(frame))
    for out in (frame.copy(), background.copy()):
        first = out if np.array_equal(out, frame) else frame
        second = out if np.array_equal(out, background) else background
        np.testing.assert_array_equal(Blender().blend(first, second, alpha, out), expected)


def test_over_the_frames_own_background_nothing_is_lost_of_the_person() -> None:
    """Where the blurred background is what was behind, a mixed pixel is right as it came: hair is not faded twice."""
    rng = np.random.default_rng(0)
    person, behind = (rng.integers(0, 256, (9, 14, 3), np.uint8) for _ in range(2))
    alpha = rng.integers(0, 256, (9, 14)).astype(np.uint8)
    share = alpha[..., None] / 255.0
    frame = np.rint(share * person + (1 - share) * behind).astype(np.uint8)
    within = Blender().blend_within(frame, behind, alpha, np.empty_like(frame))
    plain = Blender().blend(frame, behind, alpha, np.empty_like(frame))
    assert (
        np.abs(within - frame.astype(float)).max() <= 1.0
    )  # half a level for the frame's rounding, half for a product
    assert np.abs(plain - frame.astype(float)).mean() > 10


@given(seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_over_the_frames_own_background_the_ends_are_exact_and_the_rest_within_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame, background = (rng.integers(0, 256, (9, 14, 3), np.uint8) for _ in range(2))
    alpha = rng.choice(np.array([0, 1, 77, 128, 200, 254, 255], np.uint8), (9, 14))
    result = Blender().blend_within(frame, background, alpha, np.empty_like(frame))
    behind = np.rint((1 - alpha[..., None] / 255.0) * background)
    assert (result >= behind - 1).all() and (result <= behind + alpha[..., None] + 1).all()
    np.testing.assert_array_equal(result[alpha == 255], frame[alpha == 255])
    np.testing.assert_array_equal(result[alpha == 0], background[alpha == 0])
    np.testing.assert_array_equal(Blender().blend_within(frame, background, alpha, frame.copy()), result)
    over = frame.copy()
    np.testing.assert_array_equal(Blender().blend_within(over, background, alpha, over), result)
