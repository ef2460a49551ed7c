"""Does a program that people keep switched on stay as it was? The real portrait program over a live camera, for long.

A camera in a process of its own (motion JPEG over HTTP, benchmarks/soak_camera.py) is blurred into nothing, the way
`edge-deeplab blur` does it. Memory, latency, threads and open files are looked at twice a second; what grows is found
by comparing the last tenth of the run with the first one after the warm-up, and by a straight line through all.

    python benchmarks/soak.py [--frames 100000] [--faults 1000] [--json FILE] [--gate]

With --faults, the camera does something bad every so many frames: damaged, truncated, grey and black pictures, another
size, a stall, a cut, a restart. With --gate the exit code is 3 when a limit is passed.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from soak_camera import FAULTS

from edge_deeplab.demo_apps.live import LiveReport
from edge_deeplab.demo_apps.options import LiveOptions, PortraitOptions
from edge_deeplab.demo_apps.portrait import run_portrait
from edge_deeplab.errors import DeviceError, EdgeDeepLabError, GateError
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.milestones import held_memory_bytes
from edge_deeplab.profiling.report import host_line, write_json
from edge_deeplab.video.pipeline import Progress

MEMORY_LIMIT_MIB = 6.0  # between two tenths of a run; a leak of one small frame in a hundred is 170 MiB in 100,000
LATENCY_LIMIT = 1.3  # the last tenth's median over the first's; a queue that fills is a multiple
WARM_UP = 0.2  # of the run: buffers, caches and the allocator's arenas find their size
PARTS = 10
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was seen at one moment.

    Attributes:
        frame: written so far.
        memory_mib: resident.
        latency_ms: median of the last 60 frames, from capture to written.
        threads, files: open.
    """

    frame: int
    memory_mib: float
    latency_ms: float
    threads: int
    files: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What changed over a run, from the first part after the warm-up to the last.

    Attributes:
        memory_growth_mib: difference of the medians.
        memory_slope_mib: of a straight line, over the whole of what follows the warm-up.
        latency_ratio: of the medians.
        latency_slope: of a straight line, over the whole, as a part of the first part's median.
        files_growth, threads_growth: difference of the medians.
    """

    memory_growth_mib: float
    memory_slope_mib: float
    latency_ratio: float
    latency_slope: float
    files_growth: float
    threads_growth: float

    def faults(self, *, memory_mib: float = MEMORY_LIMIT_MIB, latency: float = LATENCY_LIMIT) -> list[str]:
        """One line for each limit that was passed. Line and difference must both say so: one outlier is no drift."""
        found = []
        if min(self.memory_growth_mib, self.memory_slope_mib) > memory_mib:
            found.append(f"memory grew by {self.memory_growth_mib:.1f} MiB; allowed: {memory_mib:g}")
        if self.latency_ratio > latency and self.latency_slope > (latency - 1) / 2:
            found.append(f"latency grew to {self.latency_ratio:.2f} of what it was; allowed: {latency:g}")
        if self.files_growth > 1:
            found.append(f"{self.files_growth:.0f} more files are open; allowed: 1")
        if self.threads_growth > 1:
            found.append(f"{self.threads_growth:.0f} more threads run; allowed: 1")
        return found


def judge(samples: list[Sample], *, warm_up_frames: int = 0) -> Verdict:
    """Compares the first part after the warm-up with the last.

    Args:
        samples: in order.
        warm_up_frames: the warm-up is no shorter: each fault comes once, and each size gets its buffers.

    Raises: DeviceError for too few samples.
    """
    begins = max(warm_up_frames, WARM_UP * samples[-1].frame) if samples else 0
    steady = [sample for sample in samples if sample.frame >= begins]
    size = max(3, len(steady) // PARTS)
    if len(steady) < 2 * size:
        raise DeviceError("the run was too short to judge", came=f"{len(samples)} samples", next_step="more --frames")
    first, last = steady[:size], steady[-size:]

    def median(part: list[Sample], name: str) -> float:
        return float(np.median([getattr(sample, name) for sample in part]))

    def slope(name: str) -> float:
        frames = np.array([sample.frame for sample in steady], float)
        line = np.polyfit(frames - frames[0], [getattr(sample, name) for sample in steady], 1)
        return float(line[0] * (frames[-1] - frames[0]))

    latency_ms = median(first, "latency_ms")
    return Verdict(
        memory_growth_mib=median(last, "memory_mib") - median(first, "memory_mib"),
        memory_slope_mib=slope("memory_mib"),
        latency_ratio=median(last, "latency_ms") / latency_ms,
        latency_slope=slope("latency_ms") / latency_ms,
        files_growth=median(last, "files") - median(first, "files"),
        threads_growth=median(last, "threads") - median(first, "threads"),
    )


def soak(
    source: str, frames: int, *, model: str, threads: int, tell: Callable[[Progress], None]
) -> tuple[LiveReport, list[Sample]]:
    """Blurs so many frames of a live source into nothing, and looks twice a second."""
    samples: list[Sample] = []
    stop = threading.Event()

    def look(progress: Progress) -> None:
        tell(progress)
        if progress.latency_ms is not None:
            samples.append(
                Sample(
                    frame=progress.frames, memory_mib=(held_memory_bytes() or 0) / MIB, latency_ms=progress.latency_ms,
                    threads=threading.active_count(), files=_open_files(),
                )
            )  # fmt: skip
        if progress.frames >= frames:
            stop.set()

    options = PortraitOptions(model=model, live=LiveOptions(source=source, output="null", threads=threads))
    return run_portrait(options, stop=stop, on_progress=look), samples


@contextmanager
def a_camera(*, fps: float, size: str, faults_every: int) -> Iterator[str]:
    """The camera's process; gives its address."""
    program = Path(__file__).with_name("soak_camera.py")
    command = [sys.executable, str(program), "--fps", str(fps), "--size", size, "--faults", str(faults_every)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)


def table_of(samples: list[Sample]) -> Table:
    """The run in ten parts, the warm-up too."""
    table = Table(title="a tenth of the run in each row, medians", title_justify="left")
    for name in ("frames", "memory MiB", "latency ms", "threads", "files"):
        table.add_column(name, justify="right")
    for part in np.array_split(np.array(samples, dtype=object), PARTS):
        if not len(part):
            continue
        values = [[getattr(one, name) for one in part] for name in ("memory_mib", "latency_ms", "threads", "files")]
        memory, latency, threads, files = (float(np.median(value)) for value in values)
        table.add_row(f"to {part[-1].frame}", f"{memory:.1f}", f"{latency:.2f}", f"{threads:.0f}", f"{files:.0f}")
    return table


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def _show(progress: Progress) -> None:
    if sys.stderr.isatty():
        trouble = f", {progress.trouble}" if progress.trouble else ""
        print(f"\r\033[K{progress.frames} frames, {progress.fps or 0:.0f} fps{trouble}", end="", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000, help="frames to write [100000]")
    parser.add_argument("--faults", type=int, default=0, metavar="N", help="a fault every N frames; 0 for none [0]")
    parser.add_argument("--fps", type=float, default=150.0, help="frames the camera sends a second [150]")
    parser.add_argument("--size", default="320x180", help="of the camera's frames [320x180]")
    parser.add_argument("--model", default="portrait", help="a bundled name or a path [portrait]")
    parser.add_argument("--threads", type=int, default=1, help="of the model and of OpenCV [1]")
    parser.add_argument("--memory-mib", type=float, default=MEMORY_LIMIT_MIB, help="limit of growth [%(default)s]")
    parser.add_argument("--latency-ratio", type=float, default=LATENCY_LIMIT, help="limit of growth [%(default)s]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    parser.add_argument("--gate", action="store_true", help="exit with 3 when a limit is passed")
    arguments = parser.parse_args()

    with a_camera(fps=arguments.fps, size=arguments.size, faults_every=arguments.faults) as address:
        report, samples = soak(
            address, arguments.frames, model=arguments.model, threads=arguments.threads, tell=_show
        )  # fmt: skip
    verdict, run = judge(samples, warm_up_frames=len(FAULTS) * arguments.faults), report.pipeline
    faults = verdict.faults(memory_mib=arguments.memory_mib, latency=arguments.latency_ratio)
    host = describe_host()

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table_of(samples))
    console.print(
        f"{run.frames} frames in {run.duration_s:.0f} s, {run.fps or 0:.0f} fps, {run.dropped} dropped, "
        f"{run.held} times held",
        f"after the warm-up: memory {verdict.memory_growth_mib:+.2f} MiB (line: {verdict.memory_slope_mib:+.2f}), "
        f"latency {verdict.latency_ratio:.2f} times (line: {verdict.latency_slope:+.1%}), "
        f"files {verdict.files_growth:+.0f}, threads {verdict.threads_growth:+.0f}",
        *(f"Note: {note}" for note in run.notes),
        *(f"FAULT: {fault}" for fault in faults),
        host_line(host),
        sep="\n", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    if arguments.json:
        document = {
            "benchmark": "soak", "host": host.to_dict(), "frames": run.frames, "dropped": run.dropped, "held": run.held,
            "faults_every": arguments.faults, "verdict": dataclasses.asdict(verdict), "faults": faults,
            "notes": list(run.notes), "samples": [dataclasses.asdict(sample) for sample in samples],
        }  # fmt: skip
        write_json(arguments.json, document, overwrite=True)
    if arguments.gate and faults:
        raise GateError("; ".join(faults))


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"soak: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
