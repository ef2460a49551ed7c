"""A matte carried from the frame it was made of to a later one, along the motion between them. Knows no model.

    motion = MatteMotion()
    then = motion_view(frame_bgr)                                      # with the frame the matte is of
    carried, unexplained = motion.carry(matte, then, motion_view(later_bgr))

Carried over one frame of the moving quarter of webcam clips a matte is off by 1.04 % in place of 1.37 % as it stood,
over three by 1.66 in place of 2.21 (mean absolute difference from the network's own matte; benchmarks/matte_reuse.py).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from edge_deeplab.compositing.buffers import Buffers

# Longer side of what motion is looked for in: 160 was 2 % better and took twice the time, 96 was 4 % worse.
VIEW_SIDE = 128
LEAST_SIDE = 32  # the flow's patches of 8 pixels must fit at its coarser scales
# The finest scale of the flow is half the view: a quarter (OpenCV's choice) lost half of the gain, the whole took
# three times the time for 7 % more.
FINEST_SCALE = 1
# Mean absolute difference, in gray levels, between a view and the earlier one moved onto it. Webcam clips stay below 6
# over three frames, a change of light by 6 levels adds as much, and a cut to another picture has 36 and more.
CUT_LEVELS = 20.0


class Carried(NamedTuple):
    """A matte where the later frame is, and how far the earlier frame explains that one.

    Attributes:
        matte: (h, w) float32 in 0..1, valid until the next call.
        unexplained: mean absolute difference, in gray levels, that motion leaves; above CUT_LEVELS the frames show
            different things and the matte is of no use.
    """

    matte: np.ndarray
    unexplained: float


class MatteMotion:
    """Dense inverse search flow between two small gray views, and the matte moved along it; keeps only buffers.

    Source: Kroeger, Timofte, Dai, Van Gool, "Fast Optical Flow using Dense Inverse Search" (ECCV 2016), as in OpenCV,
    without its variational refinement (no gain here), patches normalised by their mean: without that a change of light
    passes for motion.
    """

    def __init__(self) -> None:
        self._flow_of = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow_of.setFinestScale(FINEST_SCALE)
        self._flow_of.setUseMeanNormalization(True)
        self._buffers = Buffers()
        self._grids: dict[tuple[int, int], np.ndarray] = {}

    def carry(self, matte: np.ndarray, then: np.ndarray, now: np.ndarray) -> Carried:
        """The matte of the frame `then` where the frame `now` shows the same things.

        Args:
            matte: (h, w) float32 in 0..1, covering the whole frame.
            then, now: (hv, wv) uint8, of motion_view. Views of two shapes are of two videos: nothing is explained.
        """
        if then.shape != now.shape:
            return Carried(matte, 255.0)
        # From now back to then: every pixel of the result must know where it comes from.
        flow = self._flow_of.calc(now, then, None)
        moved = self._moved("view", then, flow)
        unexplained = cv2.norm(moved, now, cv2.NORM_L1) / now.size
        carried = self._moved("matte", matte, flow)
        return Carried(np.clip(carried, 0.0, 1.0, out=carried), float(unexplained))  # remap rounds up to 1 + 1e-7

    def _moved(self, name: str, picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
        height, width = picture.shape
        places = self._buffers.take(f"{name}/places", (height, width, 2), np.float32)
        cv2.resize(flow, (width, height), dst=places, interpolation=cv2.INTER_LINEAR)
        if flow.shape[:2] != picture.shape:
            scale = (width / flow.shape[1], height / flow.shape[0], 0.0, 0.0)
            cv2.multiply(places, scale, dst=places)
        cv2.add(places, self._grid(picture.shape), dst=places)
        target = self._buffers.take(name, picture.shape, picture.dtype)
        return cv2.remap(picture, places, None, cv2.INTER_LINEAR, dst=target, borderMode=cv2.BORDER_REPLICATE)

    def _grid(self, shape: tuple[int, ...]) -> np.ndarray:
        height, width = shape
        if (height, width) not in self._grids:
            x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
            self._grids = {**dict(list(self._grids.items())[-1:]), (height, width): np.dstack((x, y))}
        return self._grids[height, width]


def motion_view(frame_bgr: np.ndarray) -> np.ndarray:
    """What motion is looked for in: the frame in gray, VIEW_SIDE pixels on its longer side.

    Every pixel is the mean of four of the frame's, not of all below it: a fifth of the time, and the carried mattes are
    less than 1 % worse.

    Args:
        frame_bgr: (H, W, 3) uint8.

    Returns: (hv, wv) uint8, the caller's own.
    """
    height, width = frame_bgr.shape[:2]
    scale = VIEW_SIDE / max(height, width)
    view_wh = (max(LEAST_SIDE, round(width * scale)), max(LEAST_SIDE, round(height * scale)))
    picked = cv2.resize(frame_bgr, (2 * view_wh[0], 2 * view_wh[1]), interpolation=cv2.INTER_NEAREST)
    return cv2.cvtColor(cv2.resize(picked, view_wh, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2GRAY)
