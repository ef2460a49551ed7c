"""What every program over moving pictures shares: open the source and the output, run the pipeline, say what was done.

    report = run_live(LiveOptions(source="talk.mp4", output="out.mp4"), effect)

The effect decides what becomes of a frame; nothing here knows blur from overlay.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from edge_deeplab.compositing.overlay import draw_text
from edge_deeplab.demo_apps.options import LiveOptions
from edge_deeplab.errors import OutputError
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.frames import Frame, Sink, Source, rate_from_float
from edge_deeplab.video.pipeline import PipelineReport, Progress, Stage, run_pipeline
from edge_deeplab.video.signals import stop_on_signals
from edge_deeplab.video.sink import WINDOW, SinkOptions, open_sink
from edge_deeplab.video.source import SourceOptions, open_source
from edge_deeplab.video.timing import StageTiming, rate_over

STOP_KEYS = ("q", "escape")
RATE_FRAMES = 30  # the rate drawn into the picture is that of the last so many frames


class Effect(Protocol):
    """What becomes of a frame.

    Attributes:
        stages_before: what is done with a frame before `apply`, each in a thread of its own while others work at other
            frames; each hands the frame on. Read once the source is open (on_open).
    """

    stages_before: tuple[Stage, ...]

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
        model: path, input size, threads.
        pipeline: frames, rates and timings.
        quality: the share of the frames by the quality they were made at; empty where nothing chose.
    """

    source: str
    output: str
    frame_wh: tuple[int, int]
    model: dict[str, Any]
    pipeline: PipelineReport
    quality: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def stage_rows(self) -> list[tuple[str, StageTiming]]:
        """Stages in the order of a frame's way, what lies inside one before it."""
        stages = self.pipeline.stages
        ends = ("capture", "write", "latency")
        outer = ["capture", *(name for name in stages if "/" not in name and name not in ends), "write", "latency"]
        order = [name for one in outer for name in (*(inner for inner in stages if inner.startswith(f"{one}/")), one)]
        return [(name, stages[name]) for name in order if name in stages]


def run_live(
    options: LiveOptions,
    segmenter: Segmenter,
    effect: Effect,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    source_options: SourceOptions | None = None,
    on_open: Callable[[Source], None] | None = None,
) -> LiveReport:
    """Runs the source through the effect into the output until it ends, a signal comes or the window is closed.

    Sets the number of OpenCV's threads for the whole process.

    Args:
        segmenter: whose facts the report carries; the effect uses it.
        source_options: in place of those that `options` imply, for a program with a source of its own.
        on_open: told the source once it and the output are open, before the first frame.

    Raises: what the source, the output and the effect raise.
    """
    stop = stop or threading.Event()
    cv2.setNumThreads(options.threads)
    wanted = source_options or SourceOptions(
        size_wh=options.camera_size_wh,
        fps=None if options.camera_fps is None else rate_from_float(options.camera_fps),
        mirror=options.mirror,
        holds_still=options.output is None,  # a picture shown for one frame would not be seen
    )
    _refuse_own_source(options)
    with open_source(options.source, wanted) as source:
        sink_options = SinkOptions(
            media=source.media, overwrite=options.overwrites, is_paced=not source.is_live,
            on_key=lambda key: stop.set() if key in STOP_KEYS else None, on_closed=stop.set,
        )  # fmt: skip
        with stop_on_signals(stop), _open_output(options, sink_options) as sink:
            described = (source.describe(), sink.describe())
            if on_open is not None:
                on_open(source)
            process = _with_rate(effect.apply) if options.shows_fps else effect.apply
            stages = (*effect.stages_before, Stage("process", process, lambda: effect.stage_ms))
            pipeline = run_pipeline(
                source, stages, sink, stop=stop, on_progress=_with_status(effect, on_progress),
                least_interval_s=effect.least_interval_s,
            )  # fmt: skip
        notes = (*source.notes, *sink.notes)  # closing the output may have added some
        return LiveReport(
            source=described[0], output=described[1], frame_wh=source.size_wh,
            pipeline=dataclasses.replace(pipeline, notes=notes), quality=effect.quality_shares,
            model={
                "file": str(segmenter.path), "name": segmenter.manifest.name,
                "size_hw": segmenter.size_hw, "threads": options.threads,
            },
        )  # fmt: skip


def _with_status(effect: Effect, on_progress: Callable[[Progress], None] | None) -> Callable[[Progress], None] | None:
    if on_progress is None:
        return None
    return lambda progress: on_progress(dataclasses.replace(progress, status=effect.status))


def _with_rate(apply: Callable[[Frame], np.ndarray]) -> Callable[[Frame], np.ndarray]:
    times_s = array("d")

    def process(frame: Frame) -> np.ndarray:
        picture = apply(frame)
        times_s.append(time.perf_counter())
        del times_s[:-RATE_FRAMES]
        rate = rate_over(times_s)
        if rate is not None:
            scale = max(0.4, picture.shape[0] / 900)
            origin = (round(20 * scale), picture.shape[0] - round(20 * scale))  # the legend is at the top
            draw_text(picture, f"{rate:.1f} fps", origin, scale)
        return picture

    return process


def _open_output(options: LiveOptions, sink_options: SinkOptions) -> Sink:
    if options.output is not None:
        return open_sink(options.output, sink_options)
    from edge_deeplab.video.window import has_screen

    if not has_screen():
        raise OutputError(
            "there is no screen to show the result on",
            next_step="name where it goes: --output NAME.mp4, NAME.png or NAME/ (a folder of pictures)",
        )
    return open_sink(WINDOW, sink_options)


def _refuse_own_source(options: LiveOptions) -> None:
    """An output over its own source would destroy it, --force or not."""
    if options.output is None:
        return
    source, output = Path(options.source), Path(options.output)
    if source.exists() and output.exists() and source.samefile(output):
        raise OutputError(f"{output}: is the source itself", next_step="choose another name for --output")
