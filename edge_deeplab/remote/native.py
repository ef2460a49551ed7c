"""Measuring with LiteRT's own benchmark_model on a device that has no Python, and showing what it says.

    made = profile_android(AdbTarget("emulator-5554"), Path("portrait.tflite"), Path("benchmark_model"), request)
    made.latency[0].mean_ms

The tool is the user's: nothing is fetched or built here. It prints a mean and no quantiles but in recent versions; what
it does not say is not shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_deeplab.errors import DeviceError, InputError, UsageError
from edge_deeplab.profiling.benchmark_model import parse_benchmark_output
from edge_deeplab.profiling.report import FORMAT, MIB
from edge_deeplab.remote.address import AdbTarget
from edge_deeplab.remote.android import Adb, AndroidDevice, check_runner, describe_device, look_at
from edge_deeplab.remote.desk import ProfileRequest
from edge_deeplab.remote.job import Job
from edge_deeplab.remote.shell import Say
from edge_deeplab.remote.vitals import Vitals, changes

if TYPE_CHECKING:
    from rich.table import Table

RUNNER, MODEL = "benchmark_model", "model.tflite"
# $1 warm-up, $2 runs, $3 whether XNNPACK, then numbers of threads. min_secs 0: as many runs as asked for, no more.
_RUN = (
    f"chmod 700 {RUNNER} || exit; w=$1; r=$2; x=$3; shift 3; "
    'for n in "$@"; do echo "$r inferences on $n thread(s)" >progress.part; mv -f progress.part progress; '
    f"./{RUNNER} --graph={MODEL} --num_threads=$n --warmup_runs=$w --warmup_min_secs=0 --num_runs=$r --min_secs=0 "
    '--use_xnnpack=$x >"out.$n" 2>&1 || { tail -n 1 "out.$n" >&2; exit 1; }; done'
)
# The last line of this form is that of the counted runs; median and p95 since 2023.
_RUNS = re.compile(
    r"count=(?P<count>\d+) first=\S+ curr=\S+ min=(?P<min>[\d.e+]+) max=(?P<max>[\d.e+]+) avg=(?P<mean>[\d.e+]+)"
    r" std=(?P<std>[\d.e+]+)(?: p5=\S+ median=(?P<median>[\d.e+]+) p95=(?P<p95>[\d.e+]+))?"
)
_MEMORY = re.compile(r"emory footprint[^\n]*\(MB\): init=[\d.]+ overall=(?P<overall>[\d.]+)")
_US_PER_MS = 1000.0


@dataclass(frozen=True, kw_only=True)
class NativeLatency:
    """What the tool said of one number of threads, in milliseconds.

    Attributes:
        mean_ms, std_ms, min_ms, max_ms, count: of the counted runs.
        median_ms, p95_ms: None from tools older than 2023.
        init_ms: making the session; first_ms: the very first inference; warmup_ms: mean of the warm-up.
        memory_bytes: what the tool's memory grew by, None where it does not say.
    """

    threads: int
    mean_ms: float
    std_ms: float
    min_ms: float
    max_ms: float
    count: int
    median_ms: float | None
    p95_ms: float | None
    init_ms: float | None
    first_ms: float | None
    warmup_ms: float | None
    memory_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class NativeProfile:
    """A profile made by benchmark_model on an Android device.

    Attributes:
        model: the file here; runner: the tool, here.
        kernels: as asked.
        notes: what makes the figures doubtful.
    """

    target: AdbTarget
    device: AndroidDevice
    model: Path
    runner: Path
    kernels: str
    latency: tuple[NativeLatency, ...]
    before: Vitals
    after: Vitals

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the figures doubtful, one sentence each."""
        return tuple(changes(self.before, self.after))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        data, runner = self.model.read_bytes(), self.runner.read_bytes()
        return {
            "format": FORMAT,
            "host": dataclasses.asdict(self.device),
            "engine": {"package": RUNNER, "sha256": hashlib.sha256(runner).hexdigest()},
            "model": {"file": self.model.name, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)},
            "kernels": self.kernels,
            "native_latency": [dataclasses.asdict(row) for row in self.latency],
            "vitals": {"before": self.before.to_dict(), "after": self.after.to_dict()},
            "target": {"place": str(self.target)},
            "notes": list(self.notes),
        }


def profile_android(
    target: AdbTarget, model: Path, runner: Path | None, request: ProfileRequest, *, say: Say = lambda _: None
) -> NativeProfile:
    """Measures a model on a device.

    Raises: UsageError without a runner, or for kernels it does not have; InputError for a runner of another processor;
        DeviceError when the device is not there or the tool fails on it.
    """
    if runner is None:
        raise UsageError(
            f"--target {target}: Android has no Python, so it needs --runner PATH",
            allowed="LiteRT's benchmark_model, built for the device (for most: android_aarch64_benchmark_model)",
            next_step="ai.google.dev/edge/litert/models/measurement says where its native binary is",
        )
    if request.kernels == "reference":
        raise UsageError("--kernels reference: benchmark_model has none", allowed="auto, xnnpack, builtin")
    with contextlib.closing(Adb(target)) as shell:
        device = describe_device(shell)
        check_runner(runner, device.abis)
        say(f"{target}: {device.name}, Android {device.android}, {device.abis[0]}")
        counts = request.threads or tuple(dict.fromkeys((1, device.cpus)))
        has_xnnpack = "false" if request.kernels == "builtin" else "true"
        words = (str(request.warmup), str(request.runs), has_xnnpack, *map(str, counts))
        with Job(shell, ("sh", "-c", _RUN, "sh", *words), say=say) as job:
            job.send(runner, RUNNER)
            job.send(model, MODEL)
            before = look_at(shell)
            if job.finish(on_progress=lambda text: say(f"{target}: {text}")) != 0:
                raise DeviceError(f"{target}: {RUNNER} failed there", came=job.complaint())
            after = look_at(shell)
            said = {count: job.fetch(f"out.{count}").decode("utf-8", "replace") for count in counts}
    latency = tuple(read_latency(text, threads=count) for count, text in said.items())
    return NativeProfile(
        target=target, device=device, model=model, runner=runner, kernels=request.kernels, latency=latency,
        before=before, after=after,
    )  # fmt: skip


def read_latency(text: str, *, threads: int) -> NativeLatency:
    """Reads what the tool printed. Raises InputError when there are no times in it."""
    run = parse_benchmark_output(text, source=RUNNER)
    lines = list(_RUNS.finditer(text))
    if not lines:
        raise InputError(f"{RUNNER}: prints no line of its counted runs", allowed="count=... avg=... std=...")
    found = {name: value for name, value in lines[-1].groupdict().items() if value is not None}
    figures = {f"{name}_ms": float(value) / _US_PER_MS for name, value in found.items() if name != "count"}
    memory = _MEMORY.search(text)
    return NativeLatency(
        threads=threads, count=int(found["count"]), init_ms=run.init_ms, first_ms=run.first_ms,
        warmup_ms=run.warmup_ms, memory_bytes=int(float(memory["overall"]) * MIB) if memory else None,
        **{"median_ms": None, "p95_ms": None, **figures},  # type: ignore[arg-type]
    )  # fmt: skip


def render_native(made: NativeProfile) -> list[Table]:
    """The profile as tables, in the order to print them."""
    from rich.table import Table

    device = made.device
    facts = Table("fact", "value", title=f"Profile of {made.model.name}", title_justify="left", show_header=False)
    facts.add_row("model", f"{made.model.stat().st_size / MIB:.2f} MiB")
    facts.add_row("measured by", f"{RUNNER} ({made.runner.name}), kernels {made.kernels}")
    facts.add_row("device", f"{device.name}, Android {device.android}" + (f", {device.soc}" if device.soc else ""))
    flags = ", ".join(device.int8_flags) or "none"
    facts.add_row("processor", f"{device.abis[0]}, {device.cpus} processors, int8 dot products: {flags}")
    names = ("threads", "mean", "std", "min", "median", "p95", "max", "runs", "first", "warm-up", "init", "memory MiB")
    latency = Table(*names, title="One inference, ms", title_justify="left")
    for column in latency.columns:
        column.justify = "right"
    for row in made.latency:
        memory = None if row.memory_bytes is None else row.memory_bytes / MIB
        spread = (row.mean_ms, row.std_ms, row.min_ms, row.median_ms, row.p95_ms, row.max_ms)
        around = (row.first_ms, row.warmup_ms, row.init_ms, memory)
        latency.add_row(str(row.threads), *map(_figure, spread), str(row.count), *map(_figure, around))
    return [facts, latency]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"
