"""The rows of live_quality.py: every program whose pictures are scored, ours stage by stage.

for name, options in stage_variants().items(): ...
row = OurRow(options); row.make(0, frame, matte)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.compositing.options import Background, CompositingOptions
from edge_deeplab.evaluation.portrait import Made
from edge_deeplab.recipe import describe

GAUSSIAN_WH = (55, 55)
"""Of the plain blur, as MediaPipe's documentation has it."""

NO_STAGE = {"background", "strength", "blur_style", "aperture", "highlights", "working_side"}
"""Options that choose what stands behind, or how much it costs, rather than do something to the edge."""
SWITCHES: Mapping[str, object] = {"edge_level": 0.4, "edge_softness": 0.0}
"""What "off" (or "on" where the default is off) means, where it is not the lower bound."""


def stage_variants(options: CompositingOptions | None = None) -> dict[str, CompositingOptions]:
    """Ours with one stage changed at a time: "no X" where the default has it on, "with X" where it is off.

    Stages are read from CompositingOptions, so that a new one has its row without a word here: a switch is turned
    over; a number goes to its lower bound, or, where it is there already, to the middle of its range.
    """
    options = options or CompositingOptions()
    variants = {}
    for field in dataclasses.fields(options):
        if field.name in NO_STAGE:
            continue
        item, value = describe(CompositingOptions, field.name), getattr(options, field.name)
        if field.name in SWITCHES:
            name, other = f"{field.name} {SWITCHES[field.name]:g}", SWITCHES[field.name]
        elif isinstance(value, bool):
            name, other = f"{'no' if value else 'with'} {field.name}", not value
        elif isinstance(value, int | float):
            assert item.low is not None and item.high is not None, field.name
            is_on = value > item.low
            other = item.low if is_on else (item.low + item.high) / 2
            name = f"no {field.name}" if is_on else f"{field.name} {other:g}"
        elif item.choices:
            other = next(choice for choice in item.choices if choice != value)
            name = f"{field.name} {other}"
        else:
            raise TypeError(f"{field.name}: what switches it off? Name it in SWITCHES or NO_STAGE")
        variants[name] = dataclasses.replace(options, **{field.name: other})
    return variants


class OurRow:
    """Our compositor over our mattes, in the order of a clip; the same again of the clean background for the halo."""

    def __init__(self, options: CompositingOptions) -> None:
        self._compositor, self._clean = PortraitCompositor(options), PortraitCompositor(options)

    def make(self, frame_bgr: np.ndarray, matte: np.ndarray, *, time_s: float = 0.0) -> Made:
        """The alpha and the picture of the next frame."""
        picture = self._compositor.compose(frame_bgr, matte, time_s=time_s)
        return Made(alpha=self._compositor.alpha.astype(np.float32) / 255, picture_bgr=picture)

    def behind(self, clean_bgr: np.ndarray, *, time_s: float = 0.0) -> np.ndarray:
        """What it shows where nobody is: the compositor's own blur of the clean background, or the new one."""
        return self._clean.compose(clean_bgr, np.zeros((256, 256), np.float32), time_s=time_s)


class PlainRow:
    """A matte enlarged, OpenCV's blur of the whole frame or a new background, OpenCV's blend: no work on the edge."""

    def __init__(self, background: Background | None = None) -> None:
        self._background = background

    def make(self, frame_bgr: np.ndarray, matte: np.ndarray, *, time_s: float = 0.0) -> Made:
        """The alpha and the picture of the next frame."""
        alpha = cv2.resize(matte, frame_bgr.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        behind = self.behind(frame_bgr, time_s=time_s)
        return Made(alpha=alpha, picture_bgr=cv2.blendLinear(frame_bgr, behind, alpha, 1 - alpha))

    def behind(self, clean_bgr: np.ndarray, *, time_s: float = 0.0) -> np.ndarray:
        """What it shows where nobody is."""
        if self._background is not None:
            return self._background.at((clean_bgr.shape[1], clean_bgr.shape[0]), time_s)
        return cv2.GaussianBlur(clean_bgr, GAUSSIAN_WH, 0)


@dataclass(frozen=True)
class PeerClip:
    """What the peer made of a clip: masks of all frames; of the stills, pictures and blurred backgrounds by script."""

    masks: np.ndarray
    pictures: Mapping[str, np.ndarray]
    blurred: Mapping[str, np.ndarray]

    def make(self, script: str, index: int, still: int | None) -> Made:
        """still: the frame's number among the stills; None where it is none of them."""
        mask = self.masks[index]
        alpha = (mask > 0.1).astype(np.float32) if script == "usual" else mask  # "usual" shows what is above, whole
        return Made(alpha=alpha, picture_bgr=None if still is None else self.pictures[script][still])
