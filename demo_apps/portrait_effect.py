"""What becomes of a frame in `edge-deeplab blur`: where model, carried mattes, quality and compositing meet.

    effect = PortraitEffect(segmenter, PortraitCompositor())
    effect.begin(source)
    picture = effect.apply(frame)       # after effect.stages_before, where begin made some

Sources, sinks and threads are the pipeline's.
"""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import NamedTuple

import numpy as np

from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.demo_apps.controls import LiveSettings, Settings
from edge_deeplab.demo_apps.mattes import Mattes, MattesBeside, MattesInTurn
from edge_deeplab.demo_apps.options import QualityOptions
from edge_deeplab.demo_apps.quality import QualityControl
from edge_deeplab.demo_apps.views import Views
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.frames import Frame, Source
from edge_deeplab.video.pipeline import Stage

# Of the time from frame to frame, what may be spent before the next one must be taken: the rest is for other threads.
USABLE_SHARE = 0.9
EXPECTATION_SHARE = 0.1  # how much one more duration counts in what composing is expected to take
USUAL_FPS = 30.0  # of a live source that does not say


class PortraitEffect:
    """Frame in, composed picture out, written over the frame's own array. A context manager.

    In one of three ways, chosen by `begin`:
        in turn: matte and picture one after the other in `apply` (before `begin`);
        in two stages: mattes are made one frame ahead in a stage of their own, and every picture has its own (files,
            and live with delays_frame);
        beside: live, `apply` waits for a matte no longer than the rate of the source allows, and carries the newest
            one to the frame (mattes.MattesBeside).

    Args:
        segmenter, small: the model, and a quicker one that a governed quality may change to.
        compositor: whose options are set from `settings` and quality before every frame.
        settings: what keys may change; None: the compositor's options, for good.
        quality: what is to be held.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        compositor: PortraitCompositor,
        *,
        small: Segmenter | None = None,
        settings: LiveSettings | None = None,
        quality: QualityOptions | None = None,
    ) -> None:
        self.stages_before: tuple[Stage, ...] = ()
        self._segmenter, self._small, self._compositor = segmenter, small, compositor
        self._settings = settings or LiveSettings(Settings(compositing=compositor.options))
        self._options = quality or QualityOptions()
        self._control = self._controlled(is_live=False)
        self._mattes: Mattes = MattesInTurn(segmenter, small)
        self._ready: deque[_Ready] = deque()
        self._interval_s = 1.0 / USUAL_FPS
        self._compose_ms = 0.0
        self._composed_name = self._inferred_name = ""
        self._stage_ms: dict[str, float] = {}
        self._views = Views()

    def begin(self, source: Source) -> None:
        """Chooses the way of a source's frames, before the first of them."""
        self.close()
        self._control = self._controlled(is_live=source.is_live)
        self._interval_s = float(1 / (source.fps or USUAL_FPS))
        if source.is_live and not self._options.delays_frame:
            self.stages_before, self._mattes = (), MattesBeside(self._segmenter, self._small)
        else:
            self.stages_before = (Stage("infer", self._infer, lambda: self._mattes.stage_ms),)
            self._mattes = MattesInTurn(self._segmenter, self._small)

    @property
    def alpha(self) -> np.ndarray:
        """(H, W) uint8: what the last picture was blended with, 255 is person."""
        return self._compositor.alpha

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds of the last call of `apply` by stage: the matte's where it is made there, then compositing's."""
        return self._stage_ms

    @property
    def status(self) -> str:
        """The quality in words; empty where no rate or budget is to be held."""
        return self._control.status

    @property
    def quality_shares(self) -> dict[str, float]:
        """The share of the frames by quality; empty where no rate or budget is to be held."""
        return self._control.shares

    def least_interval_s(self) -> float:
        """Seconds that shall lie between two frames, so that the processor's budget is kept."""
        return self._control.quality.least_interval_s

    def apply(self, frame: Frame) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        began_ns = time.perf_counter_ns()
        if frame.name != self._composed_name:  # pictures of a folder have names, and nothing to do with one another
            self._compositor.reset()
            self._composed_name = frame.name
        edge_bgr = None
        if self.stages_before:
            ready, matte_ms = self._ready.popleft(), {}
            assert ready.frame_index == frame.index, "the pipeline keeps the order of frames"
            matte, infer_ms = ready.matte, ready.took_ms
        else:
            edge_bgr = self._compositor.shrink(frame.bgr)  # the model looks at it too: half the work of shrinking
            matte, infer_ms = self._matte(frame.name, edge_bgr), 0.0
            matte_ms = self._mattes.stage_ms
        settings = self._settings.read()
        options = self._control.applied(settings.compositing)
        if options is not self._compositor.options:
            self._compositor.options = options
        composing_ns = time.perf_counter_ns()
        self._views.keep(frame.bgr, settings)
        picture = self._compositor.compose(
            frame.bgr, matte, time_s=frame.time_s, out=frame.bgr, edge_bgr=edge_bgr
        )  # fmt: skip
        picture = self._views.show(picture, lambda: self._compositor.alpha, settings)
        ended_ns = time.perf_counter_ns()
        self._compose_ms += EXPECTATION_SHARE * ((ended_ns - composing_ns) / 1e6 - self._compose_ms)
        self._stage_ms = {**matte_ms, **self._compositor.stage_ms}
        busy_ms = max(infer_ms, (ended_ns - began_ns) / 1e6 - matte_ms.get("wait", 0.0))
        self._control.frame_done(busy_ms, frame.index)
        return picture

    def close(self) -> None:
        """Ends the thread that `begin` may have started. Twice is harmless."""
        if isinstance(self._mattes, MattesBeside):
            self._mattes.close()

    def _infer(self, frame: Frame) -> Frame:
        """The stage before `apply`: leaves the frame's matte for it."""
        began_ns = time.perf_counter_ns()
        matte = self._matte(frame.name, frame.bgr).copy()  # the next one is made while this one is used
        self._ready.append(_Ready(frame.index, matte, (time.perf_counter_ns() - began_ns) / 1e6))
        return frame

    def _matte(self, name: str, picture_bgr: np.ndarray) -> np.ndarray:
        if name != self._inferred_name:
            self._mattes.reset()
            self._inferred_name = name
        quality = self._control.quality
        usable_s = USABLE_SHARE * max(self._interval_s, quality.least_interval_s)
        return self._mattes.of(picture_bgr, quality, patience_s=max(0.0, usable_s - self._compose_ms / 1e3))

    def _controlled(self, *, is_live: bool) -> QualityControl:
        return QualityControl(self._options, has_small_model=self._small is not None, is_live=is_live)

    def __enter__(self) -> PortraitEffect:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Ready(NamedTuple):
    """A matte on its way from the stage that made it to `apply`."""

    frame_index: int
    matte: np.ndarray
    took_ms: float
