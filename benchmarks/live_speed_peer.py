"""The peer's side of live_speed.py: portrait blur with MediaPipe as people write it, in MediaPipe's own environment.

Knows nothing of edge-deeplab. Three scripts over mp.solutions.selfie_segmentation, the general model:

    usual         the example of MediaPipe's own documentation (solutions/selfie_segmentation): GaussianBlur(55, 55),
                  np.stack of "mask > 0.1", np.where
    usual_alpha   the same with the soft blend that people replace np.where by: mask * frame + (1 - mask) * blurred
    careful       blurred at a quarter of the size, cv2.blendLinear

Frames in memory: reads a line per frame from stdin ("frame INDEX SCRIPT", or "save PATH"), answers with a line of JSON.

    /path/to/peer/bin/python benchmarks/live_speed_peer.py frames FRAMES.npy [--threads 1]

A file to a file: cv2.VideoCapture, the script, cv2.VideoWriter (mp4v) in one loop; prints one line of JSON.

    /path/to/peer/bin/python benchmarks/live_speed_peer.py file SCRIPT SOURCE.mp4 TARGET.mp4
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import mediapipe
import numpy as np

KERNEL_WH = (55, 55)
QUARTER_KERNEL_WH = (15, 15)  # the same blur at a quarter of the size
GENERAL_MODEL = 0  # 256 x 256, the one the project is measured against

Stages = dict[str, float]


class Script:
    """What turns a frame and its mask into a picture, in the two steps that are timed."""

    def __init__(
        self,
        blur: Callable[[np.ndarray], np.ndarray],
        blend: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    ) -> None:
        self.blur, self.blend = blur, blend

    def run(self, segmenter: Any, frame: np.ndarray) -> tuple[np.ndarray, Stages]:
        """The picture, and the milliseconds of each step."""
        stamps = [time.perf_counter_ns()]
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        rgb.flags.writeable = False  # as the documentation's example does, to pass by reference
        mask = segmenter.process(rgb).segmentation_mask
        stamps.append(time.perf_counter_ns())
        blurred = self.blur(frame)
        stamps.append(time.perf_counter_ns())
        picture = self.blend(frame, blurred, mask)
        stamps.append(time.perf_counter_ns())
        took_ms = [(after - before) / 1e6 for before, after in itertools.pairwise(stamps)]
        return picture, dict(zip(("mediapipe", "blur", "blend"), took_ms))


def gaussian(frame: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(frame, KERNEL_WH, 0)


def quarter_gaussian(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (width // 4, height // 4))
    return cv2.resize(cv2.GaussianBlur(small, QUARTER_KERNEL_WH, 0), (width, height))


def choose(frame: np.ndarray, blurred: np.ndarray, mask: np.ndarray) -> np.ndarray:
    condition = np.stack((mask,) * 3, axis=-1) > 0.1
    return np.where(condition, frame, blurred)


def mix(frame: np.ndarray, blurred: np.ndarray, mask: np.ndarray) -> np.ndarray:
    alpha = np.stack((mask,) * 3, axis=-1)
    return (alpha * frame + (1 - alpha) * blurred).astype(np.uint8)


def blend_linear(frame: np.ndarray, blurred: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return cv2.blendLinear(frame, blurred, mask, 1.0 - mask)


SCRIPTS = {
    "usual": Script(gaussian, choose),
    "usual_alpha": Script(gaussian, mix),
    "careful": Script(quarter_gaussian, blend_linear),
}


def answer(values: Mapping[str, object]) -> None:
    print(json.dumps(values), flush=True)


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("mediapipe", "numpy")} | {"cv2": cv2.__version__}


def open_segmenter() -> Any:
    return mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=GENERAL_MODEL)


def serve_frames(path: Path) -> None:
    frames = np.load(path)
    composed = frame = frames[0].copy()
    with open_segmenter() as segmenter:
        answer(versions())
        for line in sys.stdin:
            command, _, argument = line.strip().partition(" ")
            if command == "save":
                answer({"saved": cv2.imwrite(argument, composed)})
                continue
            index, script = argument.split()
            np.copyto(frame, frames[int(index) % len(frames)])  # just written, as after a camera
            composed, stages = SCRIPTS[script].run(segmenter, frame)
            answer({"stages": stages})


def convert_file(script: Script, source: Path, target: Path) -> None:
    capture = cv2.VideoCapture(str(source))
    size_wh = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size_wh)
    written = []
    with open_segmenter() as segmenter:
        while True:
            is_read, frame = capture.read()
            if not is_read:
                break
            writer.write(script.run(segmenter, frame)[0])
            written.append(time.perf_counter_ns())
    writer.release()
    answer({"frames": len(written), "steady_s": (written[-1] - written[0]) / 1e9})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    frames = kinds.add_parser("frames")
    frames.add_argument("frames", type=Path, help=".npy of frames, (N, H, W, 3) uint8 BGR")
    frames.add_argument("--threads", type=int, help="of OpenCV [its own default]")
    file = kinds.add_parser("file")
    file.add_argument("script", choices=SCRIPTS)
    file.add_argument("source", type=Path)
    file.add_argument("target", type=Path)
    options = parser.parse_args()
    if options.kind == "file":
        convert_file(SCRIPTS[options.script], options.source, options.target)
        return
    if options.threads:
        cv2.setNumThreads(options.threads)
    serve_frames(options.frames)


if __name__ == "__main__":
    main()
