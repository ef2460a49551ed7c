"""Finding pictures that show the same: a perceptual hash to look for, and a thumbnail to be sure.

    groups = near_duplicates([Print.of(image) for image in images])    # lists of indices

The hash is pHash (Zauner 2010, section 3.2): the signs of the lowest 8 x 8 DCT terms of a 32 x 32 grey thumbnail around
their median. Two pictures count as one where at most BITS of 64 differ and their 16 x 16 colour thumbnails differ by
less than LEVELS of 255 on average, which keeps skies and walls, that all have one hash, apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

# Measured on 1,720 photos (portraits, people in scenes, rooms and animals, VOC): copies as JPEG of quality 30 at half
# the size differ in 6 bits and 3.0 levels at most, copies 10 levels brighter in 4 bits and 10.0 levels; the two nearest
# distinct photos of all 1.5 million pairs differ in 10 bits and 34 levels.
BITS = 6
LEVELS = 12.0

_SIDE, _TERMS, _THUMBNAIL = 32, 8, 16
_BLOCK = 2048  # hashes compared with all others at once: 2048 x 100,000 differences are 1.6 GB of work, 0.2 GB held


@dataclass(frozen=True)
class Print:
    """What is kept of a picture.

    Attributes:
        bits: the hash.
        thumbnail: (16, 16, 3) uint8 RGB.
    """

    bits: int
    thumbnail: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> Print:
        """Of a picture, (H, W, 3) uint8 RGB."""
        small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
        terms = cv2.dct(grey)[:_TERMS, :_TERMS].ravel()
        signs = terms > np.median(terms[1:])  # the first term is the mean brightness
        signs[0] = False
        bits = int.from_bytes(np.packbits(signs).tobytes(), "big")
        return cls(bits, cv2.resize(small, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA))

    def levels(self, other: Print) -> float:
        """Mean absolute difference of the two thumbnails, 0..255."""
        return float(cv2.absdiff(self.thumbnail, other.thumbnail).mean())


def near_duplicates(prints: Sequence[Print | None]) -> list[list[int]]:
    """Groups of pictures that show the same, as ascending indices; every group has two or more.

    Each is compared with each: 20,000 pictures take seconds, 100,000 a minute or two. None is a picture to leave out.
    """
    # the very same print again is set aside first, so that a folder of copies is no matter of every pair
    same: dict[tuple[int, bytes], list[int]] = {}
    for index, one in enumerate(prints):
        if one is not None:
            same.setdefault((one.bits, one.thumbnail.tobytes()), []).append(index)
    members = list(same.values())
    known = [print_ for print_ in (prints[indices[0]] for indices in members) if print_ is not None]
    hashes = np.array([one.bits for one in known], np.uint64)
    leader = list(range(len(known)))

    def lead(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for begin in range(0, len(hashes), _BLOCK):
        block = hashes[begin : begin + _BLOCK, np.newaxis]
        rows, columns = np.nonzero(_ones(block ^ hashes[np.newaxis, begin:]) <= BITS)
        for row, column in zip((rows + begin).tolist(), (columns + begin).tolist(), strict=True):
            if row < column and lead(row) != lead(column) and known[row].levels(known[column]) < LEVELS:
                leader[max(lead(row), lead(column))] = min(lead(row), lead(column))
    groups: dict[int, list[int]] = {}
    for index in range(len(known)):
        groups.setdefault(lead(index), []).extend(members[index])
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _ones(words: np.ndarray) -> np.ndarray:
    """How many bits are set in each, uint8; numpy 1, which tflite-runtime needs, cannot count them itself."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    table = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1).sum(axis=1, dtype=np.uint8)
    return table[np.ascontiguousarray(words).view(np.uint8)].reshape(*words.shape, 8).sum(axis=-1, dtype=np.uint8)
