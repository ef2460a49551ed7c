"""How fast our model is beside MediaPipe's selfie segmentation, both on ai-edge-litert, in turns.

Prints medians and their ratio (below 1 ours is faster) and, with --json, writes them with host, hashes and input sizes.

    python benchmarks/peer_model_speed.py PEER [--model portrait] [--threads 1] [--json FILE]

PEER is MediaPipe's selfie_segmentation.tflite, or the Python of an environment that holds mediapipe==0.10.21.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from edge_deeplab.errors import EdgeDeepLabError, InputError
from edge_deeplab.profiling.engine import compare_engines, describe_model
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.report import doubts, host_line, render_pairs, write_json
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.interpreter import engine_name

MODEL_IN_WHEEL = "modules/selfie_segmentation/selfie_segmentation.tflite"
FIND_WHEEL = "import importlib.util as u; print(u.find_spec('mediapipe').submodule_search_locations[0])"


def peer_model(peer: Path) -> Path:
    """The peer's .tflite: `peer` itself, or the one inside the wheel that the Python `peer` has installed."""
    if peer.suffix == ".tflite":
        return peer
    try:
        found = subprocess.run([peer, "-c", FIND_WHEEL], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(
            f"{peer}: finds no MediaPipe", came=type(error).__name__,
            allowed="a .tflite, or a Python with mediapipe==0.10.21",
        ) from error  # fmt: skip
    return Path(found.stdout.strip()) / MODEL_IN_WHEEL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, help="the peer's .tflite, or the Python of its environment")
    parser.add_argument("--model", action="append", help="ours: a bundled name or a path; may be repeated [portrait]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    arguments = parser.parse_args()

    peer = peer_model(arguments.peer)
    options = MeasureOptions(warmup=20, runs=arguments.runs, max_duration_s=60.0)
    host, pairs, facts = describe_host(), {}, {"peer": describe_model(peer)}
    for name in arguments.model or ["portrait"]:
        path = bundled_model(name)
        label = path.name
        facts[label] = describe_model(path)
        pairs[label] = compare_engines(path, peer, threads=arguments.threads, options=options)
    notes = doubts(host, {name: pair.first for name, pair in pairs.items()})

    console = Console()
    console.print(render_pairs(pairs, first="ours", second="MediaPipe's"))
    console.print(f"{host_line(host)}; {' '.join(engine_name())}, {arguments.threads} thread(s)", *notes, sep="\n")
    if arguments.json:
        document = {
            "benchmark": "peer_model_speed",
            "host": host.to_dict(),
            "engine": engine_name(),
            "threads": arguments.threads,
            "models": {name: fact.to_dict() for name, fact in facts.items()},
            "pairs": {name: pair.to_dict() for name, pair in pairs.items()},
            "notes": notes,
        }
        write_json(arguments.json, document, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        sys.exit(f"peer_model_speed: error: {error}")
