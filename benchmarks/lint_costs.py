"""What each fault costs that the linter knows: a small network with it against the same one without, in turns.

Prints the ratio of neighbouring calls with the interval of its median (1.00 costs nothing) and how both were divided;
--write puts the figures where `edge-deeplab inspect` reads them.

    python benchmarks/lint_costs.py [RULE ...] [--runs 300] [--threads 1] [--write]

The networks stand in tests/lint_pairs.py, where the rules' tests have them, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_deeplab.errors import EdgeDeepLabError, ModelError
from edge_deeplab.profiling.engine import compare_engines
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions, PairStats
from edge_deeplab.profiling.report import doubts, host_line
from edge_deeplab.runtime.delegates import delegation_of
from edge_deeplab.runtime.interpreter import engine_name

REPOSITORY = Path(__file__).resolve().parent.parent
COSTS = REPOSITORY / "converters" / "linting" / "lint_costs.json"
PIPE_WIDTH = 120  # columns of the table where no terminal says how many it has
sys.path.insert(0, str(REPOSITORY / "tests"))  # the pairs and the writer of small models are the tests'

from lint_pairs import CASES, PAIRS  # noqa: E402


def measure(name: str, folder: Path, *, threads: int, runs: int) -> tuple[PairStats, str]:
    """Times the pair of that name. Returns: the statistics, fault first, and how both were divided."""
    paths = folder / "fault.tflite", folder / "clean.tflite"
    for path, graph in zip(paths, PAIRS[name]()):
        path.write_bytes(graph.to_bytes())
    options = MeasureOptions(warmup=20, runs=runs, max_duration_s=30.0)
    stats = compare_engines(*paths, threads=threads, options=options)
    divided = [f"{found.partitions}+{len(found.outside)}" for found in map(delegation_of, paths)]
    return stats, " / ".join(divided)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rules", nargs="*", metavar="RULE", help="only these cases; all when none is named")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--write", action="store_true", help=f"write {COSTS.name}, which the linter quotes")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.rules) - set(PAIRS))
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(PAIRS)}")
    if arguments.write and (arguments.rules or arguments.threads != 1):
        parser.error("--write takes every case, on one thread")

    console, host = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH), describe_host()
    table = Table("case", "fault", "clean", "ratio", "95 %", "partitions + outside")
    costs, latencies = {}, {}
    with tempfile.TemporaryDirectory(prefix="edge-deeplab-lint-") as folder:
        for name in arguments.rules or PAIRS:
            try:
                stats, divided = measure(name, Path(folder), threads=arguments.threads, runs=arguments.runs)
            except ModelError:  # a fault that does not load costs no time
                table.add_row(name, "does not load", "", "", "", "")
                continue
            latencies |= {f"{name} with": stats.first, f"{name} without": stats.second}
            ratio = (stats.ratio_low * stats.ratio_high) ** 0.5  # of neighbouring calls: drift cancels
            costs[name] = {
                "ratio": round(ratio, 3), "low": round(stats.ratio_low, 3), "high": round(stats.ratio_high, 3),
                "fault_ms": round(stats.first.median_ms, 4), "clean_ms": round(stats.second.median_ms, 4),
                "case": CASES[name][1],
            }  # fmt: skip
            table.add_row(
                name, f"{stats.first.median_ms:.3f} ms", f"{stats.second.median_ms:.3f} ms", f"{ratio:.2f}",
                f"{stats.ratio_low:.2f}..{stats.ratio_high:.2f}", divided,
            )  # fmt: skip
    console.print(table)
    console.print(f"{host_line(host)}; {' '.join(engine_name())}, {arguments.threads} thread(s)", soft_wrap=True)
    for doubt in doubts(host, latencies):
        console.print(doubt, soft_wrap=True)
    if arguments.write:
        short = f"{host.cpu_name}, {' '.join(engine_name())}"
        document = {"format": 1, "host": short, "threads": arguments.threads, "runs": arguments.runs, "costs": costs}
        COSTS.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        console.print(f"wrote {COSTS.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        sys.exit(f"lint_costs: error: {error}")
