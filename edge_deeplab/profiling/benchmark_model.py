"""LiteRT's native benchmark_model, where the user has one: running it, and reading what it prints.

    run = run_benchmark_model(Path("./benchmark_model"), Path("portrait.tflite"), threads=1)
    run.inference_ms, operators_report(TfliteFile.read(path), run, threads=1).rows

Reads the tool of TensorFlow Lite (from 2.9.1 it lists XNNPACK's operators, in the main table or in one headed "Delegate
internal") and LiteRT's benchmark_litert_model, which prints the same tables. The tool comes in no wheel or Debian
package: it is built with Bazel from LiteRT's sources, or fetched from their nightly builds, for the device in question.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge_deeplab.errors import EdgeDeepLabError, InputError
from edge_deeplab.profiling.operators import OperatorsReport, TimedKernel, assign
from edge_deeplab.runtime.flatbuffer import TfliteFile

TIMEOUT_S = 600.0
US_PER_MS = 1000.0

_TIMINGS = re.compile(
    r"Inference timings in us: Init: ([\d.e+]+), First inference: ([\d.e+]+), Warmup \(avg\): ([\d.e+]+), "
    r"Inference \(avg\): ([\d.e+]+)"
)
# LiteRT's own tool has a line for each: "Inference (avg): 0.44 ms".
_LITERT_TIMING = r"{name}\s*:\s*([\d.]+) ms"
_REGULAR_RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_DELEGATE_PART = "Delegate internal:"
_ROW = re.compile(r"^\s*(?P<kind>\S.*?)\s+(?P<numbers>(?:-?[\d.]+%?\s+){5,})(?P<name>\S.*)$")
_NODE = re.compile(r"^\[.*\](?::(?P<index>\d+))?$")


@dataclass(frozen=True, kw_only=True)
class BenchmarkRun:
    """What the tool printed.

    Attributes:
        inference_ms: mean of the counted runs; None where it is not printed.
        init_ms, first_ms, warmup_ms: start of the session, first inference, mean of the warm-up; None likewise.
        operators: (name, index in the file or None inside of a delegate, milliseconds), in the order of execution.
        hidden_by: the delegate whose operators the tool does not list, None when it lists all.
    """

    inference_ms: float | None
    init_ms: float | None
    first_ms: float | None
    warmup_ms: float | None
    operators: tuple[tuple[str, int | None, float], ...]
    hidden_by: str | None


def check_tool(tool: Path) -> None:
    """Raises InputError when there is no such file."""
    if not tool.is_file():
        raise InputError(f"{tool}: no such program", allowed="the path of LiteRT's benchmark_model")


def run_benchmark_model(
    tool: Path, model: Path, *, threads: int = 1, use_xnnpack: bool = True, warmup: int = 10, runs: int = 100
) -> BenchmarkRun:
    """Runs the tool on a model. Raises InputError for a tool that is none; EdgeDeepLabError when it fails."""
    check_tool(tool)
    command = [
        str(tool.resolve()), f"--graph={model.resolve()}", f"--num_threads={threads}", f"--warmup_runs={warmup}",
        f"--num_runs={runs}", f"--use_xnnpack={str(use_xnnpack).lower()}", "--enable_op_profiling=true",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise InputError(
            f"{tool}: cannot be run", came=error.strerror, next_step="is it executable, and built for this processor?"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EdgeDeepLabError(f"{tool}: hangs", came=f"no end after {TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        last = ((done.stderr.strip() or done.stdout.strip()).splitlines() or ["no message"])[-1]
        raise EdgeDeepLabError(f"{tool}: failed", came=f"exit {done.returncode}: {last}")
    return parse_benchmark_output(done.stdout + "\n" + done.stderr, source=str(tool))


def parse_benchmark_output(text: str, *, source: str = "benchmark_model") -> BenchmarkRun:
    """Reads the tool's whole output (it prints to either stream). Raises InputError when it holds no times."""
    timings = _TIMINGS.search(text)
    if timings:
        init, first, warmup, inference = (float(value) / US_PER_MS for value in timings.groups())
        figures: tuple[float | None, ...] = (inference, init, first, warmup)
    else:
        names = (r"Inference \(avg\)", r"Model initialization", r"First inference|Warmup \(first\)", r"Warmup \(avg\)")
        found = [re.search(_LITERT_TIMING.format(name=f"(?:{name})"), text) for name in names]
        figures = tuple(float(match.group(1)) if match else None for match in found)
    _, heading, after = text.partition(_REGULAR_RUNS)
    main, _, inside = (after if heading else text).partition(_DELEGATE_PART)
    rows, delegates = _operators(_first_table(main))
    hidden_rows, _ = _operators(_first_table(inside), is_inside=True)
    if hidden_rows and delegates:
        at = delegates[0][0]
        rows[at:at] = hidden_rows
    if figures[0] is None and not rows:
        raise InputError(f"{source}: prints no times", allowed="LiteRT's benchmark_model")
    has_inside = bool(hidden_rows) or any(index is None for _, index, _ in rows)
    return BenchmarkRun(
        inference_ms=figures[0],
        init_ms=figures[1],
        first_ms=figures[2],
        warmup_ms=figures[3],
        operators=tuple(rows),
        hidden_by=delegates[0][1] if delegates and not has_inside else None,
    )


def operators_report(graph: TfliteFile, run: BenchmarkRun, *, threads: int) -> OperatorsReport:
    """Gives the tool's times to the operators of the file.

    Raises: InputError when the tool lists no operators, or hides them in a delegate's node.
    """
    if run.hidden_by:
        raise InputError(
            f"benchmark_model hides operators in {run.hidden_by}", allowed="a tool of TensorFlow Lite 2.9.1 or later",
            next_step="give a newer one, or measure with --kernels builtin",
        )  # fmt: skip
    count = len(graph.operators)
    known = [
        TimedKernel(name, index, None, time_ms)
        for name, index, time_ms in run.operators
        if index is None or index < count
    ]
    if not known:
        raise InputError("benchmark_model lists no operators", next_step="is it built with op profiling?")
    total_ms = sum(kernel.time_ms for kernel in known)
    whole_ms = run.inference_ms if run.inference_ms is not None else total_ms
    return OperatorsReport(
        method="benchmark_model", threads=threads, rows=assign(graph, known), whole_ms=whole_ms,
        sum_share=total_ms / whole_ms if whole_ms > 0 else 0.0,
    )  # fmt: skip


def _first_table(text: str) -> list[tuple[str, str, float]]:
    """(kind, name, milliseconds) of the rows below the first heading: the order of execution comes first."""
    rows: list[tuple[str, str, float]] = []
    columns: list[str] = []
    for line in text.splitlines():
        if "[node type]" in line and "[Name]" in line:
            if columns:
                break
            columns = re.findall(r"\[([^\]]+)\]", line)[1:-1]
        elif columns:
            match = _ROW.match(line)
            if match is None:
                break
            numbers = dict(zip(columns, match["numbers"].split()))
            if "avg ms" not in numbers:
                continue
            calls = max(float(numbers.get("times called", "1")), 1.0)  # by inference; old tools print 0
            rows.append((match["kind"], match["name"], float(numbers["avg ms"]) * calls))
    return rows


def _operators(
    table: list[tuple[str, str, float]], *, is_inside: bool = False
) -> tuple[list[tuple[str, int | None, float]], list[tuple[int, str]]]:
    """The rows that are operators, and where a delegate's node stood among them: (position, its name)."""
    operators: list[tuple[str, int | None, float]] = []
    delegates: list[tuple[int, str]] = []
    nodes = 0
    for kind, name, time_ms in table:
        node = _NODE.match(name)
        if is_inside or name.startswith("Delegate/") or kind.startswith("Delegate/"):
            operators.append((kind.removeprefix("Delegate/"), None, time_ms))
        elif "delegate" in kind.lower() and "::" not in kind and not kind.startswith("ModifyGraph"):
            delegates.append((len(operators), kind))
        elif node:
            operators.append((kind, int(node["index"]) if node["index"] else nodes, time_ms))
            nodes += 1
    return operators, delegates
