"""Class names and the colours they are drawn in. Nothing here reads a file or knows a model."""

from __future__ import annotations

import numpy as np

IGNORE = 255
"""The label of a pixel that counts for nothing, as in PASCAL VOC's void."""

PORTRAIT = ("background", "person")

VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tv",
)  # fmt: skip

CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip


def find_person(labels: tuple[str, ...]) -> int | None:
    """The index of the class called "person", or None when no class or several are called so."""
    found = [index for index, name in enumerate(labels) if name.strip().lower() == "person"]
    return found[0] if len(found) == 1 else None


def colour_map(classes: int) -> np.ndarray:
    """The PASCAL VOC colour map: bit-reversed class indices, so neighbours differ and 0 is black.

    Returns: (classes, 3) uint8, RGB. Source: VOCdevkit's VOClabelcolormap.
    """
    indices = np.arange(classes)
    colours = np.zeros((classes, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((indices >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours
