"""What measuring adds to what is measured: the profiler's loop beside a bare loop, in turns.

The bare loop calls the model N times and looks at the clock before the first and after the last call. The profiler's
times each call by itself. The ratio is that of their whole durations, so everything between calls counts.

    python benchmarks/profile_overhead.py [--model portrait] [--runs 51] [--json FILE] [--gate]

With --gate the exit code is 3 when the ratio is above its limit, 1.01.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from edge_deeplab.errors import EdgeDeepLabError, GateError
from edge_deeplab.profiling.engine import describe_model, random_inputs
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions, collect, sample_pair, timed
from edge_deeplab.profiling.report import doubts, host_line, render_pairs, write_json
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.interpreter import Engine, engine_name

LIMIT = 1.01
CALLS = 20  # of one turn; short, so that the machine's mood changes little from one turn to the next


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="portrait", help="a bundled name or a path [portrait]")
    parser.add_argument("--runs", type=int, default=51, help=f"turns of {CALLS} inferences each way [51]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    parser.add_argument("--gate", action="store_true", help="exit with 3 when the ratio is above its limit")
    arguments = parser.parse_args()

    path, host = bundled_model(arguments.model), describe_host()
    calls = MeasureOptions(warmup=0, runs=CALLS)
    with Engine(path) as engine:
        inputs = random_inputs(engine.inputs)

        def call() -> object:
            return engine.run(*inputs)

        def bare() -> float:
            start = time.perf_counter_ns()
            for _ in range(CALLS):
                call()
            return (time.perf_counter_ns() - start) / 1e6 / CALLS

        def measured() -> float:
            start = time.perf_counter_ns()
            collect({"run": timed(call)}, options=calls)
            return (time.perf_counter_ns() - start) / 1e6 / CALLS

        pair = sample_pair(measured, bare, options=MeasureOptions(warmup=2, runs=arguments.runs, max_duration_s=120.0))
    notes = doubts(host, {"the bare loop": pair.second})

    console = Console()
    console.print(render_pairs({path.name: pair}, first="the profiler's", second="bare", unit="ms a call"))
    console.print(f"{host_line(host)}; {' '.join(engine_name())}, 1 thread", *notes, sep="\n")
    if arguments.json:
        document = {
            "benchmark": "profile_overhead",
            "host": host.to_dict(),
            "engine": engine_name(),
            "model": describe_model(path).to_dict(),
            "limit": LIMIT,
            "pair": pair.to_dict(),
            "notes": notes,
        }
        write_json(arguments.json, document, overwrite=True)
    if arguments.gate and pair.ratio_low > LIMIT:
        raise GateError("measuring adds too much", came=f"{pair.ratio_low:.3f} times at least", allowed=LIMIT)


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"profile_overhead: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
