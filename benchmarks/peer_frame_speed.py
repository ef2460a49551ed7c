"""A 1280 x 720 frame in memory to a portrait-blurred frame in memory: ours beside MediaPipe's way in Python.

Ours is Segmenter and PortraitCompositor; the peer's is mp.solutions.selfie_segmentation (general model), a Gaussian
blur of 55 x 55 and OpenCV's fastest blend, in an environment of its own. Frames alternate between the two, on the
same processors; medians and their ratio (below 1 ours is faster), and each one's stages.

    python benchmarks/peer_frame_speed.py PEER_PYTHON [--model portrait] [--threads 1] [--json FILE] [--pictures DIR]

PEER_PYTHON is the Python of an environment that holds mediapipe==0.10.21.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rich.console import Console

from edge_deeplab.cli.frame_program import FrameProgram, moving_frames
from edge_deeplab.errors import EdgeDeepLabError, InputError
from edge_deeplab.profiling.engine import describe_model
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions, sample_pair, timed
from edge_deeplab.profiling.report import doubts, host_line, render_pairs, write_json
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.interpreter import engine_name

WORKER = Path(__file__).with_name("peer_frame_worker.py")
SIZE_WH = (1280, 720)


class Peer:
    """The peer's worker process. A context manager.

    Raises: InputError when it does not start or dies.
    """

    def __init__(self, python: Path, frames: Path, *, threads: int) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                [python, WORKER, frames, "--threads", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        except OSError as error:
            self._log.close()
            raise InputError(f"{python}: does not start", came=error.strerror, allowed="a Python") from error
        self._python = python
        self._turn = itertools.count()
        self.versions = self._answer()

    def step(self) -> dict[str, float]:
        """Does the next frame. Returns its stages in milliseconds."""
        stages: dict[str, float] = self._ask(f"frame {next(self._turn)}")["stages"]
        return stages

    def save(self, path: Path) -> None:
        """Writes the last picture made."""
        self._ask(f"save {path}")

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer that does not come says why
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            last = (self._log.read().strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{self._python}: the peer stopped", came=last, allowed="a Python with mediapipe==0.10.21")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # closes its stdin, on which it ends
        self._log.close()


def on_processors(count: int) -> None:
    """Holds this process, and the peer it will start, to `count` processors: both then have the same means."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-count:]))


def medians(stages: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median milliseconds of each stage."""
    return {name: float(np.median([frame[name] for frame in stages])) for name in stages[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, metavar="PEER_PYTHON", help="the Python of the peer's environment")
    parser.add_argument("--model", default="portrait", help="ours: a bundled name or a path [portrait]")
    parser.add_argument("--threads", type=int, default=1, help="threads and processors of either [1]")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also write the last picture of each here")
    arguments = parser.parse_args()

    host = describe_host()
    on_processors(arguments.threads)
    import cv2

    cv2.setNumThreads(arguments.threads)
    path = bundled_model(arguments.model)
    frames, shows = moving_frames(None, SIZE_WH)
    options = MeasureOptions(warmup=10, runs=arguments.runs, max_duration_s=120.0)
    seen: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "frames.npy"
        np.save(stored, np.stack(frames))
        with (
            FrameProgram(path, frames, threads=arguments.threads) as ours,
            Peer(arguments.peer, stored, threads=arguments.threads) as peer,
        ):

            def our_step() -> None:
                seen["ours"].append(ours.step())

            def peer_step() -> float:  # it times itself: the pipe to it is no part of a frame
                seen["peer"].append(peer.step())
                return sum(seen["peer"][-1].values())

            pair = sample_pair(timed(our_step), peer_step, options=options)
            versions = peer.versions
            if arguments.pictures:
                arguments.pictures.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(arguments.pictures / "ours.png"), ours.picture)
                peer.save(arguments.pictures / "peer.png")
    stages = {name: medians(stages[options.warmup :]) for name, stages in seen.items()}
    notes = doubts(host, {"ours": pair.first, "MediaPipe's": pair.second})

    console = Console()
    console.print(render_pairs({path.name: pair}, first="ours", second="MediaPipe's"))
    for name, took_ms in stages.items():
        console.print(f"{name}: " + ", ".join(f"{stage} {value:.2f}" for stage, value in took_ms.items()))
    width, height = SIZE_WH
    console.print(
        f"{width} x {height} {shows}, {arguments.threads} thread(s); {host_line(host)}; {' '.join(engine_name())}, "
        f"MediaPipe {versions['mediapipe']}",
        *notes,
        sep="\n",
    )
    if arguments.json:
        document = {
            "benchmark": "peer_frame_speed",
            "host": host.to_dict(),
            "engine": engine_name(),
            "peer": versions,
            "threads": arguments.threads,
            "size_wh": SIZE_WH,
            "shows": shows,
            "model": describe_model(path).to_dict(),
            "pair": pair.to_dict(),
            "stages_ms": stages,
            "notes": notes,
        }
        write_json(arguments.json, document, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        sys.exit(f"peer_frame_speed: error: {error}")
