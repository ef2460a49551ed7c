"""What importing the device side and `edge-deeplab --help` cost, as ratios to what cannot be saved.

The device side is what `edge-deeplab blur` imports (cli.frame_program.DEVICE_SIDE) against `import numpy, cv2`, timed
inside fresh processes so that the start of Python is in neither; and the whole process of `edge-deeplab --help` against
that of `python -c 'import click'`; in turns, medians.

    python benchmarks/import_cost.py [--runs 31] [--json FILE] [--gate]

With --gate the exit code is 3 when a ratio is above its limit.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edge_deeplab.cli.frame_program import DEVICE_SIDE
from edge_deeplab.errors import EdgeDeepLabError, GateError
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions, PairStats, Sampler, measure_pair, sample_pair
from edge_deeplab.profiling.report import host_line, render_pairs, write_json

LIMITS = {"device side / numpy, cv2": 1.3, "--help / import click": 2.0}

TIMED_IMPORT = "import time; start = time.perf_counter_ns(); import {modules}; print(time.perf_counter_ns() - start)"
HELP = "import sys; from edge_deeplab.cli.main import main; sys.exit(main(['--help']))"  # what the script does


class FreshProcess:
    """Runs Python code in new processes that find byte code compiled, as in any installed package.

    Args:
        cache: an empty folder for the byte code; a tree whose files were just edited, or an environment that
            forbids writing byte code, would else have ours compiled in every process and theirs not.
    """

    def __init__(self, cache: Path) -> None:
        self._environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        self._environment["PYTHONPYCACHEPREFIX"] = str(cache)

    def run(self, code: str) -> str:
        """What `code` printed."""
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=self._environment).stdout

    def importing(self, modules: Sequence[str]) -> Sampler:
        """A sampler of the milliseconds that importing `modules` takes."""
        code = TIMED_IMPORT.format(modules=", ".join(modules))
        return lambda: int(self.run(code)) / 1e6


def measure(options: MeasureOptions) -> dict[str, PairStats]:
    """Both pairs, named as in LIMITS."""
    device, help_text = LIMITS
    with tempfile.TemporaryDirectory() as cache:
        fresh = FreshProcess(Path(cache))
        ours, least = fresh.importing(DEVICE_SIDE), fresh.importing(("numpy", "cv2"))
        return {
            device: sample_pair(ours, least, options=options),
            help_text: measure_pair(lambda: fresh.run(HELP), lambda: fresh.run("import click"), options=options),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=31)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    parser.add_argument("--gate", action="store_true", help="exit with 3 when a ratio is above its limit")
    arguments = parser.parse_args()

    host = describe_host()
    pairs = measure(MeasureOptions(warmup=2, runs=arguments.runs, max_duration_s=120.0))
    console = Console()
    console.print(render_pairs(pairs, first="ours", second="the least"))
    console.print(host_line(host))
    if arguments.json:
        document = {
            "benchmark": "import_cost",
            "host": host.to_dict(),
            "limits": LIMITS,
            "pairs": {name: pair.to_dict() for name, pair in pairs.items()},
        }
        write_json(arguments.json, document, overwrite=True)
    missed = [name for name, pair in pairs.items() if pair.ratio > LIMITS[name]]
    if arguments.gate and missed:
        raise GateError(
            "an import costs too much", came=", ".join(f"{name} {pairs[name].ratio:.2f}" for name in missed),
            allowed=", ".join(f"at most {LIMITS[name]}" for name in missed),
            next_step="python -X importtime shows where",
        )  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"import_cost: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
