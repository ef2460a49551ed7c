"""The parts of live_speed.py that run whole programs: a file to a file, and a camera's share of the processor.

As a program it is one such run of ours, with what a child process needs for it:

    python benchmarks/live_speed_files.py opencv blur --source a.mp4 --output b.mp4     # as installed without `media`
    python benchmarks/live_speed_files.py paced blur --source a.mp4 --output null       # frames come as a camera's do
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edge_deeplab.errors import InputError
from edge_deeplab.profiling.engine import random_inputs
from edge_deeplab.profiling.report import new_table
from edge_deeplab.runtime.interpreter import Engine

FILE_WH, FILE_FRAMES = (1280, 720), 240
SHARE_WH, SHARE_FRAMES = (1920, 1080), 240
FPS = 30
ROUNDS = 3
# How many times as fast ours must be, by frames a second once running.
FILE_TARGETS = {"usual": 2.5, "usual_alpha": 2.5, "careful": 1.2}
# At most so much of one core where MediaPipe's model takes so many milliseconds; scaled by what it takes here.
SHARE_AT_MOST, SELFIE_MS = 0.5, 2.4


def write_video(path: Path, size_wh: tuple[int, int], frame_count: int) -> None:
    """A moving view of the astronaut, written by OpenCV as MPEG-4 Part 2."""
    import cv2

    from edge_deeplab.video.synthetic import SyntheticSource

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, size_wh)
    with SyntheticSource(size_wh=size_wh, frame_count=frame_count) as source:
        for frame in source:
            writer.write(frame.bgr)
    writer.release()


def run_ours(way: str, *arguments: str) -> tuple[float, dict[str, Any]]:
    """One run of the command line in a process of its own. Returns: seconds from start to end, and its report."""
    began_s = time.perf_counter()
    done = _run([sys.executable, __file__, way, *arguments, "--json"])
    return time.perf_counter() - began_s, json.loads(done)


def measure_files(console: Console, peer_python: Path, worker: Path, model: str) -> dict[str, Any]:
    """File to file, ours and the peer's scripts in turns; prints and returns the medians over ROUNDS."""
    rates: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.mp4", Path(folder) / "target.mp4"
        write_video(source, FILE_WH, FILE_FRAMES)
        blur = ("blur", "--model", model, "--source", str(source), "--output", str(target), "--force")
        for _ in range(ROUNDS):
            for name, way in (("ours", "opencv"), ("ours, H.264 by PyAV", "as-is")):
                whole_s, report = run_ours(way, *blur)
                if report["pipeline"]["frames"] != FILE_FRAMES:
                    raise InputError("ours lost frames", came=report["pipeline"]["frames"], allowed=FILE_FRAMES)
                rates.setdefault(name, []).append(report["pipeline"]["fps"])
                seconds.setdefault(name, []).append(whole_s)
            for script in FILE_TARGETS:
                began_s = time.perf_counter()
                said = json.loads(_run([peer_python, worker, "file", script, source, target]).splitlines()[-1])
                seconds.setdefault(script, []).append(time.perf_counter() - began_s)
                rates.setdefault(script, []).append((said["frames"] - 1) / said["steady_s"])
    width, height = FILE_WH
    table = new_table(
        f"{FILE_FRAMES} frames of {width} x {height}, file to file, default threads",
        "program", "frames/s once running", "ours / theirs", "at least", "whole run, s", "theirs / ours",
    )  # fmt: skip
    found: dict[str, Any] = {"frames": FILE_FRAMES, "size_wh": FILE_WH, "rounds": ROUNDS}
    for name in rates:
        rate, whole_s = float(np.median(rates[name])), float(np.median(seconds[name]))
        faster = float(np.median(rates["ours"])) / rate
        sooner = whole_s / float(np.median(seconds["ours"]))
        found[name] = {"fps": rate, "whole_s": whole_s, "ours_times_as_fast": faster, "ours_times_as_soon": sooner}
        at_least = f"{FILE_TARGETS[name]:.1f}" if name in FILE_TARGETS else ""
        ratios = (f"{faster:.2f}", f"{sooner:.2f}") if name in FILE_TARGETS else ("", "")
        table.add_row(name, f"{rate:.1f}", ratios[0], at_least, f"{whole_s:.2f}", ratios[1])
    console.print(table)
    console.print(
        "The whole run has start-up in it: Python, imports, the model. MPEG-4 Part 2 by OpenCV but where said."
    )
    return found


def measure_share(console: Console, selfie: Path, model: str) -> dict[str, Any]:
    """Ours on 1080p frames that come at 30 a second out of a file, decoding included; prints and returns the figures.

    selfie: MediaPipe's model, whose time on this machine scales what is allowed.
    """
    selfie_ms = [processor_ms(selfie)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.mp4"
        write_video(source, SHARE_WH, SHARE_FRAMES)
        _, report = run_ours("paced", "blur", "--model", model, "--source", str(source), "--output", "null")
    selfie_ms.append(processor_ms(selfie))
    pipeline = report["pipeline"]
    frame_ms = 1000 * pipeline["cpu_s"] / pipeline["frames"]
    share = FPS * frame_ms / 1000
    allowed = SHARE_AT_MOST * float(np.mean(selfie_ms)) / SELFIE_MS
    width, height = SHARE_WH
    console.print(
        f"{width} x {height} at {FPS} frames/s out of a file, nothing written: {share:.2f} of one core "
        f"({frame_ms:.1f} ms of processor time a frame; {pipeline['frames']} frames, {pipeline['dropped']} dropped), "
        f"at most {allowed:.2f}: {SHARE_AT_MOST:g} where MediaPipe's model takes {SELFIE_MS:g} ms; it takes "
        f"{np.mean(selfie_ms):.2f} ms here."
    )
    return {
        "size_wh": SHARE_WH, "fps": FPS, "cores": share, "at_most": allowed, "selfie_ms": selfie_ms,
        "frames": pipeline["frames"], "dropped": pipeline["dropped"],
        "stages": {name: stage["median_ms"] for name, stage in pipeline["stages"].items()},
    }  # fmt: skip


def processor_ms(model: Path, *, runs: int = 150) -> float:
    """Processor time of one inference on one thread: what else the machine does is no part of it."""
    with Engine(model) as engine:
        inputs = random_inputs(engine.inputs)
        for _ in range(20):
            engine.invoke(*inputs)
        began_s = time.process_time()
        for _ in range(runs):
            engine.invoke(*inputs)
        return 1000 * (time.process_time() - began_s) / runs


class PacedSource:
    """A file whose frames come when their time has come, as a camera's do; all else is the file's."""

    is_live = True
    frame_count = None

    def __init__(self, source: Any) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __iter__(self) -> Iterator[Any]:
        began_s = time.perf_counter()
        for frame in self._source:
            time.sleep(max(0.0, began_s + frame.time_s - time.perf_counter()))
            yield frame

    def __enter__(self) -> PacedSource:
        self._source.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._source.__exit__(*error)


def _run(command: list[Any]) -> str:
    """What a program printed. Raises InputError with its last line when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise InputError(f"{command[0]}: does not start", came=error.strerror) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{Path(command[1]).name} {command[2]}: ended with {done.returncode}", came=last)
    return done.stdout


def main(way: str, arguments: list[str]) -> int:
    """One run of the command line in this process, in one of the ways above."""
    from edge_deeplab.cli.main import main as command_line
    from edge_deeplab.demo_apps import live
    from edge_deeplab.video import container

    if way == "opencv":
        container.has_pyav = lambda: False  # what it says where the extra `media` is not installed
    if way == "paced":
        open_source = live.open_source
        live.open_source = lambda *asked: PacedSource(open_source(*asked))  # type: ignore[assignment,return-value]
    return command_line(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
