"""How fast portrait blur is beside MediaPipe's way in Python: frames in memory, file to file, processor share, 4K.

All is measured in one run, in turns, because machines differ fourfold. "ours in OpenCV" is ours without the compiled
loops of edge_deeplab.kernels. The peer's scripts stand in live_speed_peer.py: "usual" is the example of MediaPipe's
documentation (GaussianBlur 55 x 55, np.where), "usual_alpha" the same with the soft blend people write in its place,
"careful" the same with a quarter-size blur and cv2.blendLinear.

    python benchmarks/live_speed.py PEER_PYTHON [--part frames] [--threads 1] [--json FILE] [--pictures DIR]

Parts, all of them unless --part names some:
    frames  1280 x 720 in memory to a finished frame in memory, one at a time; the default threads of either side, or
            --threads N, which also holds both to N processors
    files   1280 x 720 file to file, decoding and encoding on both sides (MPEG-4 Part 2 by OpenCV), and ours as it is
            with the extra `media` (H.264 by PyAV)
    share   1920 x 1080 at 30 frames a second out of a file: processor seconds of the whole program per second
    sizes   what each stage costs at 640 x 480, 1280 x 720, 1920 x 1080 and 3840 x 2160

PEER_PYTHON is the Python of an environment that holds mediapipe==0.10.21.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from live_speed_files import measure_files, measure_share
from peer_model_speed import peer_model
from peer_process import PeerProcess
from rich.console import Console

from edge_deeplab import kernels
from edge_deeplab.cli.frame_program import FrameProgram, moving_frames
from edge_deeplab.demo_apps.options import LiveOptions
from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.profiling.engine import describe_model
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import LatencyStats, MeasureOptions, collect, median_interval, timed
from edge_deeplab.profiling.report import doubts, host_line, new_table, write_json
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.interpreter import engine_name

WORKER = Path(__file__).with_name("live_speed_peer.py")
SIZE_WH = (1280, 720)
SIZES_WH = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
# What a ratio may be at most, ours over the peer's, with either side's default threads.
TARGETS = {"usual": 1 / 5, "usual_alpha": 1 / 5, "careful": 1 / 2}
IN_OPENCV = "ours in OpenCV"
PARTS = ("frames", "files", "share", "sizes")


class Peer(PeerProcess):
    """The peer's scripts over stored frames.

    Args:
        threads: as the worker's; None leaves its own.
    """

    def __init__(self, python: Path, frames: Path, *, threads: int | None) -> None:
        super().__init__(python, [WORKER, "frames", frames, *(("--threads", str(threads)) if threads else ())])

    def step(self, index: int, script: str) -> dict[str, float]:
        """Does one frame by a script. Returns its stages in milliseconds."""
        stages: dict[str, float] = self.ask(f"frame {index} {script}")["stages"]
        return stages

    def save(self, path: Path) -> None:
        """Writes the last picture made."""
        self.ask(f"save {path}")


def on_processors(count: int) -> None:
    """Holds this process, and the peer it will start, to `count` processors: both then have the same means."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-count:]))


def medians(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median milliseconds of each stage."""
    return {name: float(np.median([frame[name] for frame in stages])) for name in stages[0]}


def stage_line(name: str, took_ms: Mapping[str, float]) -> str:
    return f"{name}: " + ", ".join(f"{stage} {value:.2f}" for stage, value in took_ms.items())


def measure_frames(
    console: Console, peer_python: Path, model: Path, *, threads: int | None, runs: int, pictures: Path | None
) -> tuple[dict[str, Any], dict[str, LatencyStats]]:
    """Ours and every script of the peer over the same frames, in turns; prints and returns the figures."""
    import cv2

    our_threads = threads or LiveOptions().threads
    cv2.setNumThreads(our_threads)  # as run_live does
    frames, shows = moving_frames(None, SIZE_WH)
    options = MeasureOptions(warmup=10, runs=runs, max_duration_s=120.0)
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in ("ours", IN_OPENCV, *TARGETS)}
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "frames.npy"
        np.save(stored, np.stack(frames))
        with (
            FrameProgram(model, frames, threads=our_threads) as ours,
            Peer(peer_python, stored, threads=threads) as peer,
        ):

            def our_step(name: str = "ours") -> float:
                ours.capture()  # the frame has just been written, as after a camera; the peer's is copied too
                began_ns = time.perf_counter_ns()
                seen[name].append(ours.process())
                return (time.perf_counter_ns() - began_ns) / 1e6

            def opencv_step() -> float:
                with kernels.opencv_only():
                    return our_step(IN_OPENCV)

            def script_step(script: str) -> Callable[[], float]:
                turn = itertools.count()

                def step() -> float:  # it times itself: the pipe to it is no part of a frame
                    seen[script].append(peer.step(next(turn), script))
                    return sum(seen[script][-1].values())

                return step

            samplers = {"ours": our_step, IN_OPENCV: opencv_step} | {script: script_step(script) for script in TARGETS}
            warmup, counted = collect(samplers, options=options)
            versions = peer.versions
            if pictures:
                pictures.mkdir(parents=True, exist_ok=True)
                our_step()
                cv2.imwrite(str(pictures / "ours.png"), ours.picture)
                for script in TARGETS:
                    peer.step(len(seen[script]) - 1, script)
                    peer.save(pictures / f"{script}.png")
    stats = {name: LatencyStats.from_samples(counted[name], warmup[name]) for name in counted}
    stages = {name: medians(took[options.warmup :]) for name, took in seen.items()}
    said = f"{threads} thread(s)" if threads else f"default threads (ours {our_threads})"
    width, height = SIZE_WH
    table = new_table(
        f"One {width} x {height} frame ({shows}) in memory, {said}",
        "MediaPipe's script", "ours ms", "theirs ms", "ours / theirs", "95 %", "at most",
    )  # fmt: skip
    ratios = {}
    for script, target in TARGETS.items():
        ratio = stats["ours"].median_ms / stats[script].median_ms
        low, high = median_interval([our / their for our, their in zip(counted["ours"], counted[script], strict=True)])
        ratios[script] = {"ratio": ratio, "low": low, "high": high, "at_most": None if threads else target}
        table.add_row(
            script, f"{stats['ours'].median_ms:.2f}", f"{stats[script].median_ms:.2f}", f"{ratio:.3f}",
            f"{low:.3f}..{high:.3f}", "" if threads else f"{target:.2f}",
        )  # fmt: skip
    console.print(table)
    console.print(
        f"ours, pixel kernels {kernels.in_words()}: {stats['ours'].median_ms:.2f} ms;"
        f" in OpenCV: {stats[IN_OPENCV].median_ms:.2f} ms"
    )
    for name, took_ms in stages.items():
        console.print(stage_line(name, took_ms))
    figures = {
        "peer": versions, "threads": {"ours": our_threads, "peer": threads}, "size_wh": SIZE_WH, "shows": shows,
        "pixel_kernels": kernels.in_words(),
        "ms": {name: one.to_dict() for name, one in stats.items()}, "ratios": ratios, "stages_ms": stages,
    }  # fmt: skip
    return figures, stats


def measure_sizes(console: Console, model: Path, *, threads: int | None, runs: int) -> dict[str, Any]:
    """Ours at several sizes, stage by stage; prints and returns the medians."""
    import cv2

    our_threads = threads or LiveOptions().threads
    cv2.setNumThreads(our_threads)
    found: dict[str, dict[str, float]] = {}
    for size_wh in SIZES_WH:
        frames, _ = moving_frames(None, size_wh)
        with FrameProgram(model, frames, threads=our_threads) as ours:
            taken: list[dict[str, float]] = []
            _, counted = collect(
                {"ours": timed(lambda ours=ours, taken=taken: taken.append(ours.step()))},
                options=MeasureOptions(warmup=5, runs=runs, max_duration_s=20.0),
            )
        found[f"{size_wh[0]} x {size_wh[1]}"] = {"whole": float(np.median(counted["ours"]))} | medians(taken[5:])
    table = new_table(f"What each stage costs, ms (median), {our_threads} thread(s)", "stage", *found)
    for stage in next(iter(found.values())):
        table.add_row(stage, *(f"{took[stage]:.2f}" for took in found.values()))
    console.print(table)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, metavar="PEER_PYTHON", help="the Python of the peer's environment")
    parser.add_argument("--model", default="portrait", help="ours: a bundled name or a path [portrait]")
    parser.add_argument("--part", action="append", choices=PARTS, help="may be repeated [all]")
    parser.add_argument("--threads", type=int, help="threads and processors of either side [each one's default]")
    parser.add_argument("--runs", type=int, default=150, help="frames that count, of each side [150]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also write the last picture of each here")
    arguments = parser.parse_args()

    host, console = describe_host(), Console()
    parts = arguments.part or PARTS
    model = bundled_model(arguments.model)
    if arguments.threads:
        on_processors(arguments.threads)
    document: dict[str, Any] = {
        "benchmark": "live_speed", "host": host.to_dict(), "engine": engine_name(),
        "model": describe_model(model).to_dict(),
    }  # fmt: skip
    latencies: dict[str, LatencyStats] = {}
    if "frames" in parts:
        document["frames"], latencies = measure_frames(
            console, arguments.peer, model, threads=arguments.threads, runs=arguments.runs,
            pictures=arguments.pictures,
        )  # fmt: skip
    if "sizes" in parts:
        document["sizes"] = measure_sizes(console, model, threads=arguments.threads, runs=min(40, arguments.runs))
    if "files" in parts:
        document["files"] = measure_files(console, arguments.peer, WORKER, arguments.model)
    if "share" in parts:
        document["share"] = measure_share(console, peer_model(arguments.peer), arguments.model)
    document["notes"] = notes = doubts(host, latencies)
    console.print(f"{host_line(host)}; {' '.join(engine_name())}; {model.name}", *notes, sep="\n")
    if arguments.json:
        write_json(arguments.json, document, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        sys.exit(f"live_speed: error: {error}")
