"""Whether the profiler agrees with itself, with LiteRT's own benchmark, and its estimate with what is exact.

twice      the same model profiled twice, in turns: the ratio of its medians
LiteRT's   the profile of a process of its own beside ai_edge_litert.tools.benchmark_litert_model, which comes with
           the wheel and needs ml_dtypes; in turns
estimate   times of operators run alone beside those of LiteRT's profiler: their difference, summed over operators, as a
           share of the whole

    python benchmarks/profile_agreement.py [--model portrait] [--runs 11] [--json FILE] [--gate]

With --gate the exit code is 3 when one of the first two ratios is surely more than 5 % from 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from edge_deeplab.errors import EdgeDeepLabError, GateError
from edge_deeplab.profiling.engine import describe_model, profile_engine
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions, PairStats, sample_pair
from edge_deeplab.profiling.operators import profile_operators
from edge_deeplab.profiling.report import doubts, host_line, render_pairs, write_json
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.interpreter import engine_name

LIMIT = 0.05
TOOL = "ai_edge_litert.tools.benchmark_litert_model"
WARMUP, RUNS = 10, 100
OURS = """
import sys
from pathlib import Path
from edge_deeplab.profiling.engine import profile_engine
from edge_deeplab.profiling.latency import MeasureOptions
path, warmup, runs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print(profile_engine(path, options=MeasureOptions(warmup=warmup, runs=runs)).latency.median_ms)
"""


def our_median_ms(path: Path) -> float:
    """The median of one inference, profiled in a process of its own as the tool's is."""
    command = [sys.executable, "-c", OURS, str(path), str(WARMUP), str(RUNS)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def tool_median_ms(path: Path) -> float:
    """The median that LiteRT's tool writes."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        options = [f"--model={path}", f"--warmup_runs={WARMUP}", f"--num_runs={RUNS}", f"--result_json={result}"]
        subprocess.run([sys.executable, "-m", TOOL, *options], capture_output=True, text=True, check=True)
        return float(json.loads(result.read_text())["latency"]["median_ms"])


def estimate_error(path: Path) -> float:
    """Summed difference of the operators' times both ways, over the profiler's sum."""
    exact, alone = (
        [row.time_ms for row in profile_operators(path, method=method).rows if row.index is not None]
        for method in ("profiler", "alone")
    )
    return sum(abs(one - other) for one, other in zip(exact, alone, strict=True)) / sum(exact)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="portrait", help="a bundled name or a path [portrait]")
    parser.add_argument("--runs", type=int, default=11, help="turns [11]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    parser.add_argument("--gate", action="store_true", help="exit with 3 when a ratio is more than 5 % from 1")
    arguments = parser.parse_args()

    path, host = bundled_model(arguments.model), describe_host()
    turns = MeasureOptions(warmup=1, runs=arguments.runs, max_duration_s=600.0)
    once = MeasureOptions(warmup=WARMUP, runs=RUNS)

    def profiled() -> float:
        return profile_engine(path, options=once).latency.median_ms

    pairs = {"twice": sample_pair(profiled, profiled, options=turns)}
    has_tool = importlib.util.find_spec("ml_dtypes") is not None and _has(TOOL)
    if has_tool:
        pairs["LiteRT's"] = sample_pair(lambda: our_median_ms(path), lambda: tool_median_ms(path), options=turns)
    error = estimate_error(path)
    notes = doubts(host, {name: pair.first for name, pair in pairs.items()})

    console = Console()
    console.print(render_pairs(pairs, first="the profile", second="the other"))
    if not has_tool:
        console.print(f"without LiteRT's: {TOOL} or ml_dtypes is not installed")
    console.print(f"estimate of operators alone: off by {error:.1%} of the whole, summed over operators")
    console.print(f"{host_line(host)}; {' '.join(engine_name())}, 1 thread", *notes, sep="\n")
    if arguments.json:
        document = {
            "benchmark": "profile_agreement",
            "host": host.to_dict(),
            "engine": engine_name(),
            "model": describe_model(path).to_dict(),
            "limit": LIMIT,
            "pairs": {name: pair.to_dict() for name, pair in pairs.items()},
            "estimate_error": error,
            "notes": notes,
        }
        write_json(arguments.json, document, overwrite=True)
    missed = [name for name, pair in pairs.items() if _is_off(pair)]
    if arguments.gate and missed:
        raise GateError("profiles do not agree", came=", ".join(missed), allowed=f"within {LIMIT:.0%}")


def _is_off(pair: PairStats) -> bool:
    return pair.ratio_low > 1 + LIMIT or pair.ratio_high < 1 / (1 + LIMIT)


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"profile_agreement: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
