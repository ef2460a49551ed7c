"""What the numbers or colours of a mask file mean: index maps, remapped ones, colour-coded ones.

    labelling = IndexLabelling(remap({0: IGNORE, **{value: value - 1 for value in range(1, 151)}}))
    labels = labelling.read(path, classes=150)         # (H, W) uint8, IGNORE where nothing counts
    stored = labelling.survey(path)                    # which values, how many pixels of each

Labels are 0..classes-1 and IGNORE. A value without a meaning is an error to `read`, and a finding to the doctor, who
asks `survey` and `meaning` instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edge_deeplab.errors import DataError
from edge_deeplab.imaging.decode import read_image, read_mask
from edge_deeplab.labels import IGNORE

FOREGROUND = 255
"""A mask that holds only 0 and 255 is a two-class mask: 255 stands for label 1."""
NO_MEANING = -1
SHOWN = 5
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Stored:
    """What a mask file holds.

    Attributes:
        size_hw: of the mask, pixels.
        values: ascending, as stored; a colour is 65536 R + 256 G + B.
        counts: pixels of each.
    """

    size_hw: tuple[int, int]
    values: np.ndarray
    counts: np.ndarray


class Labelling(Protocol):
    """How the masks of a data set are read."""

    def read(self, path: Path, *, classes: int) -> np.ndarray:
        """Reads a mask.

        Returns: (H, W) uint8 labels 0..classes-1, or IGNORE.
        Raises: InputError for a broken file, DataError naming values that mean nothing.
        """

    def stored(self, path: Path) -> np.ndarray:
        """What a mask holds, (H, W) whole numbers, colours as Stored has them. Raises InputError for a broken file."""

    def survey(self, path: Path) -> Stored:
        """Counts what a mask holds. Raises InputError for a broken file."""

    def meaning(self, values: np.ndarray, *, classes: int) -> np.ndarray:
        """The label of each of the values that one mask holds: (n,) int16, NO_MEANING where it has none."""

    def word(self, value: int) -> str:
        """A stored value as a person writes it."""


def remap(table: Mapping[int, int]) -> tuple[int, ...]:
    """Stored value -> label as the table IndexLabelling takes; what is left out means nothing."""
    return tuple(table.get(value, NO_MEANING) for value in range(max(table) + 1))


def check_classes(labels: np.ndarray, *, classes: int, source: Path, word: str = "labels") -> None:
    """Raises DataError naming labels that are neither 0..classes-1 nor IGNORE. labels: distinct ones."""
    wrong = labels[(labels >= classes) & (labels != IGNORE)]
    if wrong.size:
        raise DataError(
            f"{source}: {word} out of range", came=", ".join(map(str, wrong[:SHOWN].tolist())),
            allowed=f"0..{classes - 1}, and 255 for ignored" + (", or 0 and 255 alone" if classes == 2 else ""),
        )  # fmt: skip


def _count(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values of a map of small integers, and how often each comes."""
    counts = np.bincount(stored.reshape(-1))
    values = np.flatnonzero(counts)
    return values, counts[values]


@dataclass(frozen=True)
class PlainLabelling:
    """Values are labels and 255 is ignored; of two classes, 0 and 255 alone stand for 0 and 1."""

    def read(self, path: Path, *, classes: int) -> np.ndarray:
        """As Labelling.read."""
        return to_labels(read_mask(path), classes=classes, source=path)

    def stored(self, path: Path) -> np.ndarray:
        """As Labelling.stored."""
        return read_mask(path)

    def survey(self, path: Path) -> Stored:
        """As Labelling.survey."""
        mask = self.stored(path)
        return Stored((mask.shape[0], mask.shape[1]), *_count(mask))

    def meaning(self, values: np.ndarray, *, classes: int) -> np.ndarray:
        """As Labelling.meaning."""
        if classes == 2 and set(values.tolist()) <= {0, FOREGROUND}:
            return (values == FOREGROUND).astype(np.int16)
        return np.where((values < classes) | (values == IGNORE), values, NO_MEANING).astype(np.int16)

    def word(self, value: int) -> str:
        """As Labelling.word."""
        return str(value)


PLAIN = PlainLabelling()


def to_labels(mask: np.ndarray, *, classes: int, source: Path) -> np.ndarray:
    """Turns a stored mask into labels: 0/255 becomes 0/1 for two classes, else values are labels and 255 is ignored.

    Raises: DataError naming `source` and the values out of range.
    """
    present = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256))
    if classes == 2 and set(present.tolist()) <= {0, FOREGROUND}:
        return (mask == FOREGROUND).astype(np.uint8)
    check_classes(present, classes=classes, source=source)
    return mask


@dataclass(frozen=True)
class IndexLabelling:
    """Values are looked up in a table.

    Args:
        table: table[value] is the label, IGNORE or NO_MEANING; values beyond its end mean nothing.
        load: reads the stored values of a file, (H, W) of an unsigned type.
    """

    table: tuple[int, ...]
    load: Callable[[Path], np.ndarray] = read_mask

    def read(self, path: Path, *, classes: int) -> np.ndarray:
        """As Labelling.read."""
        stored = self.load(path)
        values, _ = _count(stored)
        labels = self.meaning(values, classes=classes)
        if (labels == NO_MEANING).any():
            raise DataError(
                f"{path}: label values out of range",
                came=", ".join(map(str, values[labels == NO_MEANING][:SHOWN].tolist())), allowed=self._allowed(),
            )  # fmt: skip
        lookup = np.zeros(int(values[-1]) + 1, np.uint8)
        lookup[values] = labels
        return lookup[stored]

    def stored(self, path: Path) -> np.ndarray:
        """As Labelling.stored."""
        return self.load(path)

    def survey(self, path: Path) -> Stored:
        """As Labelling.survey."""
        stored = self.stored(path)
        return Stored((stored.shape[0], stored.shape[1]), *_count(stored))

    def meaning(self, values: np.ndarray, *, classes: int) -> np.ndarray:
        """As Labelling.meaning."""
        table = np.full(max(len(self.table), int(values.max()) + 1), NO_MEANING, np.int16)
        table[: len(self.table)] = self.table
        labels = table[values]
        return np.where((labels < classes) | (labels == IGNORE), labels, NO_MEANING).astype(np.int16)

    def word(self, value: int) -> str:
        """As Labelling.word."""
        return str(value)

    def _allowed(self) -> str:
        known = [value for value, label in enumerate(self.table) if label != NO_MEANING]
        if known[-1] - known[0] + 1 == len(known):
            return f"{known[0]}..{known[-1]}"
        gaps = f"{known[0]}..{known[-2]}" if known[-2] - known[0] + 2 == len(known) else "the values of its label list"
        return f"{gaps} and {known[-1]}"


@dataclass(frozen=True)
class ColourLabelling:
    """Colours are looked up, exactly.

    Args:
        colours: (R, G, B) -> label or IGNORE, as pairs, so that it can be hashed.
    """

    colours: tuple[tuple[Colour, int], ...]

    def read(self, path: Path, *, classes: int) -> np.ndarray:
        """As Labelling.read."""
        return self.to_labels(read_image(path), classes=classes, source=path)

    def to_labels(self, mask_rgb: np.ndarray, *, classes: int, source: Path) -> np.ndarray:
        """Labels of a decoded mask, (H, W, 3) uint8 RGB. Raises as read."""
        packed = pack_colours(mask_rgb)
        labels = _colour_table(self.colours)[packed]
        if (labels == NO_MEANING).any():
            wrong = np.unique(packed[labels == NO_MEANING])
            raise DataError(
                f"{source}: colours that stand for no class",
                came=" ".join(self.word(int(one)) for one in wrong[:SHOWN]),
                allowed=" ".join("({}, {}, {})".format(*colour) for colour, _ in self.colours),
                next_step="keep masks as PNG or TIFF: a JPEG changes colours",
            )  # fmt: skip
        check_classes(np.unique(labels), classes=classes, source=source)
        return labels.astype(np.uint8)

    def stored(self, path: Path) -> np.ndarray:
        """As Labelling.stored."""
        return pack_colours(read_image(path))

    def survey(self, path: Path) -> Stored:
        """As Labelling.survey."""
        packed = self.stored(path)
        known = [red << 16 | green << 8 | blue for (red, green, blue), _ in self.colours]
        counts = {value: int(np.count_nonzero(packed == value)) for value in known}
        if sum(counts.values()) < packed.size:  # sorting all of a tile takes seconds, so only what is left is sorted
            rest, times = np.unique(packed[_colour_table(self.colours)[packed] == NO_MEANING], return_counts=True)
            counts.update(zip(rest.tolist(), times.tolist()))
        values = np.array(sorted(value for value, count in counts.items() if count), np.int64)
        return Stored(
            (packed.shape[0], packed.shape[1]), values, np.array([counts[int(value)] for value in values], np.int64)
        )

    def meaning(self, values: np.ndarray, *, classes: int) -> np.ndarray:
        """As Labelling.meaning."""
        labels = _colour_table(self.colours)[values]
        return np.where((labels < classes) | (labels == IGNORE), labels, NO_MEANING).astype(np.int16)

    def word(self, value: int) -> str:
        """As Labelling.word."""
        return f"({value >> 16}, {value >> 8 & 255}, {value & 255})"


def pack_colours(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) int32, 65536 R + 256 G + B."""
    packed = image[..., 0].astype(np.int32)
    for channel in (1, 2):  # in place: a tile of 36 megapixels is 144 MB
        packed <<= 8
        packed |= image[..., channel]
    return packed


@functools.cache
def _colour_table(colours: tuple[tuple[Colour, int], ...]) -> np.ndarray:
    """Label of every packed colour: (2**24,) int16, 34 MB, made once; a gather is ten times as fast as comparing."""
    table = np.full(1 << 24, NO_MEANING, np.int16)
    for (red, green, blue), label in colours:
        table[red << 16 | green << 8 | blue] = label
    return table
