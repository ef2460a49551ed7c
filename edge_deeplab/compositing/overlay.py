"""Classes drawn over a frame, with a legend of those that are seen. For looking at any model, live."""

from __future__ import annotations

import cv2
import numpy as np

from edge_deeplab.compositing.options import OverlayOptions
from edge_deeplab.labels import colour_map

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Text height as a share of the frame's shorter side, and the smallest scale that can be read.
_TEXT_SHARE = 0.0012
_SMALLEST_TEXT = 0.35


class ClassOverlay:
    """Draws class maps of one model over frames.

    Args:
        labels: one name per class; class 0 is not drawn where it is called background, all else is.
    """

    def __init__(self, labels: tuple[str, ...], options: OverlayOptions | None = None) -> None:
        self.labels, self.options = labels, options or OverlayOptions()
        self._palette = _palette(len(labels))
        self._hides_first = bool(labels) and labels[0].strip().lower() in ("background", "bg", "_background_")

    def draw(self, frame_bgr: np.ndarray, class_map: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
        """The frame with the classes over it.

        Args:
            frame_bgr: (H, W, 3) uint8.
            class_map: (h, w) integer class indices below len(labels), covering the whole frame.
            out: (H, W, 3) uint8 to write into; frame_bgr itself is allowed; None makes a new one.

        Returns: (H, W, 3) uint8, BGR.
        """
        counts = np.bincount(class_map.reshape(-1), minlength=len(self.labels))
        picture = overlay_classes(
            frame_bgr, class_map, palette_bgr=self._palette, opacity=self.options.opacity,
            hidden_class=0 if self._hides_first else None, out=out,
        )  # fmt: skip
        if self.options.shows_legend:
            self._draw_legend(picture, counts / class_map.size)
        return picture

    def _draw_legend(self, picture: np.ndarray, shares: np.ndarray) -> None:
        seen = [
            index for index in np.argsort(-shares)
            if shares[index] >= self.options.least_share and index < len(self.labels)
            and not (index == 0 and self._hides_first)
        ]  # fmt: skip
        scale = max(_SMALLEST_TEXT, min(picture.shape[:2]) * _TEXT_SHARE)
        line = round(30 * scale)
        for row, index in enumerate(seen[: max(0, picture.shape[0] // line - 1)]):
            top = line // 2 + row * line
            colour = tuple(int(value) for value in self._palette[index])
            text = f"{self.labels[index]} {shares[index]:.0%}"
            cv2.rectangle(picture, (line // 2, top), (line // 2 + line - 4, top + line - 4), colour, cv2.FILLED)
            draw_text(picture, text, (2 * line, top + round(0.75 * line)), scale)


def overlay_classes(
    frame_bgr: np.ndarray, class_map: np.ndarray, *, palette_bgr: np.ndarray | None = None, opacity: float = 0.55,
    hidden_class: int | None = 0, out: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Mixes each class's colour into the frame; the hidden class leaves it untouched.

    Args:
        frame_bgr: (H, W, 3) uint8.
        class_map: (h, w) integer class indices below 256, of any size; covers the whole frame.
        palette_bgr: (classes, 3) uint8, BGR; None takes the colours of labels.colour_map.

    Returns: (H, W, 3) uint8, BGR.
    """
    class_map = enlarge_classes(class_map.astype(np.uint8, copy=False), (frame_bgr.shape[1], frame_bgr.shape[0]))
    palette = _palette(int(class_map.max()) + 1) if palette_bgr is None else palette_bgr
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(palette), 0] = palette
    coloured = cv2.applyColorMap(class_map, table)
    mixed = cv2.addWeighted(frame_bgr, 1.0 - opacity, coloured, opacity, 0.0, dst=coloured)
    picture = frame_bgr.copy() if out is None else out
    if picture is not frame_bgr:
        np.copyto(picture, frame_bgr)
    if hidden_class is None:
        np.copyto(picture, mixed)
    else:
        cv2.copyTo(mixed, (class_map != hidden_class).view(np.uint8), dst=picture)
    return picture


def enlarge_classes(class_map: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """A class map at another size with smooth borders: each class is enlarged as a matte and the strongest wins.

    Args:
        class_map: (h, w) uint8.

    Returns: (H, W) uint8, holding no class that was not there.
    """
    if class_map.shape[1::-1] == size_wh:
        return class_map
    present = np.flatnonzero(np.bincount(class_map.reshape(-1), minlength=1))
    result = np.full(size_wh[::-1], present[0], np.uint8)
    if len(present) == 1:
        return result
    strongest = _enlarged_share(class_map, int(present[0]), size_wh)
    for index in present[1:]:
        share = _enlarged_share(class_map, int(index), size_wh)
        np.copyto(result, np.uint8(index), where=share > strongest)
        cv2.max(strongest, share, dst=strongest)
    return result


def draw_text(picture: np.ndarray, text: str, origin: tuple[int, int], scale: float) -> None:
    """Writes white text with a dark rim into a picture, legible on anything.

    Args:
        picture: (H, W, 3) uint8, changed.
        origin: lower left corner of the text, pixels.
    """
    plain = text.encode("ascii", "replace").decode()  # OpenCV's fonts hold nothing else
    thickness = max(1, round(2 * scale))
    # The rim is the text itself, moved: OpenCV 5 spaces thicker glyphs wider, so a thicker text would not lie under it.
    for across, down in ((-1, 0), (1, 0), (0, -1), (0, 1), (1, 1)):
        place = (origin[0] + across, origin[1] + down)
        cv2.putText(picture, plain, place, _FONT, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    cv2.putText(picture, plain, origin, _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)


def _enlarged_share(class_map: np.ndarray, index: int, size_wh: tuple[int, int]) -> np.ndarray:
    return cv2.resize((class_map == index) * np.uint8(255), size_wh, interpolation=cv2.INTER_LINEAR)


def _palette(classes: int) -> np.ndarray:
    return np.ascontiguousarray(colour_map(classes)[:, ::-1])
