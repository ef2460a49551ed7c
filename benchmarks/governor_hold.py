"""Does blur hold what it is asked to hold? A made camera at 30 frames a second, live, while other programs come and go.

"rate": with and without --target-fps, on one thread, while for the middle third programs that only count keep every
processor busy; the rate at which frames come out, and what was given up, in the second half of each third. "budget":
the share of one core over the second half of a run under each --max-cpu, the making of the pictures included.

    python benchmarks/governor_hold.py [--size 1280x720] [--third 8] [--target-fps 30] [--max-cpu 50,25,10]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.demo_apps.options import SMALL_MODELS, QualityOptions
from edge_deeplab.demo_apps.portrait_effect import PortraitEffect
from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.report import host_line
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.pipeline import Stage, run_pipeline
from edge_deeplab.video.sink import NullSink
from edge_deeplab.video.source import SourceOptions, open_source

CAMERA_FPS = 30
BURNERS_PER_PROCESSOR = 2


class Written(NamedTuple):
    """A frame came out: when, at which processor time of the program, at which quality."""

    at_s: float
    cpu_s: float
    status: str


class StampingSink(NullSink):
    """Remembers when frames came and what the effect said."""

    def __init__(self, effect: PortraitEffect) -> None:
        super().__init__()
        self.written: list[Written] = []
        self._effect = effect

    def write(self, frame_bgr: np.ndarray, time_s: float, name: str = "") -> None:
        """Stamps the frame."""
        self.written.append(Written(time.perf_counter(), time.process_time(), self._effect.status))


@contextmanager
def burners() -> Iterator[None]:
    """Programs that only count, some for each processor."""
    count = BURNERS_PER_PROCESSOR * (os.cpu_count() or 1)
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def play(
    segmenters: tuple[Segmenter, Segmenter], quality: QualityOptions, size_wh: tuple[int, int], duration_s: float,
    burn_s: tuple[float, float] | None = None,
) -> tuple[float, list[Written]]:  # fmt: skip
    """Runs live for so long, with burners between two times. Returns when it began, and what was written."""
    stop = threading.Event()

    def direct() -> None:
        if burn_s is not None:
            stop.wait(burn_s[0])
            with burners():
                stop.wait(burn_s[1] - burn_s[0])
        stop.wait(duration_s - (burn_s[1] if burn_s else 0.0))
        stop.set()

    big, small = segmenters
    options = SourceOptions(size_wh=size_wh, fps=Fraction(CAMERA_FPS), synthetic_frames=None)
    with (
        PortraitEffect(big, PortraitCompositor(), small=small, quality=quality) as effect,
        open_source("synthetic", options) as source,
    ):
        effect.begin(source)
        sink = StampingSink(effect)
        stages = (*effect.stages_before, Stage("process", effect.apply, lambda: effect.stage_ms))
        director = threading.Thread(target=direct)
        began_s = time.perf_counter()
        director.start()
        run_pipeline(source, stages, sink, stop=stop, least_interval_s=effect.least_interval_s)
        director.join()
    return began_s, sink.written


def rate(written: list[Written]) -> float:
    return (len(written) - 1) / (written[-1].at_s - written[0].at_s) if len(written) > 1 else 0.0


def share(written: list[Written]) -> float:
    return (written[-1].cpu_s - written[0].cpu_s) / (written[-1].at_s - written[0].at_s) if len(written) > 1 else 0.0


def mostly(written: list[Written]) -> str:
    """The quality of most frames."""
    names = [one.status.partition(", at most")[0] for one in written]
    return max(set(names), key=names.count) if names else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="portrait", choices=list(SMALL_MODELS))
    parser.add_argument("--size", default="1280x720", metavar="WxH")
    parser.add_argument("--third", type=float, default=8.0, metavar="SECONDS")
    parser.add_argument("--target-fps", type=float, default=float(CAMERA_FPS))
    parser.add_argument("--max-cpu", default="50,25,10", metavar="PERCENT,...")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    third = arguments.third
    cv2.setNumThreads(1)
    console = Console(width=None if sys.stdout.isatty() else 130)
    with Segmenter(arguments.model) as big, Segmenter(SMALL_MODELS[arguments.model]) as small:
        table = Table(title=f"rate, live at {CAMERA_FPS} fps, {arguments.size}, target {arguments.target_fps:g}")
        for name in ("", "third", "frames/s", "cores", "most frames at"):
            table.add_column(name, justify="right" if name in ("frames/s", "cores") else "left")
        for way, quality in (
            ("not governed", QualityOptions()), ("governed", QualityOptions(target_fps=arguments.target_fps)),
        ):  # fmt: skip
            began_s, written = play((big, small), quality, (width, height), 3 * third, (third, 2 * third))
            for place, name in enumerate(("alone", "beside others", "alone again")):
                # The second half of each third: what it settled at.
                span = [one for one in written if place + 0.5 <= (one.at_s - began_s) / third < place + 1]
                table.add_row(way, name, f"{rate(span):.1f}", f"{share(span):.2f}", mostly(span))
        console.print(table)
        table = Table(title=f"budget, live at {CAMERA_FPS} fps, {arguments.size}")
        for name in ("max-cpu", "percent of a core", "frames/s", "most frames at"):
            table.add_column(name, justify="left" if name == "most frames at" else "right")
        for asked in (None, *map(float, arguments.max_cpu.split(","))):
            began_s, written = play((big, small), QualityOptions(max_cpu=asked), (width, height), 2 * third)
            span = [one for one in written if one.at_s - began_s >= third]
            name = "none" if asked is None else f"{asked:g}"
            table.add_row(name, f"{100 * share(span):.1f}", f"{rate(span):.1f}", mostly(span))
        console.print(table)
    print(f"{host_line(describe_host())}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        sys.exit(f"governor_hold: error: {error}")
