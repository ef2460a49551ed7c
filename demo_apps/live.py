"""What every program over moving pictures shares: open the source and the outputs, run the pipeline, say what was done.

    report = run_live(LiveOptions(source="talk.mp4", output="out.mp4"), segmenter, effect)

The effect decides what becomes of a frame; nothing here knows blur from overlay, nor a window from a browser.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from edge_deeplab import kernels
from edge_deeplab.compositing.overlay import draw_text
from edge_deeplab.demo_apps.controls import Control, LiveSettings
from edge_deeplab.demo_apps.options import LiveOptions
from edge_deeplab.demo_apps.outputs import Wiring, check_outputs, has_window, open_outputs
from edge_deeplab.demo_apps.screen import RateText, text_scale
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.frames import Frame, Source, rate_from_float
from edge_deeplab.video.pipeline import PipelineReport, Progress, Stage, run_pipeline
from edge_deeplab.video.signals import stop_on_signals
from edge_deeplab.video.source import SourceOptions, open_source
from edge_deeplab.video.timing import StageTiming


class Effect(Protocol):
    """What becomes of a frame."""

    @property
    def stages_before(self) -> tuple[Stage, ...]:
        """What is done with a frame before `apply`, each in a thread of its own while others work at other frames.

        Each hands the frame on. Read once the source is open (on_open).
        """
        ...

    def apply(self, frame: Frame) -> np.ndarray:
        """(H, W, 3) uint8 BGR; the frame's own array may be written into. Called from one thread."""
        ...

    def least_interval_s(self) -> float:
        """Seconds that shall lie between two frames, to spare the processor; 0: as fast as they come."""
        ...

    @property
    def status(self) -> str:
        """What it has decided by itself, in a few words; empty when nothing."""
        ...

    @property
    def quality_shares(self) -> dict[str, float]:
        """The share of the frames by the quality they were made at; empty where nothing chooses."""
        ...

    @property
    def stage_ms(self) -> dict[str, float]:
        """Milliseconds of the last call by stage."""
        ...


@dataclass(frozen=True, kw_only=True)
class LiveReport:
    """What a run did, with what a figure is worth nothing without.

    Attributes:
        model: path, input size, threads, and which precision of a bundled pair was taken and why.
        pipeline: frames, rates and timings.
        quality: the share of the frames by the quality they were made at; empty where nothing chose.
        pixel_kernels: what the loops over pixels ran in, "compiled" or "OpenCV" (edge_deeplab.kernels).
        lost: the error of each output that failed while the others went on, one line each.
        is_live: whether the source was; a file's frames wait in line, so their latency says nothing.
    """

    source: str
    output: str
    frame_wh: tuple[int, int]
    model: dict[str, Any]
    pipeline: PipelineReport
    quality: dict[str, float]
    pixel_kernels: str
    lost: tuple[str, ...] = ()
    is_live: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def stage_rows(self) -> list[tuple[str, StageTiming]]:
        """Stages in the order of a frame's way, what lies inside one before it."""
        stages = self.pipeline.stages
        ends = ("capture", "write", "latency")
        outer = ["capture", *(name for name in stages if "/" not in name and name not in ends), "write"]
        if self.is_live:
            outer.append("latency")
        order = [name for one in outer for name in (*(inner for inner in stages if inner.startswith(f"{one}/")), one)]
        return [(name, stages[name]) for name in order if name in stages]


def run_live(
    options: LiveOptions,
    segmenter: Segmenter,
    effect: Effect,
    *,
    settings: LiveSettings | None = None,
    controls: Sequence[Control] = (),
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    source_options: SourceOptions | None = None,
    on_open: Callable[[Source], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> LiveReport:
    """Runs the source through the effect into the outputs until it ends, a signal comes or the window is closed.

    Sets the number of OpenCV's threads for the whole process.

    Args:
        segmenter: whose facts the report carries; the effect uses it.
        settings: what `controls` change and the effect reads; mirroring is done here.
        controls: offered as keys of the window and as buttons of the page.
        source_options: in place of those that `options` imply, for a program with a source of its own.
        on_open: told the source once it and the outputs are open, before the first frame.
        say: told, one line each, where to watch, of files that a key made, and of outputs that failed.

    Raises: what the source, the outputs and the effect raise; of several outputs, when the last one fails.
    """
    stop, settings, say = stop or threading.Event(), settings or LiveSettings(), say or _say_nothing
    cv2.setNumThreads(options.threads)
    check_outputs(options)
    wanted = source_options or SourceOptions(
        size_wh=options.camera_size_wh,
        fps=None if options.camera_fps is None else rate_from_float(options.camera_fps),
        mirror=options.mirror,
        reconnects=options.reconnects,
        gives_up_after_s=60 * options.reconnect_minutes or None,
        # what is only looked at goes on: a picture shown for one frame would not be seen
        holds_still=options.output is None,
        synthetic_frames=None if options.output is None else SourceOptions.synthetic_frames,
    )
    with open_source(options.source, wanted) as source:
        pulse = _Pulse(effect, source.is_live, on_progress)
        wiring = Wiring(
            settings=settings, controls=controls, stop=stop, say=say, state=pulse.state, latency_ms=pulse.latency_ms
        )
        with stop_on_signals(stop), open_outputs(options, source, wiring) as outputs:
            described = (source.describe(), outputs.describe())
            if on_open is not None:
                on_open(source)
            draws_rate = options.shows_fps and not has_window(options)  # a window draws it itself
            process = _with_rate(effect.apply, RateText(pulse.latency_ms)) if draws_rate else effect.apply
            stages = (*effect.stages_before, Stage("process", process, lambda: effect.stage_ms))
            pipeline = run_pipeline(
                source, _mirroring(stages, settings), outputs, stop=stop, on_progress=pulse.tell,
                least_interval_s=effect.least_interval_s, mark=mark_picture,
            )  # fmt: skip
        notes = (*source.notes, *outputs.notes)  # closing the outputs may have added some
        return LiveReport(
            source=described[0], output=described[1], frame_wh=source.size_wh, lost=tuple(outputs.lost),
            is_live=source.is_live, pixel_kernels=kernels.in_words(),
            pipeline=dataclasses.replace(pipeline, notes=notes), quality=effect.quality_shares,
            model={
                "file": str(segmenter.path), "name": segmenter.manifest.name,
                "size_hw": segmenter.size_hw, "threads": options.threads, "precision": str(segmenter.chosen),
            },
        )  # fmt: skip


class _Pulse:
    """What the run says of itself, kept for those who look: the window, the browser, the line on the terminal."""

    def __init__(self, effect: Effect, is_live: bool, on_progress: Callable[[Progress], None] | None) -> None:
        self._effect, self._is_live, self._on_progress = effect, is_live, on_progress
        self._last: Progress | None = None

    def tell(self, progress: Progress) -> None:
        """Takes the pipeline's word and passes it on with the effect's."""
        if not self._is_live:  # a file's frames wait for one another; that is no delay that anybody sees
            progress = dataclasses.replace(progress, latency_ms=None)
        self._last = dataclasses.replace(progress, status=self._effect.status)
        if self._on_progress is not None:
            self._on_progress(self._last)

    def latency_ms(self) -> float | None:
        return None if self._last is None else self._last.latency_ms

    def state(self) -> dict[str, Any]:
        """For the page in the browser."""
        if self._last is None:
            return {}
        names = ("fps", "latency_ms", "dropped", "trouble")
        chose = self._last.status  # the page's own "status" says whether pictures come
        return {**{name: getattr(self._last, name) for name in names}, "chose": chose}


def mark_picture(picture: np.ndarray, text: str) -> None:
    """Darkens the picture, (H, W, 3) uint8 BGR, and writes a few words into its middle."""
    np.copyto(picture, picture // 2)
    scale = text_scale(picture)
    (across, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, max(1, round(2 * scale)))
    draw_text(picture, text, (max(2, (picture.shape[1] - across) // 2), picture.shape[0] // 2), scale)


def _mirroring(stages: Sequence[Stage], settings: LiveSettings) -> tuple[Stage, ...]:
    """The stages, the first one given each frame as the settings want it turned."""
    first, *rest = stages

    def run(frame: Frame) -> Any:
        if settings.read().mirrors:
            frame = dataclasses.replace(frame, bgr=cv2.flip(frame.bgr, 1))
        return first.run(frame)

    return (dataclasses.replace(first, run=run), *rest)


def _with_rate(apply: Callable[[Frame], np.ndarray], rate: RateText) -> Callable[[Frame], np.ndarray]:
    def process(frame: Frame) -> np.ndarray:
        picture = apply(frame)
        rate.tick()
        scale = text_scale(picture)
        origin = (round(20 * scale), picture.shape[0] - round(20 * scale))  # the legend is at the top
        draw_text(picture, rate.text(), origin, scale)
        return picture

    return process


def _say_nothing(line: str) -> None: ...
