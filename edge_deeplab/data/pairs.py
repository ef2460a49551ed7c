"""Pairs of picture and mask, and the plain folder of them: images/NAME.jpg|png beside masks/NAME.png.

folder = PairsFolder(Path("portraits/train"))
image, mask = folder.pairs[0].read()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from edge_deeplab.data.labelling import PLAIN, Labelling
from edge_deeplab.errors import DataError
from edge_deeplab.imaging.decode import read_image
from edge_deeplab.labels import IGNORE

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SHOWN = 5
P = TypeVar("P")


class LabelledPicture(Protocol):
    """What training, evaluation and calibration ask of one element of a data set.

    Attributes:
        name: unique in its data set.
        image_path, mask_path: the files, for messages; mask_path is None for a picture without labels.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def image_path(self) -> Path: ...  # noqa: D102
    @property
    def mask_path(self) -> Path | None: ...  # noqa: D102

    def read_image(self) -> np.ndarray:
        """The picture alone, (H, W, 3) uint8 RGB. Raises InputError for a broken file."""

    def read(self, *, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """Picture and labels.

        Returns: (H, W, 3) uint8 RGB and (H, W) uint8 labels 0..classes-1, or IGNORE.
        Raises: InputError for a broken file, DataError for a mask of another size or labels out of range.
        """


@dataclass(frozen=True)
class Pair:
    """One labelled picture in its own files; mask_path None is one without labels, every pixel of which is IGNORE."""

    name: str
    image_path: Path
    mask_path: Path | None
    labelling: Labelling = PLAIN

    def read_image(self) -> np.ndarray:
        """As LabelledPicture.read_image."""
        return read_image(self.image_path)

    def read(self, *, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """As LabelledPicture.read."""
        image = self.read_image()
        if self.mask_path is None:
            return image, np.full(image.shape[:2], IGNORE, np.uint8)
        labels = self.labelling.read(self.mask_path, classes=classes)
        check_same_size(self.mask_path, labels, image)
        return image, labels


def check_same_size(mask_path: Path, labels: np.ndarray, image: np.ndarray) -> None:
    """Raises DataError for a mask of another size than its picture."""
    if image.shape[:2] != labels.shape:
        raise DataError(
            f"{mask_path}: the mask has another size than its picture",
            came=f"{labels.shape[1]}x{labels.shape[0]}", allowed=f"{image.shape[1]}x{image.shape[0]}",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a data set's folder holds of one split, before any file was opened.

    Attributes:
        pairs: those with both files, in the order of their list or by name.
        without_mask, without_picture: names of which one file is missing, or both (then in without_picture).
    """

    pairs: tuple[Pair, ...]
    without_mask: tuple[str, ...] = ()
    without_picture: tuple[str, ...] = ()

    def whole(self, source: str, *, allowed: str) -> tuple[Pair, ...]:
        """The pairs. Raises DataError when a file is missing, or there is no pair at all."""
        for word, lonely in (
            ("pictures without a mask", self.without_mask),
            ("masks without a picture", self.without_picture),
        ):
            if lonely:
                names = ", ".join(lonely[:SHOWN]) + (" ..." if len(lonely) > SHOWN else "")
                raise DataError(f"{source}: {len(lonely)} {word}: {names}", allowed=allowed)
        if not self.pairs:
            raise DataError(f"{source}: holds no pairs", allowed=allowed)
        return self.pairs


def match(
    images: dict[str, Path], masks: dict[str, Path], labelling: Labelling, *, wanted: tuple[str, ...] | None = None
) -> Listing:
    """Pairs pictures and masks of the same name.

    wanted: the names of a list, in its order; None takes every name of both, sorted.
    """
    names = tuple(sorted(images.keys() | masks.keys())) if wanted is None else wanted
    return Listing(
        pairs=tuple(
            Pair(name, images[name], masks[name], labelling) for name in names if name in images and name in masks
        ),
        without_mask=tuple(name for name in names if name in images and name not in masks),
        without_picture=tuple(name for name in names if name not in images),
    )


def spread(pairs: Sequence[P], limit: int | None) -> tuple[P, ...]:
    """At most `limit` of them, evenly spaced, so that every source in a sorted folder has its share."""
    if limit is None or limit >= len(pairs):
        return tuple(pairs)
    return tuple(pairs[index * len(pairs) // limit] for index in range(limit))


def files_by_stem(folder: Path, suffixes: tuple[str, ...], *, ending: str = "") -> dict[str, Path]:
    """The files of a folder by their stem without `ending`, which others must not have. Raises DataError for two."""
    found: dict[str, Path] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or not path.stem.endswith(ending):
            continue
        stem = path.stem.removesuffix(ending)
        if stem in found:
            raise DataError(f"{path}: two pictures of one name", came=found[stem].name)
        found[stem] = path
    return found


def list_images(folder: Path) -> tuple[Path, ...]:
    """The pictures in a folder, by name. Raises DataError when the folder is missing or holds none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", next_step="check the path, or --data")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{folder}: holds no pictures", allowed=", ".join(IMAGE_SUFFIXES))
    return tuple(found)


def is_pairs_folder(root: Path) -> bool:
    """Whether a folder has images/ and masks/."""
    return (root / "images").is_dir() and (root / "masks").is_dir()


def list_pairs(root: Path) -> Listing:
    """What a pairs folder holds. Raises DataError for two pictures of one name."""
    masks = files_by_stem(root / "masks", (".png",))
    return match(files_by_stem(root / "images", IMAGE_SUFFIXES), masks, PLAIN)


class PairsFolder:
    """A folder with images/ and masks/.

    Args:
        root: the folder. Raises DataError when it, a subfolder or a partner is missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.is_dir() and not is_pairs_folder(root):
            came = ", ".join(sorted(path.name for path in root.iterdir())[:SHOWN]) or "an empty folder"
            raise DataError(f"{root}: not a pairs folder", came=came, allowed="images/ and masks/ with the same names")
        list_images(root / "images")
        self.pairs = list_pairs(root).whole(str(root), allowed="images/NAME.jpg beside masks/NAME.png")

    def __len__(self) -> int:
        return len(self.pairs)
