"""How good our masks are beside MediaPipe's selfie segmentation, both on ai-edge-litert, on the same labelled pictures.

Prints one table per folder (IoU of the person, mean IoU, trimap IoU, boundary F; see `edge-deeplab evaluate --help`)
and, with --json, writes the figures with those of every picture.

    python benchmarks/peer_quality.py PEER --data PAIRS [--model portrait] [--shrink ours|area|pillow] [--json FILE]

PEER is MediaPipe's selfie_segmentation.tflite, or the Python of an environment that holds mediapipe==0.10.21.

How a picture is shrunk to 256 x 256 moves the figures, the peer's more than a thousandth where pictures are hard, so
one way is used for all models: `ours` is what our programs do on the device; `pillow` (its bicubic default) is what
the yardstick of 0.9475, 0.9433, 0.8092, 0.8225 on our 250 validation portraits was measured with, and gives
0.9474, 0.9433, 0.8091, 0.8219; `ours` gives 0.9471, 0.9430, 0.8083, 0.8225 there.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from peer_model_speed import peer_model
from rich.console import Console

from edge_deeplab.data.pairs import PairsFolder
from edge_deeplab.errors import EdgeDeepLabError, OutputError
from edge_deeplab.evaluation.report import Row, person_table
from edge_deeplab.evaluation.runner import EvaluationReport, evaluate_pairs
from edge_deeplab.imaging.resize import resize_image
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest
from edge_deeplab.profiling.engine import describe_model
from edge_deeplab.profiling.report import write_json
from edge_deeplab.runtime.bundled import bundled_model, bundled_names
from edge_deeplab.runtime.interpreter import engine_name
from edge_deeplab.runtime.segmenter import Segmenter

PEER = Manifest(name="selfie_segmentation", labels=PORTRAIT, person_class=1, size_hw=(256, 256), activation="none")
"""What MediaPipe's graph does with the model: RGB 0..1, stretched (selfie_segmentation_cpu.pbtxt); a sigmoid inside."""


def with_pillow(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Pillow's default: a bicubic filter as wide as the shrink, so that nothing aliases."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize(size_hw[::-1]))


def with_area(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The mean of the pixels under each new one."""
    return cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA)


SHRINKS: dict[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = {
    "ours": resize_image,
    "area": with_area,
    "pillow": with_pillow,
}


def labelled(folder: PairsFolder) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Pictures and the masks of the person."""
    for pair in folder.pairs:
        image, labels = pair.read()
        yield pair.name, image, labels == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, help="the peer's .tflite, or the Python of its environment")
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder with images/ and masks/")
    parser.add_argument(
        "--model", action="append", help="ours: a bundled name or a path; may be repeated [all bundled]"
    )
    parser.add_argument("--shrink", choices=SHRINKS, default="ours", help="how pictures come to the model's size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    arguments = parser.parse_args()
    if arguments.json and not arguments.json.parent.is_dir():
        raise OutputError(f"{arguments.json}: cannot be written", came=f"no folder {arguments.json.parent}")

    folders = [PairsFolder(path) for path in arguments.data]
    paths = {"MediaPipe's": peer_model(arguments.peer)}
    paths |= {str(model): bundled_model(model) for model in arguments.model or bundled_names()}
    shrink = SHRINKS[arguments.shrink]
    figures: dict[str, dict[str, dict[str, object]]] = {}
    console = Console()
    with contextlib.ExitStack() as stack:
        segmenters = {
            name: stack.enter_context(
                Segmenter(path, threads=arguments.threads, manifest=PEER if name == "MediaPipe's" else None)
            )
            for name, path in paths.items()
        }
        for folder in folders:
            rows: list[Row[EvaluationReport]] = []
            for name, segmenter in segmenters.items():
                report = evaluate_pairs(
                    labelled(folder), lambda image, one=segmenter: one.matte(shrink(image, one.size_hw))
                )
                rows.append(Row(name=name, kind="tflite", size_hw=segmenter.size_hw, report=report))
            data = folder.root.resolve().name
            figures[data] = {row.name: row.report.to_dict() for row in rows}
            console.print(person_table(rows, title=f"{data}: {len(folder)} pictures"), "")
    console.print(f"{' '.join(engine_name())}, {arguments.threads} thread(s), shrunk the way of {arguments.shrink}")
    if arguments.json:
        document = {
            "benchmark": "peer_quality",
            "engine": engine_name(),
            "threads": arguments.threads,
            "shrink": arguments.shrink,
            "models": {name: describe_model(path).to_dict() for name, path in paths.items()},
            "figures": figures,
        }
        write_json(arguments.json, document, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        raise SystemExit(f"peer_quality: error: {error}") from error
