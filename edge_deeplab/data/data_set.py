"""What is known of a data set: its classes and colours, the layout its owners publish it in, its splits.

The sets themselves stand one to a file beside this one and are named in catalogue.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_deeplab.data.labelling import Colour
from edge_deeplab.data.pairs import LabelledPicture, Listing, Pair
from edge_deeplab.errors import DataError, nearest
from edge_deeplab.labels import colour_map

MOST_LIST_BYTES = 50_000_000
"""No split's list is longer; a larger file is no list."""


def _never_cut(pairs: tuple[Pair, ...]) -> tuple[LabelledPicture, ...]:
    return pairs


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One row of the catalogue.

    Attributes:
        name: as typed before the colon.
        title: for people.
        labels: class names in the order of the labels; empty where the masks decide.
        colours: (R, G, B) of each class, from the owners' palette; empty takes PASCAL VOC's map.
        layout: what the folder must hold, in one line.
        splits: those there may be.
        train, evaluation: the split that training and evaluation take when none is named.
        is_at: whether a folder has the layout.
        inner: folders the layout may lie in, below the one that was named.
        list_split: (folder, split) -> what is there; names may be missing, files are not opened.
        cut: turns pairs of files into what is read: windows, where the files are larger than a picture should be.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    layout: str
    splits: tuple[str, ...]
    is_at: Callable[[Path], bool]
    list_split: Callable[[Path, str], Listing]
    colours: tuple[Colour, ...] = ()
    train: str = "train"
    evaluation: str = "val"
    inner: tuple[str, ...] = ()
    cut: Callable[[tuple[Pair, ...]], tuple[LabelledPicture, ...]] = _never_cut

    def home(self, root: Path) -> Path | None:
        """The folder that has the layout: root or one of `inner` below it; None where none has."""
        return next((place for place in (root, *(root / one for one in self.inner)) if self.is_at(place)), None)

    def palette(self, classes: int) -> np.ndarray:
        """(classes, 3) uint8 RGB."""
        return np.array(self.colours, np.uint8) if self.colours else colour_map(classes)

    def check_split(self, split: str) -> None:
        """Raises DataError for a split this set does not have."""
        if split not in self.splits:
            raise DataError(f"{self.name}: no split {split!r}", allowed=nearest(split, self.splits))


def read_names(path: Path) -> tuple[str, ...]:
    """The names in a split's list, in its order.

    Taken from the first word of each line, so that "2007_000032" and "/JPEGImages/2007_000032.jpg ..." are one.
    Raises: DataError when the list is missing, no text, or empty.
    """
    if not path.is_file():
        raise DataError(f"{path}: the split's list is missing", next_step="put it there as its owners publish it")
    if path.stat().st_size > MOST_LIST_BYTES:
        raise DataError(f"{path}: is no list of names", came=f"{path.stat().st_size} bytes")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no list of names", came="not UTF-8 text", allowed="one name a line") from error
    names = tuple(dict.fromkeys(Path(line.split()[0]).stem for line in lines if line.strip()))
    if not names:
        raise DataError(f"{path}: the split's list is empty")
    return names
