"""What importing the device side and `edge-deeplab --help` cost, as ratios to what cannot be saved.

The device side is every module of imaging, runtime, video and compositing against `import numpy, cv2` (timed inside
a fresh process, so that the start of Python is in neither), and the whole process of `edge-deeplab --help` against
that of `python -c 'import click'`; in turns, medians.

    python benchmarks/import_cost.py [--runs 31] [--json FILE] [--gate]

With --gate the exit code is 3 when a ratio is above its limit.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from edge_deeplab.errors import EdgeDeepLabError, GateError
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions, PairStats, Sampler, measure_pair, sample_pair
from edge_deeplab.profiling.report import host_line, render_pairs, write_json

DEVICE_PACKAGES = ("imaging", "runtime", "video", "compositing")
LIMITS = {"device side / numpy, cv2": 1.3, "--help / import click": 2.0}

TIMED_IMPORT = "import time; start = time.perf_counter_ns(); import {modules}; print(time.perf_counter_ns() - start)"
HELP = "import sys; from edge_deeplab.cli.main import main; sys.exit(main(['--help']))"  # what the script does


def device_modules() -> list[str]:
    """Every module of the rooms that a live program runs on."""
    names = []
    for room in DEVICE_PACKAGES:
        package = importlib.import_module(f"edge_deeplab.{room}")
        names += [package.__name__]
        names += [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return names


def importing(modules: list[str]) -> Sampler:
    """A sampler of the milliseconds that importing `modules` takes in a fresh process."""
    command = [sys.executable, "-c", TIMED_IMPORT.format(modules=", ".join(modules))]

    def sample() -> float:
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e6

    return sample


def running(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def measure(options: MeasureOptions) -> dict[str, PairStats]:
    """Both pairs, named as in LIMITS."""
    device, help_text = LIMITS
    return {
        device: sample_pair(importing(device_modules()), importing(["numpy", "cv2"]), options=options),
        help_text: measure_pair(lambda: running(HELP), lambda: running("import click"), options=options),
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
            allowed=", ".join(f"at most {LIMITS[name]}" for name in missed), next_step="python -X importtime shows where",
        )  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"import_cost: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
