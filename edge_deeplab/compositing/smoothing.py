"""A matte that does not flicker: smoothing over time, damped where the picture moves. Knows no model and no frame size.

smoother = MatteSmoother(strength=0.7)
steady = smoother.smooth(matte, gray)
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_deeplab import kernels

# The weight of the past where the matte is certain (0 or 1), relative to where it is undecided (0.5): 0.5 let no lag
# be seen on webcam clips at 30 frames a second and still calms patches that flip from one frame to the next.
CERTAIN_SHARE = 0.5
# Mean absolute change of the picture over a window, in gray levels: up to MOTION_FROM nothing moves, MOTION_RANGE
# further on all does. NOISE_FACTOR times the noise measured in the frame is added to the first; it is taken for at most
# NOISE_LIMIT, or a panning camera would pass for noise.
MOTION_FROM = 1.0
MOTION_RANGE = 5.0
NOISE_LIMIT = 4.0
NOISE_FACTOR = 1.5
MOTION_WINDOW_SHARE = 5 / 256  # of the matte's longer side


class MatteSmoother:
    """Mixes each matte with what it returned before, and holds that state.

    The past weighs `strength * still * (CERTAIN_SHARE + (1 - CERTAIN_SHARE) * uncertainty)`, per pixel. Weighting by
    the uncertainty of the new value follows MediaPipe's segmentation_smoothing_calculator; `still` is ours: it falls
    from 1 to 0 with the local change of the picture, so what moves takes the new matte and leaves no trail.

    Args:
        strength: the weight of the past where nothing moves and the matte is undecided; 0 (off) to below 1.
    """

    def __init__(self, strength: float) -> None:
        if not 0.0 <= strength < 1.0:
            raise ValueError(f"strength must be in 0..1, 1 excluded; came {strength}")
        self.strength = strength
        self._state: np.ndarray | None = None
        self._gray: np.ndarray | None = None

    def reset(self) -> None:
        """Forgets the past, as for a new shot."""
        self._state = self._gray = None

    def smooth(self, matte: np.ndarray, gray: np.ndarray) -> np.ndarray:
        """The matte, mixed with the past.

        Args:
            matte: (h, w) float32 in 0..1. Another shape than before starts anew.
            gray: (h, w) uint8, the picture the matte belongs to, at the matte's resolution.

        Returns: (h, w) float32 in 0..1, valid until the next call.
        """
        if gray.shape != matte.shape:
            raise ValueError(f"gray {gray.shape} and matte {matte.shape} must have one shape")
        state, before = self._state, self._gray
        if state is None or before is None or state.shape != matte.shape:
            self._state = matte.astype(np.float32, copy=True)
            self._gray = gray.copy()
            return self._state
        native = kernels.native()
        if native is not None and kernels.has_rows(matte, gray):
            native.smooth(
                state, before, matte, gray, self.strength, CERTAIN_SHARE,
                MOTION_FROM, MOTION_RANGE, NOISE_FACTOR, NOISE_LIMIT, _window_radius(gray),
            )  # fmt: skip
            return state
        weight = _stillness(gray, before)
        doubt = np.abs(matte - np.float32(0.5))  # 0.5 - doubt is the uncertainty, from 0.5 (undecided) to 0
        share = np.float32(2.0 * (1.0 - CERTAIN_SHARE))
        weight *= np.float32(1.0) - share * doubt
        weight *= np.float32(self.strength)
        state -= matte
        state *= weight
        state += matte
        np.clip(state, 0.0, 1.0, out=state)  # rounding alone can leave the range, by 1e-7
        np.copyto(before, gray)
        return state


def _stillness(gray: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(h, w) float32: 1 where the two pictures differ by noise alone, 0 where something moved."""
    change = cv2.absdiff(gray, before)
    counts = cv2.calcHist([change], [0], None, [256], [0, 256])  # a median in a quarter of np.median's time
    median = int(np.searchsorted(np.cumsum(counts), change.size / 2))
    calm_below = MOTION_FROM + NOISE_FACTOR * min(float(median), NOISE_LIMIT)
    side = 2 * _window_radius(gray) + 1
    local = cv2.blur(change.astype(np.float32), (side, side))
    local -= np.float32(calm_below)
    local *= np.float32(-1.0 / MOTION_RANGE)
    local += np.float32(1.0)
    return np.clip(local, 0.0, 1.0, out=local)


def _window_radius(gray: np.ndarray) -> int:
    """Of the window in which motion is measured, in pixels to either side of its middle."""
    return max(1, round((max(gray.shape) * MOTION_WINDOW_SHARE - 1) / 2))
