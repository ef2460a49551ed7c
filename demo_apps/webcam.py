"""Any model's classes over moving pictures: the program behind `edge-deeplab webcam`.

report = run_webcam(WebcamOptions(model="voc.tflite", live=LiveOptions(source="0")))
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import numpy as np

from edge_deeplab.compositing.overlay import ClassOverlay
from edge_deeplab.demo_apps.controls import LiveSettings, Settings, class_controls
from edge_deeplab.demo_apps.live import LiveReport, run_live
from edge_deeplab.demo_apps.options import QualityOptions, WebcamOptions
from edge_deeplab.demo_apps.quality import LADDER, QualityControl
from edge_deeplab.demo_apps.views import Views
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.frames import Frame, Source
from edge_deeplab.video.pipeline import Progress, Stage


class OverlayEffect:
    """Frame in, the same frame with its classes drawn over it out, written over the frame's own array.

    Args:
        settings: how the classes are drawn and what is shown, read once a frame.
        max_cpu: processor time to stay under, percent of one core; frames become rarer until it is kept.
    """

    def __init__(
        self, segmenter: Segmenter, overlay: ClassOverlay, settings: LiveSettings, *, max_cpu: float | None = None
    ) -> None:
        self._segmenter, self._overlay, self._settings = segmenter, overlay, settings
        self._overlay_ms = 0.0
        self._views = Views()
        self.stages_before: tuple[Stage, ...] = ()
        # Classes have no cheaper quality to change to, so there is one rung, of a file and live alike.
        self._control = QualityControl(QualityOptions(max_cpu=max_cpu), is_live=True, rungs=LADDER[:1])

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds of the last call by stage: the model's, then "overlay"."""
        return {**self._segmenter.stage_ms, "overlay": self._overlay_ms}

    @property
    def status(self) -> str:
        """The quality in words; empty where no budget is to be held."""
        return self._control.status

    @property
    def quality_shares(self) -> dict[str, float]:
        """The share of the frames by quality; empty where no budget is to be held."""
        return self._control.shares

    def least_interval_s(self) -> float:
        """Seconds that shall lie between two frames, so that the processor's budget is kept."""
        return self._control.quality.least_interval_s

    def apply(self, frame: Frame) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        classes = self._segmenter.classes_bgr(frame.bgr)
        start_ns = time.perf_counter_ns()
        settings = self._settings.read()
        self._views.keep(frame.bgr, settings)
        self._overlay.options = settings.overlay
        picture = self._overlay.draw(frame.bgr, classes, out=frame.bgr)
        picture = self._views.show(picture, lambda: self._drawn_alone(classes, picture.shape), settings)
        self._overlay_ms = (time.perf_counter_ns() - start_ns) / 1e6
        self._control.frame_done(sum(self.stage_ms.values()), frame.index)
        return picture

    def _drawn_alone(self, classes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(H, W, 3) uint8 BGR: the classes in their full colours on black."""
        self._overlay.options = dataclasses.replace(self._overlay.options, opacity=1.0)
        return self._overlay.draw(np.zeros(shape, np.uint8), classes)


def run_webcam(
    options: WebcamOptions,
    *,
    manifest: Manifest | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_open: Callable[[Source], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> LiveReport:
    """Runs until the source ends, a signal comes or the window is closed; arguments as run_live's.

    Args:
        manifest: of a model that carries none.

    Raises: ModelError, InputError, OutputError, DeviceError.
    """
    live = options.live
    with Segmenter(options.model, threads=live.threads, manifest=manifest, precision=live.precision) as segmenter:
        settings = LiveSettings(Settings(overlay=options.overlay))
        effect = OverlayEffect(segmenter, ClassOverlay(segmenter.labels), settings, max_cpu=options.max_cpu)
        return run_live(
            live, segmenter, effect, settings=settings, controls=class_controls(), stop=stop,
            on_progress=on_progress, on_open=on_open, say=say,
        )  # fmt: skip
