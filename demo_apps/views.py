"""What of a frame's way is shown: the result, the mask, before and after, or the frame as it came.

views = Views()
views.keep(frame.bgr, settings)                         # before the effect writes over the frame
picture = views.show(picture, mask_bgr, settings)       # after it
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edge_deeplab.demo_apps.controls import Settings

BORDER_SHARE = 0.003  # width of the line between before and after, as a share of the frame's


class Views:
    """Holds of a frame what its view needs, in one buffer that is kept; one object serves one thread."""

    def __init__(self) -> None:
        self._before = np.empty((0, 0, 3), np.uint8)

    def keep(self, frame_bgr: np.ndarray, settings: Settings) -> None:
        """Keeps of a frame what `show` will need of it: nothing for the result and the mask.

        frame_bgr: (H, W, 3) uint8, as it came.
        """
        if settings.view not in ("split", "source"):
            return
        if self._before.shape != frame_bgr.shape:
            self._before = np.empty_like(frame_bgr)
        border = _border(frame_bgr, settings)
        np.copyto(self._before[:, :border], frame_bgr[:, :border])

    def show(self, picture: np.ndarray, mask: Callable[[], np.ndarray], settings: Settings) -> np.ndarray:
        """The picture of the view, written over `picture`.

        Args:
            picture: (H, W, 3) uint8 BGR, what became of the frame.
            mask: makes the mask's picture: (H, W) uint8, or (H, W, 3) uint8 BGR; called for the mask's view alone.
            settings: those that `keep` was given for the same frame.

        Returns: (H, W, 3) uint8 BGR.
        """
        if settings.view == "mask":
            seen = mask()
            if seen.ndim == 2:
                cv2.cvtColor(seen, cv2.COLOR_GRAY2BGR, dst=picture)
            else:
                np.copyto(picture, seen)
        elif settings.view in ("split", "source"):
            border = _border(picture, settings)
            np.copyto(picture[:, :border], self._before[:, :border])
            if settings.view == "split":
                half = max(1, round(BORDER_SHARE * picture.shape[1] / 2))
                picture[:, max(0, border - half) : border + half] = 255
        return picture


def _border(frame_bgr: np.ndarray, settings: Settings) -> int:
    """The column where before ends."""
    width = frame_bgr.shape[1]
    return width if settings.view == "source" else round(settings.split_at * width)
