"""Does inferring beside composing pay? The same frames in turn, in two stages, and live beside, in the same run.

As fast as it goes, from memory to nowhere and to a video file: frames per second of "in turn" (model and compositing
one after the other in one thread), and of "two stages" (a thread each, one frame apart, as blur does it with files).
Live, at 30 frames a second from memory to nowhere: rate, latency (capture to written) and the share of frames shown
with their own matte, of "in turn", "two stages" (--delay-frame) and "beside" (the default). Rounds alternate between
the ways; medians over rounds.

    python benchmarks/pipeline_overlap.py [--model portrait] [--size 1280x720] [--threads 1,2] [--rounds 5]

With --voc MODEL is one of Coral's VOC models at 513 x 513: what a slow model, or a slow machine, makes of the ways.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from edge_deeplab.cli.frame_program import moving_frames
from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.demo_apps.options import QualityOptions
from edge_deeplab.demo_apps.portrait_effect import PortraitEffect
from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.labels import VOC
from edge_deeplab.manifest import Manifest
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.report import host_line
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.frames import Frame, MediaFacts
from edge_deeplab.video.pipeline import PipelineReport, Stage, run_pipeline
from edge_deeplab.video.sink import SinkOptions, open_sink

CAMERA_FPS = 30
WARMUP_FRAMES = 10


class MemorySource:
    """Frames from memory, each an array of its own, as a camera gives them; live at CAMERA_FPS."""

    def __init__(self, frames: list[np.ndarray], count: int, *, is_live: bool) -> None:
        self.is_live, self.fps, self.frame_count = is_live, Fraction(CAMERA_FPS), None if is_live else count
        self.size_wh = (frames[0].shape[1], frames[0].shape[0])
        self.media, self.notes = MediaFacts(fps=self.fps), list[str]()
        self._frames, self._count = frames, count
        self.trouble = ""
        self.dropped = 0

    def describe(self) -> str:
        """One line."""
        return f"{self._count} frames from memory"

    def __iter__(self) -> Iterator[Frame]:
        there_and_back = itertools.cycle([*self._frames, *self._frames[-2:0:-1]])
        began_s = time.perf_counter()
        for index in range(self._count):
            if self.is_live:
                time.sleep(max(0.0, began_s + index / CAMERA_FPS - time.perf_counter()))
            bgr = next(there_and_back).copy()
            yield Frame(index, index / CAMERA_FPS, bgr, captured_ns=time.perf_counter_ns())

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> MemorySource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run(
    way: str, segmenter: Segmenter, frames: list[np.ndarray], count: int, *, is_live: bool, output: str
) -> PipelineReport:
    """One run of a way. Returns what the pipeline says."""
    source = MemorySource(frames, count, is_live=is_live)
    quality = QualityOptions(delays_frame=way == "two stages")
    with (
        PortraitEffect(segmenter, PortraitCompositor(), quality=quality) as effect,
        open_sink(output, SinkOptions(media=source.media, overwrite=True)) as sink,
    ):
        if way != "in turn":
            effect.begin(source)
        stages = (*effect.stages_before, Stage("process", effect.apply, lambda: effect.stage_ms))
        return run_pipeline(source, stages, sink, warmup_frames=WARMUP_FRAMES)


def own_share(report: PipelineReport) -> float:
    """The share of frames shown with their own matte."""
    carried = report.stages.get("process/motion")
    return 1.0 - (carried.count / report.stages["process"].count if carried else 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="portrait", help="a bundled name or a path [portrait]")
    parser.add_argument("--voc", action="store_true", help="the model is one of Coral's VOC models without a manifest")
    parser.add_argument("--size", default="1280x720", metavar="WxH")
    parser.add_argument("--threads", default="1,2", metavar="N,N", help="of the engine and of OpenCV [1,2]")
    parser.add_argument("--frames", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    size_wh = tuple(map(int, arguments.size.split("x")))
    frames, _ = moving_frames(None, size_wh)
    console, rows = Console(width=None if sys.stdout.isatty() else 110), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for threads in map(int, arguments.threads.split(",")):
            cv2.setNumThreads(threads)
            manifest = None
            if arguments.voc:
                manifest = Manifest(
                    name="voc",
                    labels=VOC,
                    person_class=15,
                    size_hw=(513, 513),
                    input_range=(-1, 1),
                    activation="argmax",
                )
            with Segmenter(arguments.model, threads=threads, manifest=manifest) as segmenter:
                for kind, output, is_live in (
                    ("to nowhere", "null", False), ("to a video", f"{folder}/out.mp4", False), ("live", "null", True),
                ):  # fmt: skip
                    ways = ("in turn", "two stages", "beside") if is_live else ("in turn", "two stages")
                    seen: dict[str, list[PipelineReport]] = {way: [] for way in ways}
                    for _, way in itertools.product(range(arguments.rounds), ways):
                        seen[way].append(run(way, segmenter, frames, arguments.frames, is_live=is_live, output=output))
                    for way, reports in seen.items():
                        rows.append(
                            {
                                "threads": threads, "kind": kind, "way": way,
                                "fps": float(np.median([report.fps or 0.0 for report in reports])),
                                "latency_ms": float(np.median([r.stages["latency"].median_ms for r in reports])),
                                "cores": float(np.median([r.cpu_s / r.duration_s for r in reports])),
                                "own": float(np.median([own_share(report) for report in reports])),
                            }
                        )  # fmt: skip
    table = Table(title=f"{arguments.model}, {arguments.size}, {arguments.rounds} rounds of {arguments.frames} frames")
    for name in ("threads", "kind", "way", "frames/s", "of in turn", "latency ms", "cores", "own matte"):
        table.add_column(name, justify="left" if name in ("kind", "way") else "right")
    for row in rows:
        (base,) = (
            one for one in rows
            if (one["threads"], one["kind"], one["way"]) == (row["threads"], row["kind"], "in turn")
        )  # fmt: skip
        table.add_row(
            str(row["threads"]), row["kind"], row["way"], f"{row['fps']:.1f}", f"{row['fps'] / base['fps']:.2f}",
            f"{row['latency_ms']:.1f}", f"{row['cores']:.2f}", f"{row['own']:.0%}",
        )  # fmt: skip
    console.print(table)
    console.print(f"{host_line(describe_host())}; load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        sys.exit(f"pipeline_overlap: error: {error}")
