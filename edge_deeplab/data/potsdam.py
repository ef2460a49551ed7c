"""ISPRS Potsdam: 38 tiles of 6000 x 6000 from the air, 5 cm a pixel, 6 classes as colours; cut into windows of 512.

Folders as the ISPRS publishes them: 2_Ortho_RGB/top_potsdam_ROW_COLUMN_RGB.tif, and 5_Labels_all/..._label.tif or the
eroded 5_Labels_all_noBoundary/..._label_noBoundary.tif, in which black is ignored; the former is preferred, as in the
benchmark's own full reference. The archives of the participants' labels (5_Labels_for_participants...) are known, too,
and a folder that an archive unpacked once more inside itself. Split: the 24 tiles published with labels for training,
the 14 of the contest's test, whose labels came later, for evaluation. Tile 7_10 is known to have wrong labels; it
stays, as it is in the official list.

Masks that were cut and turned into grey PNGs by other tools: use a pairs folder.
"""

from __future__ import annotations

import functools
from pathlib import Path

from edge_deeplab.data.data_set import DataSet
from edge_deeplab.data.labelling import ColourLabelling
from edge_deeplab.data.pairs import Listing, files_by_stem, match
from edge_deeplab.data.windows import cut_windows
from edge_deeplab.labels import IGNORE

LABELS = ("impervious surface", "building", "low vegetation", "tree", "car", "clutter")
COLOURS = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0))
LABELLING = ColourLabelling((*((colour, label) for label, colour in enumerate(COLOURS)), ((0, 0, 0), IGNORE)))
WINDOW_PX = 512
TILES = {
    "train": "2_10 2_11 2_12 3_10 3_11 3_12 4_10 4_11 4_12 5_10 5_11 5_12 6_7 6_8 6_9 6_10 6_11 6_12 7_7 7_8 7_9 7_10 "
    "7_11 7_12",
    "val": "2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13",
}
IMAGES = ("2_Ortho_RGB",)
MASKS = (
    ("5_Labels_all", "_label"), ("5_Labels_for_participants", "_label"),
    ("5_Labels_all_noBoundary", "_label_noBoundary"), ("5_Labels_for_participants_no_Boundary", "_label_noBoundary"),
)  # fmt: skip
SUFFIXES = (".tif", ".tiff", ".png")
PREFIX = "top_potsdam_"


def _folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """The first of the folders that is there, or the one of the same name inside it."""
    for name in names:
        for place in (root / name / name, root / name):
            if place.is_dir():
                return place
    return None


def is_at(root: Path) -> bool:
    """Whether pictures and any kind of masks are there."""
    return bool(_folder(root, IMAGES) and _folder(root, tuple(name for name, _ in MASKS)))


def list_split(root: Path, split: str) -> Listing:
    """As DataSet.list_split; names are ROW_COLUMN. A tile that is not there at all is none that is missing."""
    images, masks = _tiles(_folder(root, IMAGES), "_RGB"), {}
    for name, ending in reversed(MASKS):
        masks.update(_tiles(_folder(root, (name,)), ending))
    wanted = tuple(name for name in TILES[split].split() if name in images or name in masks)
    return match(images, masks, LABELLING, wanted=wanted)


def _tiles(folder: Path | None, ending: str) -> dict[str, Path]:
    found = files_by_stem(folder, SUFFIXES, ending=ending) if folder else {}
    return {stem.removeprefix(PREFIX): path for stem, path in found.items()}


POTSDAM = DataSet(
    name="potsdam", title="ISPRS Potsdam, 6 classes", labels=LABELS, colours=COLOURS, splits=tuple(TILES),
    layout="2_Ortho_RGB/top_potsdam_*_RGB.tif beside 5_Labels_all/top_potsdam_*_label.tif (or ..._noBoundary)",
    is_at=is_at, list_split=list_split, inner=("Potsdam", "potsdam"),
    cut=functools.partial(cut_windows, side_px=WINDOW_PX),
)  # fmt: skip
