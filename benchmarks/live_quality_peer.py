"""The peer's side of live_quality.py: MediaPipe's mattes of clips, and the pictures people make of them.

Knows nothing of edge-deeplab; the scripts are those of live_speed_peer.py, step by step. Reads a path per line from
stdin, an .npz with frames (N, H, W, 3) uint8 BGR, stills (S,) of their indices and, where there is a truth, clean
(S, H, W, 3). Writes NAME.peer.npz beside it with masks (N, H, W) float32 and, of each script, SCRIPT/picture and, where
clean came, SCRIPT/blurred, both (S, H, W, 3); answers each line with one of JSON.

    /path/to/peer/bin/python benchmarks/live_quality_peer.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from live_speed_peer import SCRIPTS, answer, open_segmenter, versions


def work_on(source: Path) -> Path:
    with np.load(source) as given:
        frames, stills, clean = given["frames"], given["stills"], given.get("clean")
    with open_segmenter() as segmenter:  # a new one for each clip: it may hold something over time
        masks = [segmenter.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).segmentation_mask for frame in frames]
    made = {"masks": np.stack(masks)}
    for name, script in SCRIPTS.items():
        pictures = [script.blend(frames[index], script.blur(frames[index]), masks[index]) for index in stills]
        made[f"{name}/picture"] = np.stack(pictures)
        if clean is not None:
            made[f"{name}/blurred"] = np.stack([script.blur(frame) for frame in clean])
    target = source.with_suffix(".peer.npz")
    np.savez(target, **made)
    return target


def main() -> None:
    answer(versions())
    for line in sys.stdin:
        answer({"made": str(work_on(Path(line.strip())))})


if __name__ == "__main__":
    main()
