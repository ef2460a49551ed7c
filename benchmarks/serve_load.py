"""What batching gains, what HTTP and queueing add, and whether anything is lost when replicas are killed.

batching   the float network as a SavedModel, one replica on all processors, batches of one beside batches of
           --max-batch: pictures a second from --callers callers, and the 99th percentile of their latency beside one
           caller's median
adding     one caller's latency less decoding, model and encoding, beside a bare Ray Serve echo of the same bytes
losses     --requests pictures on two replicas, one of them killed every thousandth

Both sides of a comparison stand side by side and are measured in turns; everything stays on this machine.

    python benchmarks/serve_load.py [--part batching] [--requests 10000] [--json FILE] [--gate]

With --gate the exit code is 3 when batching gains less than 1.3 times, its p99 is above 3 times one caller's median,
HTTP and queueing add more than 1.5 times the echo, or a request is lost.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from edge_deeplab.errors import DeviceError, EdgeDeepLabError, GateError
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.report import host_line, write_json
from edge_deeplab.runtime.bundled import assets_folder

PARTS = ("batching", "adding", "losses")
LEAST_GAIN, MOST_P99, MOST_ADDED = 1.3, 3.0, 1.5
KILL_EVERY = 1000
START_S, TIMEOUT_S = 180.0, 120.0
PATH = "/v1/segment?answer=labels"
WORK = ("decode", "model", "encode")


class Caller:
    """One connection that is kept; sends a picture and waits."""

    def __init__(self, port: int, path: str = PATH) -> None:
        self._connection, self._path = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S), path

    def send(self, data: bytes) -> tuple[int, float, dict[str, float]]:
        """Returns: status, milliseconds, and the stages that the answer tells of."""
        start = time.perf_counter_ns()
        self._connection.request("POST", self._path, body=data, headers={"content-type": "image/jpeg"})
        answer = self._connection.getresponse()
        answer.read()
        spent_ms = (time.perf_counter_ns() - start) / 1e6
        stages = re.findall(r"(\w+);dur=([\d.]+)", answer.headers.get("server-timing", ""))
        return answer.status, spent_ms, {name: float(value) for name, value in stages}


def photo(side: int) -> bytes:
    """A JPEG of that size: scikit-image's astronaut."""
    import skimage.data

    image = cv2.resize(np.asarray(skimage.data.astronaut()), (side, side), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


@contextlib.contextmanager
def server(model: Path, *arguments: str) -> Iterator[tuple[int, int]]:
    """`edge-deeplab serve` on a free port. Yields: port and process."""
    command = [sys.executable, "-m", "edge_deeplab.cli.main", "serve", str(model), "--port", "0", *arguments]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stderr=said, stdout=subprocess.DEVNULL)
        try:
            ends_s = time.monotonic() + START_S
            while True:
                text = os.pread(said.fileno(), 65536, 0).decode()
                found = re.search(r"ready at \S+:(\d+)", text)
                if found is not None:
                    break
                if process.poll() is not None or time.monotonic() > ends_s:
                    raise DeviceError("the server does not start", came=text.strip().splitlines()[-1:])
                time.sleep(0.1)
            yield int(found.group(1)), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(TIMEOUT_S)


@contextlib.contextmanager
def echo() -> Iterator[int]:
    """serve_echo.py on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, str(Path(__file__).with_name("serve_echo.py")), str(port)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        if not any("ready" in line for line in process.stdout):
            raise DeviceError("the echo does not start")
        yield port
    finally:
        process.stdin.close()
        process.wait(TIMEOUT_S)


def drive(port: int, data: bytes, *, callers: int, seconds: float) -> tuple[float, list[float]]:
    """Pictures a second and every latency in milliseconds, from callers that each wait for their answer."""
    latencies: list[float] = []
    failed: Counter[int] = Counter()
    ends_s = time.monotonic() + seconds

    def call() -> None:
        caller = Caller(port)
        while time.monotonic() < ends_s:
            status, spent_ms, _ = caller.send(data)
            if status == http.HTTPStatus.OK:
                latencies.append(spent_ms)
            else:
                failed[status] += 1

    start_s = time.monotonic()
    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise DeviceError("the server refused pictures", came=dict(failed))
    return len(latencies) / (time.monotonic() - start_s), latencies


def percentile(values: list[float], share: float) -> float:
    """The value below which that share of them lies."""
    return float(np.percentile(values, 100 * share))


def saved_model(model: Path, folder: Path) -> Path:
    """A float network as a SavedModel, made by `edge-deeplab convert`."""
    made = folder / "float.savedmodel"
    command = [sys.executable, "-m", "edge_deeplab.cli.main", "convert", str(model)]
    done = subprocess.run([*command, "--to", "savedmodel", "--output", str(made)], capture_output=True, text=True)
    if done.returncode:
        raise DeviceError("no SavedModel could be made", came=done.stderr.strip().splitlines()[-1:])
    return made


def measure_batching(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both servers stand at once and are driven in turns, the other one held still."""
    data = photo(arguments.side)
    threads = ("--threads", str(os.cpu_count() or 1), "--max-queue", "256")
    rates: dict[str, list[float]] = {"one": [], "many": []}
    latencies: dict[str, list[float]] = {"one": [], "many": [], "alone": []}
    with tempfile.TemporaryDirectory() as folder:
        model = saved_model(arguments.float_model, Path(folder))
        with (
            server(model, *threads, "--max-batch", "1") as (one, one_pid),
            server(model, *threads, "--max-batch", str(arguments.max_batch)) as (many, many_pid),
        ):
            for port in (one, many):
                drive(port, data, callers=arguments.callers, seconds=arguments.seconds / 2)
            for _ in range(arguments.turns):
                for name, port, other in (("one", one, many_pid), ("many", many, one_pid)):
                    with held_still(other):
                        rate, times = drive(port, data, callers=arguments.callers, seconds=arguments.seconds)
                    rates[name].append(rate)
                    latencies[name] += times
                with held_still(many_pid):
                    latencies["alone"] += drive(one, data, callers=1, seconds=arguments.seconds / 2)[1]
    gains = [many / one for one, many in zip(rates["one"], rates["many"], strict=True)]
    alone_ms = statistics.median(latencies["alone"])
    return {
        "one_per_s": statistics.median(rates["one"]),
        "many_per_s": statistics.median(rates["many"]),
        "gain": statistics.median(gains),
        "gains": gains,
        "alone_median_ms": alone_ms,
        "p99_ms": percentile(latencies["many"], 0.99),
        "one_p99_ms": percentile(latencies["one"], 0.99),
        "p99_of_alone": percentile(latencies["many"], 0.99) / alone_ms,
        "count": len(latencies["many"]),
    }


def measure_adding(arguments: argparse.Namespace) -> dict[str, Any]:
    """One caller, a picture to us and the same bytes to the echo in turns."""
    data, model = photo(arguments.side), assets_folder() / "portrait.tflite"
    added, echoed, whole = [], [], []
    with server(model) as (port, _), echo() as echo_port:
        ours, theirs = Caller(port), Caller(echo_port, "/")
        for turn in range(arguments.turns * 60):
            _, spent_ms, stages = ours.send(data)
            _, echo_ms, _ = theirs.send(data)
            if turn >= arguments.turns * 6:  # the first tenth warms both
                added.append(spent_ms - sum(stages[name] for name in WORK))
                echoed.append(echo_ms)
                whole.append(spent_ms)
    return {
        "whole_median_ms": statistics.median(whole),
        "added_median_ms": statistics.median(added),
        "added_p99_ms": percentile(added, 0.99),
        "echo_median_ms": statistics.median(echoed),
        "echo_p99_ms": percentile(echoed, 0.99),
        "added_of_echo": statistics.median(added) / statistics.median(echoed),
        "count": len(added),
    }


def measure_losses(arguments: argparse.Namespace) -> dict[str, Any]:
    """Two replicas, eight callers; every answer is counted, and so is every call that got none."""
    data, model = photo(arguments.side), assets_folder() / "portrait.tflite"
    outcomes: Counter[str] = Counter()
    lock, killed = threading.Lock(), 0
    with server(model, "--replicas", "2", "--max-queue", "256", "--timeout-s", "60") as (port, pid):
        left = iter(range(arguments.requests))

        def call() -> None:
            nonlocal killed
            caller = Caller(port)
            while True:
                with lock:
                    number = next(left, None)
                if number is None:
                    return
                if number % KILL_EVERY == KILL_EVERY // 2:
                    os.kill(replicas_of(pid)[0], signal.SIGKILL)
                    killed += 1
                try:
                    outcome = str(caller.send(data)[0])
                except (OSError, http.client.HTTPException) as error:
                    outcome, caller = type(error).__name__, Caller(port)
                with lock:
                    outcomes[outcome] += 1

        start_s = time.monotonic()
        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent_s = time.monotonic() - start_s
    return {
        "requests": arguments.requests, "killed": killed, "outcomes": dict(outcomes),
        "lost": arguments.requests - outcomes["200"], "per_s": arguments.requests / spent_s,
    }  # fmt: skip


@contextlib.contextmanager
def held_still(server_pid: int) -> Iterator[None]:
    """Stops a server, Ray and all, for as long: it would take a twentieth of a core from the one that is measured."""
    stopped = list(processes_of(server_pid))
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def replicas_of(server_pid: int) -> list[int]:
    """The replicas' processes below the server's."""
    return sorted(pid for pid, name in processes_of(server_pid).items() if b"ServeReplica" in name)


def processes_of(server_pid: int) -> dict[int, bytes]:
    """The server's process and all below it, and their command lines."""
    parents, names = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(path.name)] = (path / "cmdline").read_bytes()
    below = {server_pid}
    while new := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= new
    return {pid: names.get(pid, b"") for pid in below}


def show(figures: dict[str, dict[str, Any]]) -> list[str]:
    """Prints the tables. Returns: what missed its gate."""
    table = Table(title="serving", title_justify="left")
    for name in ("figure", "measured", "gate"):
        table.add_column(name)
    missed = []

    def row(figure: str, measured: str, gate: str = "", is_missed: bool = False) -> None:
        table.add_row(figure, measured, gate)
        if is_missed:
            missed.append(f"{figure}: {measured}")

    if found := figures.get("batching"):
        row("pictures a second, batches of one", f"{found['one_per_s']:.1f}")
        row("the same in batches", f"{found['many_per_s']:.1f}")
        row("gain of batching", f"{found['gain']:.2f}", f"at least {LEAST_GAIN}", found["gain"] < LEAST_GAIN)
        row("one caller alone, median", f"{found['alone_median_ms']:.1f} ms")
        row("p99 in batches", f"{found['p99_ms']:.1f} ms (batches of one: {found['one_p99_ms']:.1f})")
        ratio = found["p99_of_alone"]
        row("p99 in batches, of one caller's median", f"{ratio:.2f}", f"at most {MOST_P99:g}", ratio > MOST_P99)
    if found := figures.get("adding"):
        row("one picture, median", f"{found['whole_median_ms']:.1f} ms")
        row("HTTP and queueing, median", f"{found['added_median_ms']:.1f} ms (p99 {found['added_p99_ms']:.1f})")
        row("echo, median", f"{found['echo_median_ms']:.1f} ms (p99 {found['echo_p99_ms']:.1f})")
        ratio = found["added_of_echo"]
        row("HTTP and queueing, of the echo", f"{ratio:.2f}", f"at most {MOST_ADDED}", ratio > MOST_ADDED)
    if found := figures.get("losses"):
        row("replicas killed", f"{found['killed']} ({found['per_s']:.0f} pictures a second all the while)")
        row("lost", f"{found['lost']} of {found['requests']} ({found['outcomes']})", "0", found["lost"] > 0)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; may be repeated [all]")
    parser.add_argument("--turns", type=int, default=5, help="of each side [5]")
    parser.add_argument("--seconds", type=float, default=6.0, help="of one turn [6]")
    parser.add_argument("--callers", type=int, default=3, help="at once, for batching [3]")
    parser.add_argument(
        "--float-model", type=Path, default=assets_folder() / "portrait-large.keras", metavar="FILE.keras",
        help="for batching [portrait-large.keras, the float network of what serve takes by default]",
    )  # fmt: skip
    parser.add_argument("--max-batch", type=int, default=8, help="pictures in a batch [8]")
    parser.add_argument("--side", type=int, default=512, help="of the picture sent, in pixels [512]")
    parser.add_argument("--requests", type=int, default=10_000, help="for losses [10000]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    parser.add_argument("--gate", action="store_true", help="exit with 3 when a figure misses its gate")
    arguments = parser.parse_args()
    measures = {"batching": measure_batching, "adding": measure_adding, "losses": measure_losses}
    figures = {part: measures[part](arguments) for part in arguments.part or PARTS}
    host = describe_host()
    missed = show(figures)
    print(host_line(host))
    if arguments.json:
        settings = {key: value for key, value in vars(arguments).items() if key not in ("json", "gate")}
        settings["float_model"] = arguments.float_model.name
        document = {"benchmark": "serve_load", "host": host.to_dict(), "settings": settings, **figures}
        write_json(arguments.json, document, overwrite=True)
    if arguments.gate and missed:
        raise GateError("gate missed: " + "; ".join(missed))


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"serve_load: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
