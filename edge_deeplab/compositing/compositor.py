"""A frame and its matte in, the finished picture out: the stages of this room in their order, over buffers kept.

compositor = PortraitCompositor(CompositingOptions(strength=0.6))
for frame in source:
    picture = compositor.compose(frame.bgr, segmenter.matte_bgr(frame.bgr), time_s=frame.time_s)
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import cv2
import numpy as np

from edge_deeplab.compositing.blending import Blender, alpha_curve
from edge_deeplab.compositing.blur import LOW_SIDE, BackgroundBlur
from edge_deeplab.compositing.buffers import Buffers
from edge_deeplab.compositing.held_objects import HeldObjectKeeper
from edge_deeplab.compositing.islands import IslandDropper
from edge_deeplab.compositing.lens import LensBlur
from edge_deeplab.compositing.light_wrap import LightWrap
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.compositing.people import PersonFollower
from edge_deeplab.compositing.smoothing import MatteSmoother
from edge_deeplab.compositing.spill import SpillRemover, take_off
from edge_deeplab.compositing.upsampling import COEFFICIENT_SIDE, GuidedUpsampler
from edge_deeplab.imaging.resize import resize_into

# Frames up to this long side get their edge at full resolution, larger ones at half of it or less, up to EDGE_SIDE: the
# blend is at full resolution always, and a half-resolution edge cannot be told from a full one once it is soft.
FULL_EDGE_SIDE = 800
EDGE_SIDE = 1280
# Of the blur that says what lies behind a soft edge: as wide as the edge, so that it reaches past it.
CLEAN_STRENGTH = 0.3


@dataclass(frozen=True)
class Pyramid:
    """The sizes a frame is worked on, each (width, height) and each made from the one before."""

    frame_wh: tuple[int, int]
    edge_wh: tuple[int, int]
    low_wh: tuple[int, int]
    coefficients_wh: tuple[int, int]

    @classmethod
    def of(cls, frame_wh: tuple[int, int], working_side: int = LOW_SIDE) -> Pyramid:
        """The sizes for a frame: whole fractions of one another where the frame's size allows.

        working_side: about the longer side of `low_wh`; below LOW_SIDE the coefficients' size shrinks with it.
        """
        longest = max(frame_wh)
        factor = 1 if longest <= FULL_EDGE_SIDE else 2
        while longest > factor * EDGE_SIDE:
            factor *= 2
        edge = _divided(frame_wh, factor)
        low = _divided(edge, max(1, round(max(edge) / working_side)))
        coefficient_side = COEFFICIENT_SIDE * min(1.0, working_side / LOW_SIDE)
        coefficients = _divided(low, max(1, round(max(low) / coefficient_side)))
        return cls(frame_wh, edge, low, coefficients)


class PortraitCompositor:
    """Sets a person before another background, frame after frame; holds what must be remembered between frames.

    One object serves one video from one thread. Attributes:
        stage_ms: milliseconds of the last call by stage: shrink, islands, smooth, upsample, background,
            blend.
    """

    def __init__(self, options: CompositingOptions | None = None) -> None:
        options = options or CompositingOptions()
        self.stage_ms: dict[str, float] = {}
        self._keeper = HeldObjectKeeper()
        self._dropper = IslandDropper(options.least_person)
        self._follower = PersonFollower()
        self._smoother = MatteSmoother(options.smoothing)
        self._upsampler = GuidedUpsampler()
        self._blur = BackgroundBlur(options.strength)
        self._lens = LensBlur(options.strength)
        self._clean = BackgroundBlur(CLEAN_STRENGTH)
        self._blender = Blender()
        self._remover = SpillRemover(options.despill)
        self._wrap = LightWrap(options.light_wrap)
        self._pyramid: Pyramid | None = None
        self._alpha = np.empty((0, 0), np.uint8)
        self._small_alpha: np.ndarray | None = None
        self._buffers = Buffers()
        self.options = options

    @property
    def options(self) -> CompositingOptions:
        """What it does from the next call on. Set it between calls, from the same thread: the past is kept."""
        return self._options

    @options.setter
    def options(self, options: CompositingOptions) -> None:
        self._options = options
        if options.people == "all":
            self._follower.reset()
        if not options.keeps_held:
            self._keeper.reset()
        self._dropper.least_share = options.least_person
        self._smoother.strength = options.smoothing
        self._blur.strength = self._lens.strength = options.strength
        self._lens.shape, self._lens.highlights = options.aperture, options.highlights
        self._lens.low_side = options.working_side
        self._remover.strength, self._wrap.strength = options.despill, options.light_wrap
        self._curve = alpha_curve(options.edge_softness, options.edge_level)

    @property
    def alpha(self) -> np.ndarray:
        """(H, W) uint8: what the last call blended with, 255 is person. Valid until the next call."""
        if self._small_alpha is not None:  # enlarged for who asks: the blend does without
            cv2.resize(self._small_alpha, self._alpha.shape[::-1], dst=self._alpha, interpolation=cv2.INTER_LINEAR)
            self._small_alpha = None
        return self._alpha

    def reset(self) -> None:
        """Forgets the past, as for another video."""
        self._keeper.reset()
        self._dropper.reset()
        self._follower.reset()
        self._smoother.reset()

    def shrink(self, frame_bgr: np.ndarray) -> np.ndarray:
        """The frame at the resolution its edge is drawn at, for a model to look at too: half the work of shrinking.

        frame_bgr: (H, W, 3) uint8.
        Returns: (h, w, 3) uint8, at most EDGE_SIDE long, the frame itself where it is small; for compose's edge_bgr,
            valid until the next call of shrink or compose.
        """
        edge_wh = Pyramid.of((frame_bgr.shape[1], frame_bgr.shape[0]), self.options.working_side).edge_wh
        return self._shrunk("edge", frame_bgr, edge_wh)

    def compose(
        self,
        frame_bgr: np.ndarray,
        matte: np.ndarray,
        *,
        time_s: float = 0.0,
        out: np.ndarray | None = None,
        edge_bgr: np.ndarray | None = None,
    ) -> np.ndarray:
        """The finished picture.

        Args:
            frame_bgr: (H, W, 3) uint8.
            matte: (h, w) float32 in 0..1, 1 is person; covers the whole frame, at the model's resolution.
            time_s: of the frame; only a moving background asks for it.
            out: (H, W, 3) uint8 to write into; frame_bgr itself is allowed; None makes a new one.
            edge_bgr: what `shrink` gave for this very frame; None: it is made here.

        Returns: (H, W, 3) uint8, BGR.
        """
        _check(frame_bgr, matte)
        clock = _StageClock()
        frame_wh = (frame_bgr.shape[1], frame_bgr.shape[0])
        if self._pyramid is None or self._pyramid.frame_wh != frame_wh:
            self._alpha = np.empty(frame_bgr.shape[:2], np.uint8)
            self.reset()
        self._pyramid = Pyramid.of(frame_wh, self.options.working_side)
        if edge_bgr is None:
            edge_bgr = self._shrunk("edge", frame_bgr, self._pyramid.edge_wh)
        elif edge_bgr.shape[1::-1] != self._pyramid.edge_wh:
            width, height = self._pyramid.edge_wh
            raise ValueError(f"edge_bgr must be {(height, width, 3)}, from shrink; came {edge_bgr.shape}")
        low_bgr = self._shrunk("low", edge_bgr, self._pyramid.low_wh)
        clock.mark("shrink")

        if self.options.keeps_held:
            matte = self._keeper.keep(matte)
        matte = self._dropper.drop(matte)
        if self.options.people == "largest":
            matte = self._follower.only(matte)
        clock.mark("islands")

        if self.options.smoothing > 0.0:
            size_wh = (matte.shape[1], matte.shape[0])
            gray = cv2.resize(cv2.cvtColor(low_bgr, cv2.COLOR_BGR2GRAY), size_wh, interpolation=cv2.INTER_LINEAR)
            matte = self._smoother.smooth(matte, gray.reshape(matte.shape))
        clock.mark("smooth")

        edge_alpha = self._edge_alpha(matte, low_bgr, edge_bgr)
        self._small_alpha = edge_alpha
        clock.mark("upsample")

        background = self._background(frame_bgr, edge_bgr, low_bgr, edge_alpha, time_s)
        clock.mark("background")

        picture = np.empty_like(frame_bgr) if out is None else out
        if self.options.background is not None:
            self._replace(frame_bgr, edge_bgr, low_bgr, edge_alpha, background, picture)
        elif background is not frame_bgr:
            blend = self._blender.blend_within if self.options.cleans_edges else self._blender.blend
            blend(frame_bgr, background, edge_alpha, picture)
        elif picture is not frame_bgr:
            np.copyto(picture, frame_bgr)
        clock.mark("blend")
        self.stage_ms = clock.stage_ms
        return picture

    def _edge_alpha(self, matte: np.ndarray, low_bgr: np.ndarray, edge_bgr: np.ndarray) -> np.ndarray:
        """(he, we) uint8 at the edge resolution."""
        assert self._pyramid is not None
        if self.options.refines_edges:
            coarse_bgr = self._shrunk("coarse", low_bgr, self._pyramid.coefficients_wh)
            return self._upsampler.levels(matte, coarse_bgr, edge_bgr, self._curve)
        small = cv2.convertScaleAbs(matte, alpha=255.0, dst=self._buffers.take("small levels", matte.shape))
        levels = self._buffers.take("levels", self._pyramid.edge_wh[::-1])
        cv2.resize(small, self._pyramid.edge_wh, dst=levels, interpolation=cv2.INTER_LINEAR)
        return cv2.LUT(levels, self._curve, dst=levels)

    def _replace(
        self, frame_bgr: np.ndarray, edge_bgr: np.ndarray, low_bgr: np.ndarray, edge_alpha: np.ndarray,
        background: np.ndarray, picture: np.ndarray,
    ) -> None:  # fmt: skip
        """Sets the person before another background, and makes them look as if they stood there."""
        options = self.options
        spill = behind = None
        if options.cleans_edges or options.despill > 0.0:
            behind = self._behind(low_bgr, edge_alpha)
            if options.despill > 0.0:  # before the blend: the picture may be written over the frame
                spill = self._remover.spill(edge_bgr, edge_alpha, behind)
        if behind is not None and options.cleans_edges:
            self._blender.blend_clean(frame_bgr, behind, background, edge_alpha, picture)
        else:
            self._blender.blend(frame_bgr, background, edge_alpha, picture)
        if spill is not None:
            take_off(picture, spill)
        if options.light_wrap > 0.0:
            self._wrap.apply(picture, background, self.alpha)

    def _behind(self, low_bgr: np.ndarray, edge_alpha: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8, small: the frame's own background near the person, where it is hidden too."""
        assert self._pyramid is not None
        coarse_bgr = self._shrunk("coarse", low_bgr, self._pyramid.coefficients_wh)
        return self._clean.blur(coarse_bgr, edge_alpha)

    def _background(
        self, frame_bgr: np.ndarray, edge_bgr: np.ndarray, low_bgr: np.ndarray, edge_alpha: np.ndarray, time_s: float
    ) -> np.ndarray:
        """(H, W, 3) uint8, or smaller: what stands behind the person; the frame itself where nothing is to be done."""
        assert self._pyramid is not None
        if self.options.background is not None:
            return self.options.background.at(self._pyramid.frame_wh, time_s)
        if self.options.strength == 0.0:
            return frame_bgr
        if self.options.blur_style == "lens":
            return self._lens.blur(edge_bgr, edge_alpha)
        return self._blur.blur(low_bgr, edge_alpha)

    def _shrunk(self, name: str, picture: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
        """The picture at a smaller size: halved as often as it can be, the rest in one bilinear step.

        A half is the mean of 2 x 2 pixels, in a fifth of the time of any other mean of whole pixels.
        """
        step = 0
        while picture.shape[1::-1] != size_wh:
            next_wh = (max(size_wh[0], picture.shape[1] // 2), max(size_wh[1], picture.shape[0] // 2))
            target = self._buffers.take(f"{name} {step}", (next_wh[1], next_wh[0], 3))
            resize_into(picture, target)
            picture, step = target, step + 1
        return picture


class _StageClock:
    """Milliseconds from mark to mark."""

    def __init__(self) -> None:
        self.stage_ms: dict[str, float] = {}
        self._last_ns = time.perf_counter_ns()

    def mark(self, stage: str) -> None:
        now_ns = time.perf_counter_ns()
        self.stage_ms[stage] = (now_ns - self._last_ns) / 1e6
        self._last_ns = now_ns


def _divided(size_wh: tuple[int, int], factor: int) -> tuple[int, int]:
    return max(1, size_wh[0] // factor), max(1, size_wh[1] // factor)


def _check(frame_bgr: np.ndarray, matte: np.ndarray) -> None:
    if frame_bgr.dtype != np.uint8 or frame_bgr.ndim != 3 or frame_bgr.shape[2] != 3 or frame_bgr.size == 0:
        raise ValueError(f"frame must be (H, W, 3) uint8 BGR; came {frame_bgr.shape} {frame_bgr.dtype}")
    if matte.dtype != np.float32 or matte.ndim != 2 or matte.size == 0:
        raise ValueError(f"matte must be (h, w) float32 in 0..1; came {matte.shape} {matte.dtype}")
