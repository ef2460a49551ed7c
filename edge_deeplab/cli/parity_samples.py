"""The pictures two machines are compared on: the person's own, a calibration artifact's, or some that are always there.

name, pictures = find_samples(Path("pairs/images"), limit=16)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

BUILT_IN = "built-in pictures"
BUILT_IN_SIZE_WH = (640, 480)
ARTIFACT_SUFFIX = ".calib"

T = TypeVar("T")
Samples = list[tuple[str, np.ndarray]]  # name, (H, W, 3) uint8 RGB


def find_samples(source: Path | None, *, limit: int) -> tuple[str, Samples]:
    """At most `limit` pictures, spread evenly over what there is.

    source: a .calib file, a folder of pictures, one picture, or None for the built-in ones.
    Returns: what they are, in a few words, and the pictures.
    Raises: InputError for a source without a readable picture.
    """
    if source is None:
        return BUILT_IN, spread(built_in_pictures(), limit)
    if source.suffix == ARTIFACT_SUFFIX:
        from edge_deeplab.calibration.artifact import CalibrationSet

        artifact = CalibrationSet.load(source)
        names = [str(record.get("name", index)) for index, record in enumerate(artifact.facts.get("samples", []))]
        named = list(zip(names or map(str, range(len(artifact))), artifact.samples))
        return source.name, spread(named, limit)
    return source.name, _read_pictures(source, limit)


def _read_pictures(source: Path, limit: int) -> Samples:
    from edge_deeplab.errors import InputError
    from edge_deeplab.imaging.decode import IMAGE_SUFFIXES, read_image

    paths = [source]
    if source.is_dir():
        paths = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            raise InputError(
                f"{source}: no picture in this folder", allowed=f"{', '.join(IMAGE_SUFFIXES)}",
                next_step="name the folder that holds them, such as pairs/images",
            )  # fmt: skip
    return [(path.name, read_image(path)) for path in spread(paths, limit)]


def built_in_pictures() -> Samples:
    """Someone moving before a camera, and two pictures that hold every value: noise, and ramps of the colours."""
    from edge_deeplab.cli.frame_program import moving_frames

    frames, shows = moving_frames(None, BUILT_IN_SIZE_WH)
    pictures = [
        (f"{shows} {number}", np.ascontiguousarray(frame[..., ::-1])) for number, frame in enumerate(frames, start=1)
    ]
    width, height = BUILT_IN_SIZE_WH
    noise = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    ramps = np.stack([across, down, 255 - across], axis=-1).round().astype(np.uint8)
    return [*pictures, ("noise", noise), ("ramps", ramps)]


def spread(items: Sequence[T], limit: int) -> list[T]:
    """At most `limit` items, evenly spaced."""
    if limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]
