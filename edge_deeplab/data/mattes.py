"""Folders of pictures with true alpha mattes: stills, or clips of a video each.

    FOLDER/images/NAME.jpg|png  beside  FOLDER/alphas/NAME.png           stills
    FOLDER/CLIP/images/...      beside  FOLDER/CLIP/alphas/...           clips; frames in the order of their names

    for clip in open_mattes(Path("video_matting_val")):
        for frame in clip.frames:
            image, alpha = frame.read()

A matte is a gray PNG of 8 bits, 0 background, 255 person.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_deeplab.data.pairs import list_images
from edge_deeplab.errors import DataError
from edge_deeplab.imaging.decode import read_image, read_mask

IMAGES, ALPHAS = "images", "alphas"
SHOWN = 5


@dataclass(frozen=True)
class MattePair:
    """A picture and its true matte."""

    name: str
    image_path: Path
    alpha_path: Path

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Reads both files.

        Returns: (H, W, 3) uint8 RGB and (H, W) float32 in 0..1.
        Raises: InputError for a broken file, DataError for a matte of another size.
        """
        image = read_image(self.image_path)
        alpha = read_mask(self.alpha_path)
        if alpha.shape != image.shape[:2]:
            raise DataError(
                f"{self.alpha_path}: the matte has another size than its picture",
                came="{1}x{0}".format(*alpha.shape), allowed="{1}x{0}".format(*image.shape),
            )  # fmt: skip
        return image, alpha.astype(np.float32) / 255


@dataclass(frozen=True)
class MatteClip:
    """Frames that follow one another, or a single picture."""

    name: str
    frames: tuple[MattePair, ...]


def open_mattes(root: Path) -> tuple[MatteClip, ...]:
    """The stills of a folder, each as a clip of one frame, or its clips.

    Raises: DataError when there is neither, or a picture or a matte has no partner.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", next_step="check the path, or --data")
    if _holds_mattes(root):
        return tuple(MatteClip(pair.name, (pair,)) for pair in _pairs(root))
    clips = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and _holds_mattes(folder)]
    if not clips:
        came = ", ".join(sorted(path.name for path in root.iterdir())[:SHOWN]) or "an empty folder"
        raise DataError(
            f"{root}: holds no alpha mattes", came=came,
            allowed=f"{IMAGES}/ and {ALPHAS}/ with the same names, or a folder of such folders, one a clip",
            next_step="for pictures with masks alone, add --backgrounds FOLDER: scenes are made of them",
        )  # fmt: skip
    return tuple(MatteClip(folder.name, _pairs(folder)) for folder in clips)


def _holds_mattes(folder: Path) -> bool:
    return (folder / IMAGES).is_dir() and (folder / ALPHAS).is_dir()


def _pairs(folder: Path) -> tuple[MattePair, ...]:
    images = {path.stem: path for path in list_images(folder / IMAGES)}
    alphas = {path.stem: path for path in (folder / ALPHAS).iterdir() if path.suffix.lower() == ".png"}
    for word, lonely in (
        ("pictures without a matte", set(images) - set(alphas)),
        ("mattes without a picture", set(alphas) - set(images)),
    ):
        if lonely:
            names = ", ".join(sorted(lonely)[:SHOWN]) + (" ..." if len(lonely) > SHOWN else "")
            raise DataError(
                f"{folder}: {len(lonely)} {word}: {names}", allowed=f"{IMAGES}/NAME.jpg beside {ALPHAS}/NAME.png"
            )
    return tuple(MattePair(stem, path, alphas[stem]) for stem, path in sorted(images.items()))
