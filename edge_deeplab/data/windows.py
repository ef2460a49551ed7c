"""Pictures larger than one looks at at once, as overlapping or adjoining windows.

    cut = functools.partial(cut_windows, side_px=512, open_tile=read_tile)
    for window in cut(pairs): window.read(classes=6)

A decoded tile is kept while there is room, so that reading windows in their order decodes every tile once. In the
random order of a training most windows decode their tile anew: there, cut the tiles into files first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_deeplab.data.pairs import Pair
from edge_deeplab.imaging.decode import read_size

KEPT_BYTES = 1_000_000_000


class TileCache:
    """Decoded tiles, the least recently used dropped first. Safe among threads; each tile is decoded by one of them.

    Args:
        most_bytes: kept at once; one larger tile is kept alone.
    """

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self.most_bytes = most_bytes
        self._tiles: OrderedDict[tuple[Path, int], tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, pair: Pair, *, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """As pair.read."""
        key = (pair.image_path, classes)
        with self._lock:  # held while decoding: threads that want one tile must not all decode it
            if key not in self._tiles:
                self._tiles[key] = pair.read(classes=classes)
            self._tiles.move_to_end(key)
            while len(self._tiles) > 1 and self._held_bytes() > self.most_bytes:
                self._tiles.popitem(last=False)
            return self._tiles[key]

    def _held_bytes(self) -> int:
        return sum(image.nbytes + labels.nbytes for image, labels in self._tiles.values())


@dataclass(frozen=True)
class Window:
    """A part of a tile: a LabelledPicture.

    Attributes:
        tile: the files it is in.
        top, left: its first row and column in the tile; size_hw: its height and width.
    """

    tile: Pair
    top: int
    left: int
    size_hw: tuple[int, int]
    cache: TileCache

    @property
    def name(self) -> str:
        """The tile's name and where in it the window lies."""
        return f"{self.tile.name} {self.top},{self.left}"

    @property
    def image_path(self) -> Path:
        """The tile's picture."""
        return self.tile.image_path

    @property
    def mask_path(self) -> Path | None:
        """The tile's mask."""
        return self.tile.mask_path

    def read_image(self) -> np.ndarray:
        """As LabelledPicture.read_image."""
        return np.ascontiguousarray(self.tile.read_image()[self._place])

    def read(self, *, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """As LabelledPicture.read."""
        image, labels = self.cache.read(self.tile, classes=classes)
        return np.ascontiguousarray(image[self._place]), np.ascontiguousarray(labels[self._place])

    @property
    def _place(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.size_hw[0]), slice(self.left, self.left + self.size_hw[1])


def starts(length: int, side_px: int) -> list[int]:
    """Where windows begin along a side: adjoining, the last one moved back to end with the tile."""
    return [min(start, max(length - side_px, 0)) for start in range(0, length, side_px)]


def cut_windows(pairs: tuple[Pair, ...], *, side_px: int) -> tuple[Window, ...]:
    """Square windows that cover every tile; tiles that are smaller are one window. Reads the files' headers alone.

    Raises: InputError for a file that is missing or no picture.
    """
    cache = TileCache()
    windows = []
    for pair in pairs:
        height, width = read_size(pair.image_path)
        size_hw = (min(side_px, height), min(side_px, width))
        windows += [
            Window(pair, top, left, size_hw, cache)
            for top in starts(height, side_px)
            for left in starts(width, side_px)
        ]
    return tuple(windows)
