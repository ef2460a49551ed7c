"""Spill: what the old background lent to the person goes, what is the person's own stays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.compositing.regions import Rect
from edge_deeplab.compositing.spill import Spill, SpillRemover, take_off

OLD_COLOURS = {
    "green": (60, 180, 40), "blue": (200, 120, 20), "red": (30, 60, 210), "yellow": (40, 200, 230),
    "pink": (180, 60, 170),
}  # fmt: skip
NEW = 200


def composite(
    old_bgr: tuple[int, int, int], person_bgr: tuple[int, int, int] = (105, 130, 185), spilled: float = 0.35
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A person before an old background whose light falls on their rim.

    Returns: the frame (180, 320, 3) uint8, alpha (180, 320) uint8, and the person without spill, (180, 320, 3) float.
    """
    mask = np.zeros((180, 320), np.uint8)
    cv2.ellipse(mask, (160, 130), (70, 100), 0, 0, 360, 255, -1)
    alpha = cv2.GaussianBlur(mask, (0, 0), 2)
    share = alpha[..., np.newaxis] / 255.0
    texture = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 60, mask.shape), (0, 0), 3)[..., np.newaxis]
    person = np.clip(np.array(person_bgr) + texture, 0, 255)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 5)[..., np.newaxis]
    light = spilled * np.exp(-depth / 2.0)
    lit = person + light * (np.array(old_bgr) * 0.9 - person)
    frame = share * lit + (1 - share) * np.array(old_bgr)
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8), alpha, person


def rim_error(picture: np.ndarray, alpha: np.ndarray, person: np.ndarray) -> float:
    """Mean difference of colour, a and b of Lab, along the rim, of a picture before NEW from the one without spill."""
    share = alpha[..., np.newaxis] / 255.0
    ideal = share * person + (1 - share) * NEW
    lab = [cv2.cvtColor((one / 255).astype(np.float32), cv2.COLOR_BGR2LAB) for one in (picture, ideal)]
    depth = cv2.distanceTransform((alpha > 127).view(np.uint8), cv2.DIST_L2, 5)
    rim = (alpha > 5) & (depth < 7)
    return float(np.linalg.norm((lab[0] - lab[1])[..., 1:], axis=2)[rim].mean())


def before_new(frame: np.ndarray, alpha: np.ndarray, old_bgr: tuple[int, int, int]) -> np.ndarray:
    """The clean blend, with the old background known."""
    share = alpha[..., np.newaxis] / 255.0
    return np.clip(np.rint(frame - (1 - share) * np.array(old_bgr) + (1 - share) * NEW), 0, 255).astype(np.uint8)


def despilled(frame: np.ndarray, alpha: np.ndarray, old_bgr: tuple[int, int, int], strength: float) -> np.ndarray:
    behind = np.full((45, 80, 3), old_bgr, np.uint8)
    spill = SpillRemover(strength).spill(frame, alpha, behind)
    return take_off(before_new(frame, alpha, old_bgr), spill)


@pytest.mark.parametrize("old", OLD_COLOURS.values(), ids=OLD_COLOURS)
def test_spill_of_any_colour_is_about_halved_and_more_by_more_strength(old):
    frame, alpha, person = composite(old)
    errors = [rim_error(despilled(frame, alpha, old, strength), alpha, person) for strength in (0.0, 0.5, 1.0)]
    assert errors[0] > 2, "a scene without spill tests nothing"
    assert errors[1] < 0.8 * errors[0] and errors[2] < 0.55 * errors[0]


@pytest.mark.parametrize("old", OLD_COLOURS.values(), ids=OLD_COLOURS)
def test_a_person_without_spill_hardly_changes(old):
    frame, alpha, person = composite(old, spilled=0.0)
    left, taken = (rim_error(despilled(frame, alpha, old, strength), alpha, person) for strength in (0.0, 1.0))
    assert taken < left + 0.5  # a Lab difference of one can hardly be seen


def test_clothes_of_the_old_colour_stay():
    old = OLD_COLOURS["green"]
    frame, alpha, _ = composite(old, person_bgr=old, spilled=0.0)
    spill = SpillRemover(1.0).spill(frame, alpha, np.full((45, 80, 3), old, np.uint8))
    assert np.abs(spill.levels).max() <= 6  # the person's texture alone, clipped at the ends of the range


def test_a_gray_background_leaves_no_spill_and_no_strength_takes_none():
    frame, alpha, _ = composite((120, 120, 120))
    assert not SpillRemover(1.0).spill(frame, alpha, np.full((45, 80, 3), 120, np.uint8)).levels.any()
    green = OLD_COLOURS["green"]
    assert not SpillRemover(0.0).spill(composite(green)[0], alpha, np.full((45, 80, 3), green, np.uint8)).levels.any()


@given(seed=st.integers(0, 999), strength=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_it_stays_within_bounds_and_off_the_background_and_the_inner_person(seed, strength):
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (120, 160, 3), np.uint8)
    alpha = np.zeros((120, 160), np.uint8)
    cv2.circle(alpha, (80, 70), 40, 255, -1)
    behind = np.full((30, 40, 3), rng.integers(0, 256, 3), np.uint8)
    spill = SpillRemover(strength).spill(frame, alpha, behind).levels
    assert not spill[alpha == 0].any()
    assert not spill[cv2.distanceTransform(alpha, cv2.DIST_L2, 5) > 10].any()
    chroma = behind[0, 0] - behind[0, 0] @ np.array([0.114, 0.587, 0.299])
    assert np.linalg.norm(spill.astype(float), axis=2).max() <= np.linalg.norm(chroma) + 1
    luma = spill @ np.array([0.114, 0.587, 0.299])
    assert np.abs(luma).max() <= 0.5  # brightness stays, but for the rounding of each channel


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (37, 53)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_any_frame_and_alpha_pass(shape, value):
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    spill = SpillRemover(1.0).spill(frame, np.full(shape, value, np.uint8), np.full((3, 3, 3), 90, np.uint8)).levels
    assert spill.shape == frame.shape and not spill.any()


@pytest.mark.parametrize("size_hw", [(10, 15), (20, 30), (40, 60), (41, 67)])
def test_a_spill_is_taken_off_a_larger_picture_in_place(size_hw):
    picture = np.full((*size_hw, 3), 100, np.uint8)
    spill = Spill(np.zeros((10, 15, 3), np.int16), [Rect(2, 9, 3, 12)])
    spill.levels[2:9, 3:12] = (-5, 7, 200)
    assert take_off(picture, spill) is picture
    middle = picture[size_hw[0] // 2, size_hw[1] // 2]
    assert middle.tolist() == [105, 93, 0] and picture[0, 0].tolist() == picture[-1, -1].tolist() == [100] * 3
