"""Pairs of picture and mask in a folder: images/NAME.jpg|png beside masks/NAME.png.

folder = PairsFolder(Path("portraits/train"))
image, mask = folder.pairs[0].read()
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_deeplab.errors import DataError
from edge_deeplab.imaging.decode import read_image, read_mask
from edge_deeplab.labels import IGNORE

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FOREGROUND = 255
"""A mask that holds only 0 and 255 is a two-class mask: 255 stands for label 1."""
SHOWN = 5


@dataclass(frozen=True)
class Pair:
    """One labelled picture; mask_path None is a picture without labels, of which every pixel is IGNORE."""

    name: str
    image_path: Path
    mask_path: Path | None

    def read(self, *, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """Reads both files.

        Returns: (H, W, 3) uint8 RGB and (H, W) uint8 labels 0..classes-1, or IGNORE.
        Raises: InputError for a broken file, DataError for a mask of another size or labels out of range.
        """
        image = read_image(self.image_path)
        if self.mask_path is None:
            return image, np.full(image.shape[:2], IGNORE, np.uint8)
        mask = read_mask(self.mask_path)
        if image.shape[:2] != mask.shape:
            raise DataError(
                f"{self.mask_path}: the mask has another size than its picture",
                came=f"{mask.shape[1]}x{mask.shape[0]}", allowed=f"{image.shape[1]}x{image.shape[0]}",
            )  # fmt: skip
        return image, to_labels(mask, classes=classes, source=self.mask_path)


def to_labels(mask: np.ndarray, *, classes: int, source: Path) -> np.ndarray:
    """Turns a stored mask into labels: 0/255 becomes 0/1 for two classes, else values are labels and 255 is ignored.

    Raises: DataError naming `source` and the values out of range.
    """
    present = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256))
    if classes == 2 and set(present.tolist()) <= {0, FOREGROUND}:
        return (mask == FOREGROUND).astype(np.uint8)
    wrong = present[(present >= classes) & (present != IGNORE)]
    if wrong.size:
        raise DataError(
            f"{source}: labels out of range", came=", ".join(map(str, wrong[:SHOWN])),
            allowed=f"0..{classes - 1}, and 255 for ignored" + (", or 0 and 255 alone" if classes == 2 else ""),
        )  # fmt: skip
    return mask


def list_images(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder, by name. Raises DataError when the folder is missing or holds none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", next_step="check the path, or --data")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{folder}: holds no pictures", allowed=", ".join(IMAGE_SUFFIXES))
    return tuple(found)


class PairsFolder:
    """A folder with images/ and masks/.

    Args:
        root: the folder. Raises DataError when it, a subfolder or a partner is missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        images, masks = root / "images", root / "masks"
        if root.is_dir() and not (images.is_dir() and masks.is_dir()):
            came = ", ".join(sorted(path.name for path in root.iterdir())[:SHOWN]) or "an empty folder"
            raise DataError(f"{root}: not a pairs folder", came=came, allowed="images/ and masks/ with the same names")
        by_stem: dict[str, Path] = {}
        for path in list_images(images):
            if path.stem in by_stem:
                raise DataError(f"{path}: two pictures of one name", came=by_stem[path.stem].name)
            by_stem[path.stem] = path
        stems = {path.stem for path in masks.iterdir() if path.suffix.lower() == ".png"}
        for word, lonely in (
            ("pictures without a mask", set(by_stem) - stems),
            ("masks without a picture", stems - set(by_stem)),
        ):
            if lonely:
                names = ", ".join(sorted(lonely)[:SHOWN]) + (" ..." if len(lonely) > SHOWN else "")
                raise DataError(
                    f"{root}: {len(lonely)} {word}: {names}", allowed="images/NAME.jpg beside masks/NAME.png"
                )
        self.pairs = tuple(Pair(stem, path, masks / f"{stem}.png") for stem, path in sorted(by_stem.items()))

    def __len__(self) -> int:
        return len(self.pairs)
