"""What one pair is made of, in a few numbers: sizes, stored values, a perceptual hash, or why it cannot be read.

    facts = examine(pair, split="train")

Nothing is judged here; findings.py does. A file is decoded within imaging/decode.py's bounds, and what is kept of it is
small, so that a data set of any size can be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_deeplab.data.doctor.duplicates import Print
from edge_deeplab.data.labelling import NO_MEANING, Labelling, Stored, pack_colours
from edge_deeplab.data.pairs import Pair
from edge_deeplab.errors import InputError
from edge_deeplab.imaging.decode import read_image
from edge_deeplab.labels import IGNORE

_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One pair.

    Attributes:
        split: the data set's name and split.
        size_hw: of the picture as it is read, rotation applied; None where it cannot be.
        image_error, mask_error: why a file cannot be read; None where it can.
        stored: what the mask holds; None where it cannot be read.
        colours: distinct colours of a mask that should hold indices and holds colours; 0 otherwise.
        has_jpeg_mask: whether the mask is a JPEG, whatever its name says.
        look: of the picture, to find it again.
    """

    split: str
    pair: Pair = field(repr=False)
    size_hw: tuple[int, int] | None
    image_error: str | None
    stored: Stored | None
    mask_error: str | None
    colours: int
    has_jpeg_mask: bool
    look: Print | None = field(repr=False)

    @property
    def name(self) -> str:
        """Of the pair."""
        return self.pair.name

    @property
    def labelling(self) -> Labelling:
        """How its mask is read."""
        return self.pair.labelling

    def labels(self, classes: int) -> np.ndarray:
        """The label of each of the stored values, (n,) int16: NO_MEANING where there is none; empty without a mask."""
        if self.stored is None:
            return np.empty(0, np.int16)
        return self.labelling.meaning(self.stored.values, classes=classes)

    def label_counts(self, classes: int) -> tuple[np.ndarray, int, int]:
        """Pixels of each class, of IGNORE, and of what means nothing: (classes,) int64, int, int."""
        counts = np.zeros(classes, np.int64)
        if self.stored is None:
            return counts, 0, 0
        labels, pixels = self.labels(classes), self.stored.counts
        known = (labels != NO_MEANING) & (labels != IGNORE)
        np.add.at(counts, labels[known], pixels[known])
        return counts, int(pixels[labels == IGNORE].sum()), int(pixels[labels == NO_MEANING].sum())


def examine(pair: Pair, *, split: str) -> Facts:
    """Reads both files of a pair. Raises MissingExtraError where a package is missing; never for the files."""
    image_error = mask_error = None
    look, size_hw, stored, colours = None, None, None, 0
    try:
        image = pair.read_image()
        size_hw, look = (image.shape[0], image.shape[1]), Print.of(image)
        del image  # a mask is as large again
    except InputError as error:
        image_error = _without_path(error, pair.image_path)
    assert pair.mask_path is not None, "a listing holds pairs with both files"
    try:
        stored = pair.labelling.survey(pair.mask_path)
    except InputError as error:
        mask_error = _without_path(error, pair.mask_path)
        colours = _count_colours(pair.mask_path)
    return Facts(
        split=split, pair=pair, size_hw=size_hw, image_error=image_error, stored=stored, mask_error=mask_error,
        colours=colours, has_jpeg_mask=_starts_with(pair.mask_path, _JPEG), look=look,
    )  # fmt: skip


def _without_path(error: InputError, path: Path) -> str:
    """What is wrong with a file; which one it is stands beside it, and where it lies is nobody's business."""
    return str(error).replace(f"{path}: ", "")


def _count_colours(path: Path) -> int:
    try:
        return len(np.unique(pack_colours(read_image(path))))
    except InputError:
        return 0


def _starts_with(path: Path, signature: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(signature)) == signature
    except OSError:
        return False
