"""Person over background: the curve that makes a matte an alpha, and the blend itself."""

from __future__ import annotations

import cv2
import numpy as np

from edge_deeplab.compositing.buffers import Buffers

# The transition is never narrower than this share of the matte's range, or the edge shows the pixels of the matte.
NARROWEST = 0.12


def alpha_curve(softness: float, level: float) -> np.ndarray:
    """The curve from matte to alpha: a smoothstep centred at `level`, exactly 0 and 255 at its ends.

    Exact ends matter: what is surely person stays untouched, what is surely background gets nothing of the frame.

    Args:
        softness: 0..1, width of the transition.
        level: 0..1, the matte that becomes half.

    Returns: (256,) uint8, for cv2.LUT.
    """
    width = NARROWEST + (1.0 - NARROWEST) * softness
    position = np.clip((np.arange(256) / 255.0 - level) / width + 0.5, 0.0, 1.0)
    curve = position * position * (3.0 - 2.0 * position)
    curve[0], curve[-1] = 0.0, 1.0  # a level near an end would leave the ends undecided
    return np.rint(curve * 255.0).astype(np.uint8)


class Blender:
    """alpha * frame + (1 - alpha) * background in 8 bits, over buffers it keeps: a third of cv2.blendLinear's time."""

    def __init__(self) -> None:
        self._buffers = Buffers()

    def blend(self, frame: np.ndarray, background: np.ndarray, alpha: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Writes the blend into `out`, exact where alpha is 0 or 255, within one level elsewhere.

        Args:
            frame, background, out: (H, W, 3) uint8, of one shape; `out` may be `frame` or `background`.
            alpha: (H, W) uint8, 255 shows the frame.

        Returns: out.
        """
        weights, term = self._buffers.take("weights", frame.shape), self._buffers.take("term", frame.shape)
        cv2.merge((alpha, alpha, alpha), dst=weights)
        cv2.multiply(frame, weights, dst=term, scale=1 / 255)
        cv2.bitwise_not(weights, dst=weights)
        cv2.multiply(background, weights, dst=out, scale=1 / 255)
        return cv2.add(out, term, dst=out)

    def blend_clean(
        self, frame: np.ndarray, behind: np.ndarray, background: np.ndarray, alpha: np.ndarray, out: np.ndarray
    ) -> np.ndarray:
        """As blend, with the old background taken out of the soft edge: no rim of it stays around the person.

        A pixel of the edge is frame = alpha * person + (1 - alpha) * behind, so the person's part is
        frame - (1 - alpha) * behind; it is held within what a colour can be, 0..255 * alpha.

        Args:
            behind: (H, W, 3) uint8, what the frame would show without the person.
        """
        weights, term = self._buffers.take("weights", frame.shape), self._buffers.take("term", frame.shape)
        cv2.merge((alpha, alpha, alpha), dst=weights)
        cv2.bitwise_not(weights, dst=weights)
        cv2.multiply(behind, weights, dst=term, scale=1 / 255)
        cv2.subtract(frame, term, dst=term)
        cv2.multiply(background, weights, dst=out, scale=1 / 255)
        cv2.bitwise_not(weights, dst=weights)
        cv2.min(term, weights, dst=term)
        return cv2.add(out, term, dst=out)
