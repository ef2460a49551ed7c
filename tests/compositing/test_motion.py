"""Laws of carried mattes: they go where the picture goes, and a cut is known for one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing.motion import CUT_LEVELS, LEAST_SIDE, VIEW_SIDE, MatteMotion, motion_view


def scene(shift_xy: tuple[float, float], *, person_only: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(360, 480, 3) uint8 and its true (256, 256) matte: a textured disc over a textured room, moved by pixels."""
    rng = np.random.default_rng(5)
    room, cloth = (cv2.resize(rng.integers(0, 255, (30, 40, 3), np.uint8), (480, 360)) for _ in range(2))
    y, x = np.mgrid[:360, :480].astype(np.float32)
    person = (np.hypot(x - 240, y - 200) < 90).astype(np.float32)
    move = np.array([[1, 0, shift_xy[0]], [0, 1, shift_xy[1]]], np.float32)

    def moved(picture: np.ndarray) -> np.ndarray:
        return cv2.warpAffine(picture, move, (480, 360), borderMode=cv2.BORDER_REPLICATE)

    alpha, cloth = moved(person), moved(cloth)
    behind = room if person_only else moved(room)
    frame = np.where(alpha[..., None] > 0.5, cloth, behind)
    return frame, cv2.resize(alpha, (256, 256), interpolation=cv2.INTER_AREA)


def off(matte: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(matte - truth).mean())


@pytest.mark.parametrize("person_only", [False, True])
@pytest.mark.parametrize("shift_xy", [(12.0, 0.0), (-9.0, 7.0), (20.0, -14.0)])
def test_a_carried_matte_is_where_the_person_went(shift_xy, person_only) -> None:
    (first, matte), (later, truth) = scene((0, 0)), scene(shift_xy, person_only=person_only)
    carried = MatteMotion().carry(matte, motion_view(first), motion_view(later))
    kept = off(matte, truth)
    assert off(carried.matte, truth) < (0.6 if person_only else 0.25) * kept
    assert carried.unexplained < CUT_LEVELS
    assert carried.matte.dtype == np.float32 and 0.0 <= carried.matte.min() <= carried.matte.max() <= 1.0


def test_where_nothing_moves_the_matte_stays() -> None:
    frame, matte = scene((0, 0))
    carried = MatteMotion().carry(matte, motion_view(frame), motion_view(frame))
    assert off(carried.matte, matte) < 1e-4 and carried.unexplained < 0.1


def test_a_change_of_light_is_no_motion() -> None:
    frame, matte = scene((0, 0))
    brighter = cv2.add(frame, np.full_like(frame, 12))
    carried = MatteMotion().carry(matte, motion_view(frame), motion_view(brighter))
    assert off(carried.matte, matte) < 0.005 and carried.unexplained < CUT_LEVELS


def test_a_cut_is_not_explained_and_another_shape_neither() -> None:
    frame, matte = scene((0, 0))
    other = cv2.resize(np.random.default_rng(9).integers(0, 255, (12, 16, 3), np.uint8), (480, 360))
    motion = MatteMotion()
    assert motion.carry(matte, motion_view(frame), motion_view(other)).unexplained > CUT_LEVELS
    turned = np.ascontiguousarray(frame.transpose(1, 0, 2))
    assert motion.carry(matte, motion_view(frame), motion_view(turned)).unexplained > CUT_LEVELS


@pytest.mark.parametrize("shape", [(1, 50), (60, 1), (48, 64), (720, 1280), (1280, 720), (2160, 3840)])
def test_frames_of_any_shape_have_a_view_and_can_be_carried_over(shape) -> None:
    frame = np.full((*shape, 3), 90, np.uint8)
    view = motion_view(frame)
    assert view.dtype == np.uint8 and max(view.shape) == VIEW_SIDE and min(view.shape) >= LEAST_SIDE
    carried = MatteMotion().carry(np.full((16, 20), 0.25, np.float32), view, view)
    assert (carried.matte == 0.25).all()


def test_mattes_of_several_sizes_take_turns() -> None:
    (first, matte), (later, truth) = scene((0, 0)), scene((12, 0))
    motion, views = MatteMotion(), (motion_view(first), motion_view(later))
    for side in (256, 64, 192, 256):
        small, small_truth = (cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in (matte, truth))
        assert off(motion.carry(small, *views).matte, small_truth) < 0.5 * off(small, small_truth)
