"""The peer's side of peer_frame_speed.py: portrait blur with MediaPipe's own call, in MediaPipe's own environment.

Knows nothing of edge-deeplab. Reads a line per frame from stdin (an index into FRAMES, or "save PATH"), answers each
with a line of JSON on stdout.

    /path/to/peer/bin/python benchmarks/peer_frame_worker.py FRAMES.npy --threads 1
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import mediapipe
import numpy as np

KERNEL_WH = (55, 55)
GENERAL_MODEL = 0  # 256 x 256, the one the project is measured against


def answer(values: Mapping[str, object]) -> None:
    print(json.dumps(values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path, help=".npy of frames, (N, H, W, 3) uint8 BGR")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    frames = np.load(options.frames)
    composed = frames[0]
    with mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=GENERAL_MODEL) as segmenter:
        answer({name: importlib.metadata.version(name) for name in ("mediapipe", "numpy")} | {"cv2": cv2.__version__})
        for line in sys.stdin:
            command, _, argument = line.strip().partition(" ")
            if command == "save":
                answer({"saved": cv2.imwrite(argument, composed)})
                continue
            frame = frames[int(argument) % len(frames)]
            stamps = [time.perf_counter_ns()]
            matte = segmenter.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).segmentation_mask
            stamps.append(time.perf_counter_ns())
            blurred = cv2.GaussianBlur(frame, KERNEL_WH, 0)
            stamps.append(time.perf_counter_ns())
            # The fastest blend OpenCV has: the peer is not to lose by a slow line of ours.
            composed = cv2.blendLinear(frame, blurred, matte, 1.0 - matte)
            stamps.append(time.perf_counter_ns())
            took_ms = [(after - before) / 1e6 for before, after in itertools.pairwise(stamps)]
            answer({"ms": sum(took_ms), "stages": dict(zip(("mediapipe", "blur", "blend"), took_ms))})


if __name__ == "__main__":
    main()
