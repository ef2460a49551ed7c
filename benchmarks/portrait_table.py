"""The portrait models beside MediaPipe's selfie segmentation: how good in int8, how fast in the faster file.

Accuracy is each int8 file's, on the same labelled pictures brought to its size the same way. Latency is one inference
on one thread beside the peer's, in turns, of the faster of a model's int8 and float16 files. In brackets what it is
meant to reach, with a ! where it does not.

    python benchmarks/portrait_table.py PEER --data PORTRAITS [--model portrait] [--json FILE] [--gate]

PEER is MediaPipe's selfie_segmentation.tflite, or the Python of an environment that holds mediapipe==0.10.21.
PORTRAITS holds val and val_wild. With --gate the exit code is 3 when a figure misses what it is meant to reach.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_model_speed import peer_model
from peer_quality import PEER, labelled
from rich.console import Console
from rich.table import Table

from edge_deeplab.data.pairs import PairsFolder
from edge_deeplab.errors import EdgeDeepLabError, GateError
from edge_deeplab.evaluation.runner import evaluate_pairs
from edge_deeplab.imaging.resize import resize_image
from edge_deeplab.profiling.engine import compare_engines, describe_model
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.report import host_line, write_json
from edge_deeplab.runtime.bundled import bundled_model, bundled_names
from edge_deeplab.runtime.interpreter import engine_name
from edge_deeplab.runtime.precision import float16_twin
from edge_deeplab.runtime.segmenter import Segmenter

SETS = ("val", "val_wild")
FIGURES = ("person IoU", "trimap IoU", "boundary F")


@dataclass(frozen=True)
class Aim:
    """What a model is meant to reach: FIGURES of each of SETS, and the most of the peer's latency.

    with_dot_products, without: on processors that have int8 dot products, and on others.
    """

    val: tuple[float, float, float]
    val_wild: tuple[float, float, float]
    with_dot_products: float
    without: float


AIMS = {
    "portrait-small": Aim((0.950, 0.815, 0.825), (0.70, 0.63, 0.55), 0.35, 0.5),
    "portrait": Aim((0.962, 0.845, 0.865), (0.78, 0.68, 0.62), 0.75, 1.0),
    "portrait-large": Aim((0.967, 0.860, 0.880), (0.82, 0.72, 0.67), 2.0, 3.0),
}


def accuracy(path: Path, folder: PairsFolder, *, is_peer: bool = False) -> tuple[float, float, float]:
    """FIGURES of one file on one folder."""
    with Segmenter(path, threads=1, manifest=PEER if is_peer else None) as segmenter:
        report = evaluate_pairs(labelled(folder), lambda image: segmenter.matte(resize_image(image, segmenter.size_hw)))
    return report.person_iou, report.trimap_iou, report.boundary_f


def latencies(path: Path, peer: Path, *, runs: int) -> dict[str, float]:
    """Of the peer's latency, by precision: the file's, and its float16 twin's where there is one."""
    twin = float16_twin(path)
    files = {"int8": path, **({"float16": twin} if twin.is_file() else {})}
    options = MeasureOptions(warmup=20, runs=runs, max_duration_s=60.0)
    return {name: compare_engines(file, peer, options=options).ratio for name, file in files.items()}


def cell(measured: float, aim: float | None, *, is_cost: bool = False) -> tuple[str, bool]:
    """A figure with what it is meant to reach, and whether it misses that."""
    digits = 2 if is_cost else 3
    if aim is None:
        return f"{measured:.{digits}f}", False
    is_missed = measured > aim if is_cost else measured < aim
    return f"{measured:.{digits}f}{'!' if is_missed else ''} ({aim:g})", is_missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, help="the peer's .tflite, or the Python of its environment")
    parser.add_argument("--data", type=Path, required=True, help="a folder that holds val and val_wild")
    parser.add_argument("--model", action="append", help="ours: a bundled name or a path; may be repeated [all three]")
    parser.add_argument("--runs", type=int, default=300, help="inferences timed of each side [300]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    parser.add_argument("--gate", action="store_true", help="exit with 3 when a figure misses what it should reach")
    arguments = parser.parse_args()

    peer, host = peer_model(arguments.peer), describe_host()
    names = arguments.model or [name for name in AIMS if name in bundled_names()]
    paths = {str(name): bundled_model(name) for name in names}
    folders = {name: PairsFolder(arguments.data / name) for name in SETS}
    speeds = {name: latencies(path, peer, runs=arguments.runs) for name, path in paths.items()}
    scores = {name: {data: accuracy(path, folder) for data, folder in folders.items()} for name, path in paths.items()}
    peer_scores = {data: accuracy(peer, folder, is_peer=True) for data, folder in folders.items()}

    table = Table("figure", *paths, "MediaPipe's", title="portrait models", title_justify="left", box=None)
    missed: list[str] = []
    for data in SETS:
        for index, figure in enumerate(FIGURES):
            cells = []
            for name in paths:
                aim = getattr(AIMS[name], data)[index] if name in AIMS else None
                text, is_missed = cell(scores[name][data][index], aim)
                cells.append(text)
                missed += [f"{name} {data} {figure} {text}"] if is_missed else []
            table.add_row(f"{data}: {figure}", *cells, f"{peer_scores[data][index]:.3f}")
    cells = []
    for name, ratios in speeds.items():
        faster = min(ratios, key=ratios.__getitem__)
        aims = AIMS.get(name)
        most = None if aims is None else aims.with_dot_products if host.has_int8_dot_product else aims.without
        text, is_missed = cell(ratios[faster], most, is_cost=True)
        cells.append(f"{text} {faster}")
        missed += [f"{name} latency {text}"] if is_missed else []
    table.add_row("latency, of the peer's", *cells, "1")
    table.add_row("bytes", *(f"{path.stat().st_size:,}" for path in paths.values()), f"{peer.stat().st_size:,}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(f"{host_line(host)}; {' '.join(engine_name())}, 1 thread")
    if arguments.json:
        document: dict[str, Any] = {
            "benchmark": "portrait_table", "host": host.to_dict(), "engine": engine_name(),
            "models": {name: describe_model(path).to_dict() for name, path in {**paths, "peer": peer}.items()},
            "figures": FIGURES, "scores": {**scores, "peer": peer_scores}, "latency_of_peer": speeds,
        }  # fmt: skip
        write_json(arguments.json, document, overwrite=True)
    if arguments.gate and missed:
        raise GateError("meant to be reached: " + "; ".join(missed))


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"portrait_table: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
