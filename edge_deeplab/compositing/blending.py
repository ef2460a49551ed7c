"""Person over background: the curve that makes a matte an alpha, and the blend itself."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from edge_deeplab import kernels
from edge_deeplab.compositing.buffers import Buffers
from edge_deeplab.compositing.regions import Rect, edge_rects

# The transition is never narrower than this share of the matte's range, or the edge shows the pixels of the matte.
NARROWEST = 0.12
# Into how many strips a frame is cut, and the plain pixels between two edges that are worth a call of their own.
STRIPS = 10
GAP_COLUMNS = 96
# What the blend in C is told to do.
_PLAIN, _CLEAN, _WITHIN = 0, 1, 2


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
    """alpha * frame + (1 - alpha) * background in 8 bits, over buffers it keeps.

    What is surely person or surely background is copied, or left where it is; only around the edge is anything
    computed, in a few rectangles that stay in a core's own cache. Alpha comes smaller than the frame and is enlarged
    there alone. In C (edge_deeplab.kernels) a smaller background is enlarged row by row as it is written, and
    only where it shows; OpenCV enlarges it first. The two ways differ by at most two levels.
    """

    def __init__(self) -> None:
        self._buffers = Buffers()

    def blend(self, frame: np.ndarray, background: np.ndarray, alpha: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Writes the blend into `out`, exact where alpha is 0 or 255, within one level elsewhere.

        Args:
            frame, out: (H, W, 3) uint8, of one shape; `out` may be `frame` or `background`.
            background: (H, W, 3) uint8, or smaller and enlarged bilinearly.
            alpha: (h, w) uint8, 255 shows the frame; at the frame's size, or smaller and enlarged bilinearly.

        Returns: out.
        """
        if self._in_c(_PLAIN, frame, background, alpha, out, None):
            return out
        background = self._enlarged("background", background, frame)
        for part, weights in self._parts(frame, background, alpha, out):
            term = self._buffers.scratch("term", weights.shape)
            cv2.multiply(part.of(frame), weights, dst=term, scale=1 / 255)
            cv2.bitwise_not(weights, dst=weights)
            target = part.of(out)
            cv2.multiply(part.of(background), weights, dst=target, scale=1 / 255)
            cv2.add(target, term, dst=target)
        return out

    def blend_clean(
        self, frame: np.ndarray, behind: np.ndarray, background: np.ndarray, alpha: np.ndarray, out: np.ndarray
    ) -> np.ndarray:
        """As blend, with the old background taken out of the soft edge: no rim of it stays around the person.

        A pixel of the edge is frame = alpha * person + (1 - alpha) * behind, so the person's part is
        frame - (1 - alpha) * behind; it is held within what a colour can be, 0..255 * alpha.

        Args:
            behind: (H, W, 3) uint8, or smaller, what the frame would show without the person.
        """
        if self._in_c(_CLEAN, frame, background, alpha, out, behind):
            return out
        behind = self._enlarged("behind frame", behind, frame)
        background = self._enlarged("background", background, frame)
        for part, weights in self._parts(frame, background, alpha, out):
            term = self._buffers.scratch("term", weights.shape)
            cv2.bitwise_not(weights, dst=weights)
            cv2.multiply(part.of(behind), weights, dst=term, scale=1 / 255)
            cv2.subtract(part.of(frame), term, dst=term)
            target = part.of(out)
            cv2.multiply(part.of(background), weights, dst=target, scale=1 / 255)
            cv2.bitwise_not(weights, dst=weights)
            cv2.min(term, weights, dst=term)
            cv2.add(target, term, dst=target)
        return out

    def blend_within(self, frame: np.ndarray, background: np.ndarray, alpha: np.ndarray, out: np.ndarray) -> np.ndarray:
        """As blend_clean, for a background that is the frame's own, blurred: it tells what was behind as well.

        What stays of the frame is frame - (1 - alpha) * background within 0..255 * alpha. A plain blend would weigh the
        person in a mixed pixel twice, once by the frame and once by alpha, and so fade hair into the blur: held against
        a perfect composite the colours of the edge are a fifth nearer this way (benchmarks/live_quality.py, rim).
        """
        if self._in_c(_WITHIN, frame, background, alpha, out, None):
            return out
        background = self._enlarged("background", background, frame)
        for part, weights in self._parts(frame, background, alpha, out):
            term = self._buffers.scratch("term", weights.shape)
            behind = self._buffers.scratch("behind", weights.shape)
            cv2.bitwise_not(weights, dst=weights)
            cv2.multiply(part.of(background), weights, dst=behind, scale=1 / 255)
            cv2.subtract(part.of(frame), behind, dst=term)
            cv2.bitwise_not(weights, dst=weights)
            cv2.min(term, weights, dst=term)
            cv2.add(term, behind, dst=part.of(out))
        return out

    def _in_c(
        self, kind: int, frame: np.ndarray, background: np.ndarray, alpha: np.ndarray, out: np.ndarray,
        behind: np.ndarray | None,
    ) -> bool:  # fmt: skip
        """Blends in C where that can be done. Returns: whether it was."""
        native = kernels.native()
        pictures = (frame, background, alpha, out) if behind is None else (frame, background, alpha, out, behind)
        if native is None or not kernels.has_rows(*pictures):
            return False
        native.blend(frame, background, alpha, out, behind, kind, cv2.getNumThreads())
        return True

    def _enlarged(self, name: str, picture: np.ndarray, frame: np.ndarray) -> np.ndarray:
        if picture.shape == frame.shape:
            return picture
        larger = self._buffers.take(name, frame.shape)
        return cv2.resize(picture, frame.shape[1::-1], dst=larger, interpolation=cv2.INTER_LINEAR)

    def _parts(
        self, frame: np.ndarray, background: np.ndarray, alpha: np.ndarray, out: np.ndarray
    ) -> Iterator[tuple[Rect, np.ndarray]]:
        """Copies what is plain, and gives the rest: where in the frame, and (h, w, 3) uint8 weights, to be changed."""
        factor = frame.shape[0] // alpha.shape[0]
        if (alpha.shape[0] * factor, alpha.shape[1] * factor) != frame.shape[:2]:
            larger = self._buffers.take("alpha", frame.shape[:2])
            alpha, factor = cv2.resize(alpha, frame.shape[1::-1], dst=larger, interpolation=cv2.INTER_LINEAR), 1
        height, width = alpha.shape
        rows = -(-height // STRIPS)
        rects = edge_rects(alpha, rows=rows, gap=max(1, GAP_COLUMNS // factor))
        place = 0
        for top in range(0, height, rows):
            bottom, left = min(top + rows, height), 0
            while place < len(rects) and rects[place].top == top:
                self._copy(Rect(top, bottom, left, rects[place].left), factor, frame, background, alpha, out)
                yield rects[place].times(factor), self._weights(alpha, rects[place], factor)
                left, place = rects[place].right, place + 1
            self._copy(Rect(top, bottom, left, width), factor, frame, background, alpha, out)

    def _copy(
        self, part: Rect, factor: int, frame: np.ndarray, background: np.ndarray, alpha: np.ndarray, out: np.ndarray
    ) -> None:
        """Copies a plain part of the frame or of the background, where it is not what `out` holds already."""
        if part.left == part.right:
            return
        source = frame if alpha[part.top, part.left] else background
        if source is not out:
            place = part.times(factor)
            np.copyto(place.of(out), place.of(source))

    def _weights(self, alpha: np.ndarray, part: Rect, factor: int) -> np.ndarray:
        height, width = (part.bottom - part.top) * factor, (part.right - part.left) * factor
        weights = self._buffers.scratch("weights", (height, width, 3))
        if factor == 1:
            return cv2.cvtColor(part.of(alpha), cv2.COLOR_GRAY2BGR, dst=weights)
        # The rows above and below have a say in the first and the last; columns outside are like those within.
        above, below = int(part.top > 0), int(part.bottom < alpha.shape[0])
        rows = alpha[part.top - above : part.bottom + below, part.left : part.right]
        enlarged = self._buffers.scratch("enlarged", (rows.shape[0] * factor, width))
        cv2.resize(rows, (width, rows.shape[0] * factor), dst=enlarged, interpolation=cv2.INTER_LINEAR)
        return cv2.cvtColor(enlarged[above * factor :][:height], cv2.COLOR_GRAY2BGR, dst=weights)
