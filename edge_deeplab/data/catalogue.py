"""Every data set that can be read, in one table; and how one is named on a command line or in a recipe.

opened = open_data("voc:VOCdevkit/VOC2012@train_aug", role="train")
opened.pairs, opened.labels

FOLDER                  the set is known by its layout, the split by what it is wanted for
FOLDER@SPLIT            another split
NAME:FOLDER[@SPLIT]     the set is named, where its layout is another's too
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edge_deeplab.data.ade20k import ADE20K
from edge_deeplab.data.camvid import CAMVID
from edge_deeplab.data.cityscapes import CITYSCAPES
from edge_deeplab.data.data_set import DataSet
from edge_deeplab.data.loveda import LOVEDA
from edge_deeplab.data.pairs import LabelledPicture, Listing, is_pairs_folder, list_pairs
from edge_deeplab.data.pascal_context import CONTEXT_59, CONTEXT_60
from edge_deeplab.data.potsdam import POTSDAM
from edge_deeplab.data.voc import VOC
from edge_deeplab.errors import DataError, nearest

Role = Literal["train", "evaluate"]
ALL = "all"

PAIRS = DataSet(
    name="pairs", title="a folder of your own", labels=(), splits=(ALL,), train=ALL, evaluation=ALL,
    layout="images/NAME.jpg beside masks/NAME.png", is_at=is_pairs_folder, list_split=lambda root, _: list_pairs(root),
)  # fmt: skip

CATALOGUE = {one.name: one for one in (PAIRS, CAMVID, VOC, CITYSCAPES, ADE20K, CONTEXT_59, CONTEXT_60, LOVEDA, POTSDAM)}
SPEC = "[NAME:]FOLDER[@SPLIT]"
"""What an option that takes a data set shows."""
SHOWN = 5


@dataclass(frozen=True)
class DataSpec:
    """What was typed, taken apart: the set's name and split are None where they were left out."""

    root: Path
    name: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> DataSpec:
        """Takes a spec apart; a path that exists is taken as it is, whatever signs are in it.

        Raises: DataError for an unknown set.
        """
        if Path(text).exists():
            return cls(Path(text))
        name, colon, rest = text.partition(":")
        if not colon:
            name, rest = "", text
        elif name not in CATALOGUE:
            if re.fullmatch(r"[\w-]+", name) and rest:
                raise DataError(f"{text}: unknown data set {name!r}", allowed=nearest(name, CATALOGUE))
            name, rest = "", text
        folder, at, split = rest.rpartition("@")
        if not at or Path(rest).exists() or "/" in split or not folder:
            folder, split = rest, ""
        return cls(Path(folder), name or None, split or None)


@dataclass(frozen=True, kw_only=True)
class OpenedData:
    """A data set at a place.

    Attributes:
        root: its folder, as typed.
        home: where its layout was found.
        split: the one chosen.
    """

    data_set: DataSet
    root: Path
    home: Path
    split: str

    @property
    def name(self) -> str:
        """For tables and manifests: the folder's name, and the split where there are several."""
        folder = self.root.resolve().name
        return folder if self.data_set.splits == (ALL,) else f"{folder} {self.split}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; empty for a pairs folder, whose masks do not say."""
        return self.data_set.labels

    @property
    def listing(self) -> Listing:
        """The files of the split, with what is missing."""
        return self.data_set.list_split(self.home, self.split)

    @property
    def pairs(self) -> tuple[LabelledPicture, ...]:
        """What can be read, all files there. Raises DataError naming what is missing."""
        where = str(self.root) if self.data_set.splits == (ALL,) else f"{self.root} ({self.data_set.name} {self.split})"
        return self.data_set.cut(self.listing.whole(where, allowed=self.data_set.layout))

    def check_labels(self, labels: tuple[str, ...], *, who: str) -> None:
        """Raises DataError where a model's classes are not this set's: another number, or another order of the same."""
        if not self.labels:
            return
        mine, theirs = (tuple(name.strip().lower() for name in names) for names in (self.labels, labels))
        if len(mine) != len(theirs):
            raise DataError(
                f"{self.root}: {self.data_set.name} has {len(mine)} classes", came=f"{len(theirs)} of {who}",
                next_step=f"take a model of these classes (--labels {self.data_set.name}, if it carries no manifest)",
            )  # fmt: skip
        if mine != theirs and set(mine) == set(theirs):
            first = next(at for at, (one, other) in enumerate(zip(mine, theirs)) if one != other)
            raise DataError(
                f"{self.root}: {self.data_set.name} and {who} have the same classes in another order",
                came=f"class {first} is {mine[first]} here and {theirs[first]} there",
            )  # fmt: skip

    def palette(self, classes: int) -> np.ndarray:
        """(classes, 3) uint8 RGB."""
        return self.data_set.palette(classes)


def recognise(root: Path) -> tuple[DataSet, ...]:
    """The sets whose layout a folder has."""
    return tuple(one for one in CATALOGUE.values() if one.home(root) is not None)


def open_data(text: str | Path, *, role: Role = "evaluate") -> OpenedData:
    """Finds a data set; no file is opened.

    text: as the module says. role: decides the split where none is named.
    Raises: DataError for a missing folder, an unknown set or split, a layout that is none's or several sets'.
    """
    spec = DataSpec.parse(str(text))
    if not spec.root.is_dir():
        raise DataError(f"{spec.root}: no such folder", next_step="check the path, or --data")
    data_set = CATALOGUE[spec.name] if spec.name else _recognised(spec.root)
    home = data_set.home(spec.root)
    if home is None:
        raise DataError(f"{spec.root}: is not laid out as {data_set.name}", came=_content(spec.root),
                        allowed=data_set.layout)  # fmt: skip
    split = spec.split or (data_set.train if role == "train" else data_set.evaluation)
    data_set.check_split(split)
    return OpenedData(data_set=data_set, root=spec.root, home=home, split=split)


def _recognised(root: Path) -> DataSet:
    found = recognise(root)
    if not found:
        others = ", ".join(name for name in CATALOGUE if name != PAIRS.name)
        raise DataError(
            f"{root}: is laid out as no data set known here", came=_content(root),
            allowed=f"images/ and masks/ with the same names, or the layout of {others}",
            next_step="write NAME:FOLDER to be told what is missing",
        )  # fmt: skip
    if len(found) > 1:
        names = " or ".join(f"{one.name}:{root}" for one in found)
        raise DataError(f"{root}: has the layout of several data sets", next_step=f"write {names}")
    return found[0]


def _content(root: Path) -> str:
    return ", ".join(sorted(path.name for path in root.iterdir())[:SHOWN]) or "an empty folder"
