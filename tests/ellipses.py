"""A data set that a network learns in a minute, and the command run on it as a user does, for tests of whole lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

SIZE = 64


def make_pairs(root: Path, count: int, seed: int) -> None:
    """Grey noise with one bright ellipse, which is the person."""
    random = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        mask = np.zeros((SIZE, SIZE), np.uint8)
        centre = tuple(int(value) for value in random.integers(20, SIZE - 20, 2))
        axes = tuple(int(value) for value in random.integers(10, 20, 2))
        cv2.ellipse(mask, centre, axes, float(random.integers(180)), 0, 360, 255, -1)
        image = random.integers(0, 90, (SIZE, SIZE, 3), np.uint8)
        image[mask > 0] += np.uint8(140)
        cv2.imwrite(str(root / "images" / f"{index:03}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{index:03}.png"), mask)


def run(*arguments: object, at: Path) -> str:
    """One command of edge-deeplab in the folder `at`; its stdout."""
    command = [sys.executable, "-m", "edge_deeplab.cli.main", *map(str, arguments)]
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
    return done.stdout
